//! `hostfw connections`: one line each where both ends fit, else two.

use hostfw_api::{Connection, ConnectionsReport, OpenedBy};

use crate::render::{
    figures::{count, end, protocol, short_span},
    page::Page,
    table::{Column, Table, left, right},
};

/// The whole report; `n_left_out` entries were cut off by a limit.
pub(crate) fn render(report: &ConnectionsReport, n_left_out: u64, page: &Page) -> String {
    if report.connections.is_empty() {
        return "No connections.\n".to_owned();
    }
    let side_by_side = table(&report.connections, false).render(page);
    let fits = side_by_side.lines().all(|line| line.chars().count() <= page.width);
    let mut text = if fits { side_by_side } else { table(&report.connections, true).render(page) };
    if n_left_out > 0 {
        text.push_str(&format!("and {} more\n", count(n_left_out)));
    }
    text
}

/// With `stacked` the remote end stands below the local one: two IPv6
/// addresses do not fit beside each other.
fn table(connections: &[Connection], stacked: bool) -> Table {
    let ends: &[Column] =
        if stacked { &[left("LOCAL, THEN REMOTE")] } else { &[left("LOCAL"), left("REMOTE")] };
    let figures = [left("PROTO"), left("OPENED"), right("IDLE"), right("AGE"), right("GEN")];
    let mut table = Table::new(0, figures.into_iter().chain(ends.iter().copied()));
    for connection in connections {
        let number = connection.protocol;
        let local = end(number, connection.local, connection.local_port);
        let remote = end(number, connection.remote, connection.remote_port);
        let opened_by = match connection.opened_by {
            OpenedBy::Host => "host",
            OpenedBy::Peer => "peer",
        };
        let mut cells = vec![
            protocol(number).into(),
            opened_by.into(),
            short_span(connection.idle_s).into(),
            connection.age_s.map_or_else(|| "-".to_owned(), short_span).into(),
            connection.generation.to_string().into(),
            local.into(),
        ];
        if stacked {
            table.row(cells);
            table.row(["", "", "", "", ""].map(Into::into).into_iter().chain([remote.into()]));
        } else {
            cells.push(remote.into());
            table.row(cells);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{connections, fits};

    #[test]
    fn two_long_addresses_stand_below_each_other() {
        let text = render(&connections(), 0, &Page::PLAIN);
        expect![[r#"
            PROTO  OPENED  IDLE  AGE  GEN  LOCAL, THEN REMOTE
            tcp    host      2s  62m   12  192.0.2.1:40122
                                           198.51.100.7:443
            icmp   host      2s    -   12  192.0.2.1
                                           198.51.100.7
            sctp   peer      2s  62m   12  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:40122
                                           [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:443
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn short_addresses_stand_beside_each_other() {
        let mut report = connections();
        report.connections.retain(|connection| connection.local.is_ipv4());
        let text = render(&report, 12, &Page::PLAIN);
        expect![[r#"
            PROTO  OPENED  IDLE  AGE  GEN  LOCAL            REMOTE
            tcp    host      2s  62m   12  192.0.2.1:40122  198.51.100.7:443
            icmp   host      2s    -   12  192.0.2.1        198.51.100.7
            and 12 more
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn an_empty_table_says_so() {
        let empty = ConnectionsReport { connections: Vec::new() };
        assert_eq!(render(&empty, 0, &Page::PLAIN), "No connections.\n");
    }
}
