//! `hostfw status`: first what is wrong, then what is in force, then by what
//! and where.

use hostfw_api::{AuditSource, AuditState, Mode, StatusReport, TableReport, TablesReport};

use crate::{
    faults::faults,
    render::{
        complaint,
        figures::{bytes, count, counted, place, since, span},
        links,
        page::{Page, Paint},
        table::{Cell, Table, left, right, shrinking, wrapping},
    },
};

/// The whole report. `now_unix_s` is the moment it is read.
pub(crate) fn render(report: &StatusReport, now_unix_s: u64, page: &Page) -> String {
    let mut text = verdict(report, page);
    text.push('\n');
    text.push_str(&facts(report, now_unix_s, page));
    if let Some(refused) = &report.refused {
        let since = since(now_unix_s, refused.since_unix_s);
        text.push_str(&heading(&format!("Refused files, for {since}"), page));
        text.push_str(&complaint::render(&refused.complaints, page));
    }
    if !report.warnings.is_empty() {
        text.push_str(&heading("Warnings", page));
        text.push_str(&complaint::render(&report.warnings, page));
    }
    if !report.ignored.is_empty() {
        text.push_str(&heading("Files that are not read", page));
        let mut table = Table::new(2, [shrinking(""), wrapping("")]);
        for file in &report.ignored {
            table.row([file.path.clone().into(), file.why.clone().into()]);
        }
        text.push_str(&table.render(page));
    }
    text.push_str(&heading("Filtered devices", page));
    if report.devices.is_empty() {
        text.push_str("  none\n");
    }
    text.push_str(&links::filtered(&report.devices, 2, page));
    if !report.unfiltered.is_empty() {
        text.push_str(&heading("Up and not filtered", page));
        text.push_str(&links::unfiltered(&report.unfiltered, 2, page));
    }
    text.push_str(&policies(report, page));
    text
}

/// One line when all is well, else one for each fault.
fn verdict(report: &StatusReport, page: &Page) -> String {
    let faults = faults(report);
    let name = &report.node.name;
    if faults.is_empty() {
        return page.words("", 0, &format!("{name} is as it should be."));
    }
    let n = u64::try_from(faults.len()).unwrap_or(u64::MAX);
    let mut text =
        page.paint(&format!("{name} is not as it should be: {}.", counted(n, "fault")), Paint::Bad);
    text.push('\n');
    for fault in faults {
        text.push_str(&page.words("  ! ", 4, &fault));
    }
    text
}

fn facts(report: &StatusReport, now_unix_s: u64, page: &Page) -> String {
    let mut table = Table::new(0, [left(""), wrapping("")]);
    table.row(["Node".into(), report.node.name.clone().into()]);
    for (key, value) in &report.node.labels {
        table.row(["".into(), format!("{key}={value}").into()]);
    }
    for (name, mode) in [("Ingress", report.ingress), ("Egress", report.egress)] {
        let (words, paint) = mode_words(mode, report);
        table.row([name.into(), Cell::painted(words, paint)]);
    }
    if matches!(report.forwarded, Mode::Audit | Mode::Enforcing) {
        let (words, paint) = mode_words(report.forwarded, report);
        table.row(["Forwarded".into(), Cell::painted(words, paint)]);
    }
    table.row(["Audit".into(), audit_words(&report.audit, now_unix_s).into()]);
    match &report.generation {
        None => table.row(["Generation".into(), Cell::painted("none", Paint::Bad)]),
        Some(generation) => {
            let age = since(now_unix_s, generation.loaded_at_unix_s);
            table.row([
                "Generation".into(),
                format!("{}, loaded {age} ago", generation.number).into(),
            ]);
            let image = format!(
                "{}, {}, slot {}, checksum {:08x}",
                counted(generation.n_rules.into(), "rule"),
                bytes(generation.n_bytes),
                generation.slot,
                generation.checksum
            );
            table.row(["".into(), image.into()]);
        }
    }
    flows(&report.tables, &mut table);
    table
        .row(["Daemon".into(), format!("{}, up {}", report.version, span(report.uptime_s)).into()]);
    if !report.kernel.release.is_empty() {
        table.row(["Kernel".into(), report.kernel.release.clone().into()]);
    }
    for sentence in &report.kernel.lacks {
        table.row(["".into(), sentence.clone().into()]);
    }
    table.render(page)
}

/// The connection tables, and what did not stay in them.
fn flows(tables: &TablesReport, table: &mut Table) {
    let TablesReport { own, own_tcp, admitted, admitted_tcp, ended } = tables;
    let of = |one: &TableReport| format!("{} of {}", count(one.entries), count(one.capacity));
    let words = format!("{} of TCP opened here, {} of others", of(own_tcp), of(own));
    table.row(["Flows".into(), words.into()]);
    let words = format!("{} of TCP admitted, {} of others", of(admitted_tcp), of(admitted));
    table.row(["".into(), words.into()]);
    let evicted = [own, own_tcp, admitted, admitted_tcp].map(|one| one.evicted);
    let evicted = evicted.into_iter().fold(0, u64::saturating_add);
    if evicted > 0 {
        let words = format!("{} evicted to make room", count(evicted));
        table.row(["".into(), Cell::painted(words, Paint::Notice)]);
    }
    if *ended > 0 {
        table.row(["".into(), format!("{} ended as their policy wants", count(*ended)).into()]);
    }
}

/// A mode in words, and how good it is.
fn mode_words(mode: Mode, report: &StatusReport) -> (&'static str, Paint) {
    match mode {
        Mode::NotEnforced if report.never_enforced => {
            ("not in force: `enforcement: never`, everything passes", Paint::Notice)
        }
        Mode::NoPolicy if !report.judged_by_another_version.is_empty() => {
            ("another version of hostfw judges, see above", Paint::Notice)
        }
        Mode::NoPolicy => ("no generation is loaded: everything passes", Paint::Notice),
        Mode::NotEnforced => ("no rule selects this node: everything passes", Paint::Notice),
        Mode::Audit => ("audit: what no rule allows passes and is reported", Paint::Notice),
        Mode::Enforcing => ("enforcing: what no rule allows is dropped", Paint::Good),
    }
}

/// "on for 2 h 5 min, at run time".
pub(crate) fn audit_words(audit: &AuditState, now_unix_s: u64) -> String {
    let source = match audit.source {
        AuditSource::Config => "by the configuration",
        AuditSource::Runtime => "at run time",
    };
    let since = since(now_unix_s, audit.since_unix_s);
    format!("{} for {since}, {source}", if audit.on { "on" } else { "off" })
}

fn policies(report: &StatusReport, page: &Page) -> String {
    let here: Vec<_> = report.policies.iter().filter(|policy| policy.selects_this_node).collect();
    let mut text = heading("Policies for this node", page);
    if here.is_empty() {
        text.push_str("  none\n");
    }
    let mut table = Table::new(2, [shrinking("POLICY"), right("RULES"), shrinking("FILE")]);
    for policy in &here {
        let n_rules = count(policy.n_rules.into());
        table.row([
            policy.name.clone().into(),
            n_rules.into(),
            place(&policy.path, policy.line).into(),
        ]);
    }
    text.push_str(&table.render(page));
    let others: Vec<&str> = report
        .policies
        .iter()
        .filter(|policy| !policy.selects_this_node)
        .map(|policy| policy.name.as_str())
        .collect();
    if !others.is_empty() {
        text.push_str(&heading("Policies that do not select this node", page));
        text.push_str(&page.words("  ", 2, &others.join(", ")));
    }
    text
}

/// A heading below an empty line.
pub(crate) fn heading(words: &str, page: &Page) -> String {
    format!("\n{}\n", page.paint(words, Paint::Heading))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{NOW_UNIX_S, fits, refused_status, status};

    #[test]
    fn a_node_as_it_should_be() {
        let text = render(&status(), NOW_UNIX_S, &Page::PLAIN);
        expect![[r#"
            cp-1 is as it should be.

            Node        cp-1
                        kubernetes.io/hostname=cp-1
                        node-role.kubernetes.io/control-plane=
            Ingress     enforcing: what no rule allows is dropped
            Egress      no rule selects this node: everything passes
            Audit       off for 2 h 5 min, at run time
            Generation  12, loaded 5 min ago
                        14 rules, 268.4 kB, slot 1, checksum 0c0ffee1
            Flows       310 of 262,144 of TCP opened here, 1,204 of 262,144 of others
                        12 of 131,072 of TCP admitted, 5 of 131,072 of others
            Daemon      0.1.0, up 3 d 4 h
            Kernel      6.12.43-amd64

            Filtered devices
              DEVICE  INDEX  LAYER     HOOK  INGRESS  EGRESS
              eth0        2  ethernet  tcx   #112     #113
                  192.0.2.1/24
                  2001:db8::1/64
              vxlan0      5  ethernet  tcx   #112     #113
                  192.0.2.1/24
                  2001:db8::1/64

            Up and not filtered
              docker0  excluded in hostfw.yaml
              eth2     port of bond0

            Policies for this node
              POLICY              RULES  FILE
              host-all               11  /etc/hostfw/policies.d/host-all.yaml:1
              host-control-plane      3  /etc/hostfw/policies.d/host-control-plane.yaml:1

            Policies that do not select this node
              host-infra
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_node_with_faults_says_them_first() {
        let text = render(&refused_status(), NOW_UNIX_S, &Page::PLAIN);
        expect![[r#"
            cp-1 is not as it should be: 3 faults.
              ! eth1 is not filtered, every packet passes: no such device
              ! the files are refused (1 error); the last good generation stays in force
              ! the state directory /var/lib/hostfw is read-only

            Node        cp-1
                        kubernetes.io/hostname=cp-1
                        node-role.kubernetes.io/control-plane=
            Ingress     audit: what no rule allows passes and is reported
            Egress      no rule selects this node: everything passes
            Forwarded   audit: what no rule allows passes and is reported
            Audit       on for 1 d 0 h, by the configuration
            Generation  12, loaded 5 min ago
                        14 rules, 268.4 kB, slot 1, checksum 0c0ffee1
            Flows       310 of 262,144 of TCP opened here, 1,204 of 262,144 of others
                        12 of 131,072 of TCP admitted, 5 of 131,072 of others
            Daemon      0.1.0, up 3 d 4 h
            Kernel      6.1.0-47-amd64
                        tcx needs Linux 6.6: devices are filtered with clsact

            Refused files, for 1 min
            /etc/hostfw/policies.d/ssh.yaml:8:9: error[port-number]: a port must be a
                string, and this one is written as a number
              8 |       - port: 22
                |         ^
              = instead: write `port: "22"`

            Warnings
            /etc/hostfw/policies.d/ssh.yaml:14:7: warning[cidr-misses-nodes]: this prefix
                contains addresses of known nodes, which a CIDR rule does not match
              14 |     - 10.0.0.0/8
                 |       ^
              = instead: add `fromEntities: [remote-node]`, or set `cidrMatch: [nodes]`

            Files that are not read
              /etc/hostfw/policies.d/README  not .yaml, .yml or .json
              /etc/hostfw/policies.d/old     a directory

            Filtered devices
              DEVICE  INDEX  LAYER     HOOK  INGRESS  EGRESS
              eth0        2  ethernet  tcx   #112     #113
                  192.0.2.1/24
                  2001:db8::1/64
              vxlan0      5  ethernet  tcx   #112     #113
                  192.0.2.1/24
                  2001:db8::1/64
              eth1        3  ethernet  -     MISSING  MISSING

            Up and not filtered
              docker0  excluded in hostfw.yaml
              eth2     port of bond0

            Policies for this node
              POLICY              RULES  FILE
              host-all               11  /etc/hostfw/policies.d/host-all.yaml:1
              host-control-plane      3  /etc/hostfw/policies.d/host-control-plane.yaml:1

            Policies that do not select this node
              host-infra
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn what_did_not_stay_in_a_table_is_said() {
        let mut full = status();
        full.tables.own = TableReport { entries: 262_000, capacity: 262_144, evicted: 38_144 };
        full.tables.ended = 2;
        let text = render(&full, NOW_UNIX_S, &Page::PLAIN);
        let flows: Vec<&str> =
            text.lines().skip_while(|line| !line.starts_with("Flows")).take(4).collect();
        expect![[r#"
            Flows       310 of 262,144 of TCP opened here, 262,000 of 262,144 of others
                        12 of 131,072 of TCP admitted, 5 of 131,072 of others
                        38,144 evicted to make room
                        2 ended as their policy wants"#]]
        .assert_eq(&flows.join("\n"));
        fits(&text);
        // Whatever comes out of the socket.
        full.tables.own.evicted = u64::MAX;
        full.tables.admitted_tcp.evicted = 1;
        assert!(render(&full, NOW_UNIX_S, &Page::PLAIN).contains("evicted to make room"));
    }

    #[test]
    fn a_node_that_is_never_enforced_has_rules_all_the_same() {
        let report = StatusReport { ingress: Mode::NotEnforced, never_enforced: true, ..status() };
        let text = render(&report, NOW_UNIX_S, &Page::PLAIN);
        assert!(
            text.contains(
                "\nIngress     not in force: `enforcement: never`, everything passes\n\
                 Egress      not in force: `enforcement: never`, everything passes\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_node_with_nothing_loaded() {
        let empty = StatusReport {
            generation: None,
            devices: Vec::new(),
            policies: Vec::new(),
            ingress: Mode::NoPolicy,
            egress: Mode::NoPolicy,
            ..status()
        };
        let text = render(&empty, NOW_UNIX_S, &Page::PLAIN);
        expect![[r#"
            cp-1 is not as it should be: 2 faults.
              ! no generation is loaded: every packet passes
              ! no device is filtered: every packet passes

            Node        cp-1
                        kubernetes.io/hostname=cp-1
                        node-role.kubernetes.io/control-plane=
            Ingress     no generation is loaded: everything passes
            Egress      no generation is loaded: everything passes
            Audit       off for 2 h 5 min, at run time
            Generation  none
            Flows       310 of 262,144 of TCP opened here, 1,204 of 262,144 of others
                        12 of 131,072 of TCP admitted, 5 of 131,072 of others
            Daemon      0.1.0, up 3 d 4 h
            Kernel      6.12.43-amd64

            Filtered devices
              none

            Up and not filtered
              docker0  excluded in hostfw.yaml
              eth2     port of bond0

            Policies for this node
              none
        "#]]
        .assert_eq(&text);
        fits(&text);
    }
}
