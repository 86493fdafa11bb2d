//! `hostfw audit`: the mode, and what was denied or would have been.

use hostfw_api::{AuditReport, DeniedFlow, Direction};

use crate::render::{
    figures::{count, counted, place, protocol_and_port, short_span},
    page::{Page, Paint},
    status::{audit_words, heading},
    table::{Cell, Table, left, right},
};

/// The mode alone, as the answer to a change.
pub(crate) fn render_mode(report: &AuditReport, now_unix_s: u64, page: &Page) -> String {
    let meaning = if report.audit.on {
        "what no rule allows passes and is reported; deny rules are enforced"
    } else {
        "what no rule allows is dropped"
    };
    let words = audit_words(&report.audit, now_unix_s);
    page.words("", 0, &format!("Audit mode is {words}: {meaning}."))
}

/// The whole report. `now_unix_s` is the moment it is read.
pub(crate) fn render(report: &AuditReport, now_unix_s: u64, page: &Page) -> String {
    let mut text = render_mode(report, now_unix_s, page);
    if report.flows.is_empty() {
        text.push_str("Nothing was denied.\n");
    }
    for (dropped, title) in [(false, "Passed, would be denied"), (true, "Dropped")] {
        let flows: Vec<_> = report.flows.iter().filter(|flow| flow.dropped == dropped).collect();
        if !flows.is_empty() {
            text.push_str(&heading(title, page));
            text.push_str(&table(&flows).render(page));
        }
    }
    if report.n_forgotten > 0 {
        let forgotten = counted(report.n_forgotten, "flow");
        text.push('\n');
        text.push_str(&page.words(
            "",
            0,
            &format!("The list is bounded: {forgotten} seen earlier or less often left it."),
        ));
    }
    text
}

fn table(flows: &[&DeniedFlow]) -> Table {
    let columns =
        [left("WAY"), right("PACKETS"), right("FIRST"), right("LAST"), left("PORT"), left("PEER")];
    let mut table = Table::new(0, columns);
    for flow in flows {
        let way = match (flow.direction, flow.forwarded_to) {
            (Direction::Ingress, None) => "in",
            (Direction::Egress, None) => "out",
            (Direction::Ingress, Some(_)) => "fwd in",
            (Direction::Egress, Some(_)) => "fwd out",
        };
        let peer = match flow.forwarded_to {
            None => flow.peer.to_string(),
            Some(destination) => format!("{} to {destination}", flow.peer),
        };
        table.row([
            way.into(),
            count(flow.packets).into(),
            short_span(flow.first_seen_ago_s).into(),
            short_span(flow.last_seen_ago_s).into(),
            protocol_and_port(flow.protocol, flow.port).into(),
            peer.into(),
        ]);
        let why = match &flow.rule {
            // The ordinary case needs no words: no rule allows it.
            None if flow.reason == "default-deny" => continue,
            None => flow.reason.clone(),
            Some(rule) => format!("{} {}", rule.policy, place(&rule.path, rule.line)),
        };
        table.line(5, Cell::painted(why, Paint::Faint));
    }
    table
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{NOW_UNIX_S, audit, fits};

    #[test]
    fn the_report_tells_what_passed_from_what_was_dropped() {
        let text = render(&audit(), NOW_UNIX_S, &Page::PLAIN);
        expect![[r#"
            Audit mode is on for 1 d 0 h, by the configuration: what no rule allows passes
            and is reported; deny rules are enforced.

            Passed, would be denied
            WAY    PACKETS  FIRST  LAST  PORT        PEER
            in          12     2h   65s  tcp/10250   192.0.2.77
            out  9,999,999     2h   65s  icmpv6/128  2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff

            Dropped
            WAY  PACKETS  FIRST  LAST  PORT       PEER
            in        12     2h   65s  tcp/10250  192.0.2.77
                 host-all /etc/hostfw/policies.d/host-all.yaml:31

            The list is bounded: 3 flows seen earlier or less often left it.
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_quiet_node_says_so() {
        let quiet = AuditReport { flows: Vec::new(), n_forgotten: 0, ..audit() };
        let text = render(&quiet, NOW_UNIX_S, &Page::PLAIN);
        expect![[r#"
            Audit mode is on for 1 d 0 h, by the configuration: what no rule allows passes
            and is reported; deny rules are enforced.
            Nothing was denied.
        "#]]
        .assert_eq(&text);
    }
}
