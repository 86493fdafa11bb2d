//! A node's state in the text format of Prometheus (exposition format 0.0.4), for
//! collectors that read files: nothing listens on the network.
//!
//! Names keep their meaning; a label has few values, none of them taken from a
//! packet. What grows with the policies is summed by policy.

use std::collections::BTreeMap;

use hostfw_api::{Direction, Mode, RuleKind, RulesReport, StatusReport};

/// Both reports as samples. Counters of packets start with the programs in the
/// kernel, those of policies with the policy.
pub(crate) fn render(status: &StatusReport, rules: &RulesReport, n_faults: usize) -> String {
    let mut page = Samples::default();
    node(&mut page, status, n_faults);
    devices(&mut page, status);
    tables(&mut page, status);
    packets(&mut page, rules);
    page.text
}

fn node(page: &mut Samples, status: &StatusReport, n_faults: usize) {
    page.begin("hostfw_info", GAUGE, "Version of the daemon, the kernel and the node");
    let of = [
        ("version", &*status.version),
        ("kernel", &status.kernel.release),
        ("node", &status.node.name),
    ];
    page.sample(&of, 1);
    page.begin("hostfw_uptime_seconds", GAUGE, "Since the daemon started");
    page.sample(&[], status.uptime_s);
    page.begin("hostfw_faults", GAUGE, "What `hostfw status` calls a fault");
    page.sample(&[], count(n_faults));
    page.begin("hostfw_files_refused", GAUGE, "1 while the newest files are refused");
    page.sample(&[], status.refused.is_some().into());
    page.begin("hostfw_warnings", GAUGE, "Warnings about the files in force");
    page.sample(&[], count(status.warnings.len()));
    page.begin("hostfw_audit", GAUGE, "1 while what no rule allows passes and is reported");
    page.sample(&[], status.audit.on.into());

    page.begin("hostfw_mode", GAUGE, "1 for what the kernel does with packets of a direction");
    let directions =
        [(INGRESS, status.ingress), (EGRESS, status.egress), ("forwarded", status.forwarded)];
    for (direction, is) in directions {
        for (name, mode) in MODES {
            page.sample(&[("direction", direction), ("mode", name)], (is == mode).into());
        }
    }
    let Some(generation) = &status.generation else { return };
    page.begin("hostfw_generation", GAUGE, "Number of the generation in force");
    page.sample(&[], generation.number.into());
    page.begin("hostfw_generation_loaded_seconds", GAUGE, "When it was switched in, since 1970");
    page.sample(&[], generation.loaded_at_unix_s);
    page.begin("hostfw_rules", GAUGE, "Rules in force, built-in ones included");
    page.sample(&[], generation.n_rules.into());
    page.begin("hostfw_image_bytes", GAUGE, "Size of the rules in the kernel");
    page.sample(&[], generation.n_bytes);
}

fn devices(page: &mut Samples, status: &StatusReport) {
    page.begin("hostfw_device_filtered", GAUGE, "1 where a program is attached to a device");
    for link in &status.devices {
        for (direction, hook) in [(INGRESS, &link.ingress), (EGRESS, &link.egress)] {
            let of = [("device", &*link.device), ("direction", direction)];
            page.sample(&of, hook.is_some().into());
        }
    }
    page.begin("hostfw_devices_unfiltered", GAUGE, "Devices that are up and not to be filtered");
    page.sample(&[], count(status.unfiltered.len()));
}

fn tables(page: &mut Samples, status: &StatusReport) {
    let said = &status.tables;
    let tables = [
        ("own", &said.own),
        ("own_tcp", &said.own_tcp),
        ("admitted", &said.admitted),
        ("admitted_tcp", &said.admitted_tcp),
    ];
    page.begin("hostfw_connections", GAUGE, "Connections that are remembered");
    for (name, table) in tables {
        page.sample(&[("table", name)], table.entries);
    }
    page.begin("hostfw_connections_capacity", GAUGE, "How many of them there can be");
    for (name, table) in tables {
        page.sample(&[("table", name)], table.capacity);
    }
    page.begin("hostfw_connections_evicted_total", COUNTER, "Made room for newer ones");
    for (name, table) in tables {
        page.sample(&[("table", name)], table.evicted);
    }
    page.begin("hostfw_connections_ended_total", COUNTER, "Ended because their policy wants it");
    page.sample(&[], status.tables.ended);
}

fn packets(page: &mut Samples, rules: &RulesReport) {
    let directions = [(INGRESS, &rules.ingress), (EGRESS, &rules.egress)];
    let mut by_reason = |name, help, value: fn(&hostfw_api::ReasonCounter) -> u64| {
        page.begin(name, COUNTER, help);
        for (direction, counters) in directions {
            for counter in &counters.reasons {
                let fate = if counter.denies { "denied" } else { "allowed" };
                let of = [("direction", direction), ("reason", &counter.reason), ("verdict", fate)];
                page.sample(&of, value(counter));
            }
        }
    };
    by_reason("hostfw_packets_total", "Judged packets, by the reason of the verdict", |one| {
        one.packets
    });
    by_reason("hostfw_bytes_total", "Bytes of these packets", |one| one.bytes);

    let mut policies: BTreeMap<_, u64> = BTreeMap::new();
    for rule in &rules.rules {
        let direction = match rule.direction {
            Direction::Ingress => INGRESS,
            Direction::Egress => EGRESS,
        };
        let kind = match rule.kind {
            RuleKind::Allow => "allow",
            RuleKind::Deny => "deny",
            RuleKind::Pass => "pass",
            RuleKind::BuiltIn => "built-in",
        };
        *policies.entry((&*rule.policy, direction, kind)).or_default() += rule.packets;
    }
    page.begin("hostfw_policy_packets_total", COUNTER, "Packets that a policy's rules decided");
    for ((policy, direction, kind), n_packets) in policies {
        page.sample(&[("policy", policy), ("direction", direction), ("kind", kind)], n_packets);
    }
}

/// Samples, each below the description of its family.
#[derive(Default)]
struct Samples {
    text: String,
    name: &'static str,
}

impl Samples {
    fn begin(&mut self, name: &'static str, kind: &str, help: &str) {
        self.text += &format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n");
        self.name = name;
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.text += self.name;
        for (index, (label, is)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let is = is.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.text += &format!("{before}{label}=\"{is}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.text += &format!(" {value}\n");
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";
const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";
const MODES: [(&str, Mode); 4] = [
    ("no-policy", Mode::NoPolicy),
    ("not-enforced", Mode::NotEnforced),
    ("audit", Mode::Audit),
    ("enforcing", Mode::Enforcing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{refused_status, rules, status};

    #[test]
    fn a_node_is_told_in_samples() {
        expect![[r##"
            # HELP hostfw_info Version of the daemon, the kernel and the node.
            # TYPE hostfw_info gauge
            hostfw_info{version="0.1.0",kernel="6.12.43-amd64",node="cp-1"} 1
            # HELP hostfw_uptime_seconds Since the daemon started.
            # TYPE hostfw_uptime_seconds gauge
            hostfw_uptime_seconds 273600
            # HELP hostfw_faults What `hostfw status` calls a fault.
            # TYPE hostfw_faults gauge
            hostfw_faults 0
            # HELP hostfw_files_refused 1 while the newest files are refused.
            # TYPE hostfw_files_refused gauge
            hostfw_files_refused 0
            # HELP hostfw_warnings Warnings about the files in force.
            # TYPE hostfw_warnings gauge
            hostfw_warnings 0
            # HELP hostfw_audit 1 while what no rule allows passes and is reported.
            # TYPE hostfw_audit gauge
            hostfw_audit 0
            # HELP hostfw_mode 1 for what the kernel does with packets of a direction.
            # TYPE hostfw_mode gauge
            hostfw_mode{direction="ingress",mode="no-policy"} 0
            hostfw_mode{direction="ingress",mode="not-enforced"} 0
            hostfw_mode{direction="ingress",mode="audit"} 0
            hostfw_mode{direction="ingress",mode="enforcing"} 1
            hostfw_mode{direction="egress",mode="no-policy"} 0
            hostfw_mode{direction="egress",mode="not-enforced"} 1
            hostfw_mode{direction="egress",mode="audit"} 0
            hostfw_mode{direction="egress",mode="enforcing"} 0
            hostfw_mode{direction="forwarded",mode="no-policy"} 0
            hostfw_mode{direction="forwarded",mode="not-enforced"} 1
            hostfw_mode{direction="forwarded",mode="audit"} 0
            hostfw_mode{direction="forwarded",mode="enforcing"} 0
            # HELP hostfw_generation Number of the generation in force.
            # TYPE hostfw_generation gauge
            hostfw_generation 12
            # HELP hostfw_generation_loaded_seconds When it was switched in, since 1970.
            # TYPE hostfw_generation_loaded_seconds gauge
            hostfw_generation_loaded_seconds 1799999700
            # HELP hostfw_rules Rules in force, built-in ones included.
            # TYPE hostfw_rules gauge
            hostfw_rules 14
            # HELP hostfw_image_bytes Size of the rules in the kernel.
            # TYPE hostfw_image_bytes gauge
            hostfw_image_bytes 268436
            # HELP hostfw_device_filtered 1 where a program is attached to a device.
            # TYPE hostfw_device_filtered gauge
            hostfw_device_filtered{device="eth0",direction="ingress"} 1
            hostfw_device_filtered{device="eth0",direction="egress"} 1
            hostfw_device_filtered{device="vxlan0",direction="ingress"} 1
            hostfw_device_filtered{device="vxlan0",direction="egress"} 1
            # HELP hostfw_devices_unfiltered Devices that are up and not to be filtered.
            # TYPE hostfw_devices_unfiltered gauge
            hostfw_devices_unfiltered 2
            # HELP hostfw_connections Connections that are remembered.
            # TYPE hostfw_connections gauge
            hostfw_connections{table="own"} 1204
            hostfw_connections{table="own_tcp"} 310
            hostfw_connections{table="admitted"} 5
            hostfw_connections{table="admitted_tcp"} 12
            # HELP hostfw_connections_capacity How many of them there can be.
            # TYPE hostfw_connections_capacity gauge
            hostfw_connections_capacity{table="own"} 262144
            hostfw_connections_capacity{table="own_tcp"} 262144
            hostfw_connections_capacity{table="admitted"} 131072
            hostfw_connections_capacity{table="admitted_tcp"} 131072
            # HELP hostfw_connections_evicted_total Made room for newer ones.
            # TYPE hostfw_connections_evicted_total counter
            hostfw_connections_evicted_total{table="own"} 0
            hostfw_connections_evicted_total{table="own_tcp"} 0
            hostfw_connections_evicted_total{table="admitted"} 0
            hostfw_connections_evicted_total{table="admitted_tcp"} 0
            # HELP hostfw_connections_ended_total Ended because their policy wants it.
            # TYPE hostfw_connections_ended_total counter
            hostfw_connections_ended_total 0
            # HELP hostfw_packets_total Judged packets, by the reason of the verdict.
            # TYPE hostfw_packets_total counter
            hostfw_packets_total{direction="ingress",reason="rule",verdict="allowed"} 18201
            hostfw_packets_total{direction="ingress",reason="reply",verdict="allowed"} 5555
            hostfw_packets_total{direction="ingress",reason="default-deny",verdict="denied"} 120
            hostfw_packets_total{direction="egress",reason="not-enforced",verdict="allowed"} 44
            # HELP hostfw_bytes_total Bytes of these packets.
            # TYPE hostfw_bytes_total counter
            hostfw_bytes_total{direction="ingress",reason="rule",verdict="allowed"} 1820100
            hostfw_bytes_total{direction="ingress",reason="reply",verdict="allowed"} 555500
            hostfw_bytes_total{direction="ingress",reason="default-deny",verdict="denied"} 12000
            hostfw_bytes_total{direction="egress",reason="not-enforced",verdict="allowed"} 4400
            # HELP hostfw_policy_packets_total Packets that a policy's rules decided.
            # TYPE hostfw_policy_packets_total counter
            hostfw_policy_packets_total{policy="built-in",direction="ingress",kind="built-in"} 0
            hostfw_policy_packets_total{policy="host-all",direction="egress",kind="deny"} 123456789
            hostfw_policy_packets_total{policy="host-all",direction="ingress",kind="allow"} 18201
        "##]]
        .assert_eq(&render(&status(), &rules(), 0));
    }

    #[test]
    fn what_is_wrong_is_told_too() {
        let text = render(&refused_status(), &rules(), 3);
        for line in [
            "hostfw_faults 3",
            "hostfw_files_refused 1",
            "hostfw_audit 1",
            "hostfw_device_filtered{device=\"eth1\",direction=\"ingress\"} 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let bare = StatusReport { generation: None, ..status() };
        assert!(!render(&bare, &rules(), 1).contains("hostfw_generation"));
    }

    #[test]
    fn a_label_is_quoted() {
        let mut page = Samples { name: "x", ..Samples::default() };
        page.sample(&[("a", "b\"\\\nc"), ("d", "")], 1);
        assert_eq!(page.text, "x{a=\"b\\\"\\\\\\nc\",d=\"\"} 1\n");
    }

    #[test]
    fn the_dashboard_asks_for_samples_that_there_are() {
        let dashboard = include_str!("../../../../etc/dashboards/hostfw.json");
        serde_json::from_str::<serde_json::Value>(dashboard).expect("JSON");
        let words = |text: &str| -> BTreeSet<String> {
            let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            text.split(|letter| !is_name(letter))
                .filter(|word| word.starts_with("hostfw_"))
                .map(str::to_owned)
                .collect()
        };
        let asked = words(dashboard);
        let told = words(&render(&status(), &rules(), 0));
        assert!(asked.len() > 8, "{asked:?}");
        assert_eq!(asked.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
