//! The JSON of every report, field by field. A change here is a change of the
//! API: scripts read these names. `UPDATE_EXPECT=1 cargo test` rewrites them.

use std::{collections::BTreeMap, net::IpAddr};

use expect_test::{ExpectFile, expect_file};
use hostfw_api::*;
use serde_json::Value;

/// The JSON of a report, and that reading it back loses nothing.
macro_rules! golden {
    ($report:expr, $kind:ty, $file:expr) => {{
        let json = serde_json::to_string_pretty(&$report).expect("a report is JSON") + "\n";
        let file: ExpectFile = $file;
        file.assert_eq(&json);
        let back: $kind = serde_json::from_str(&json).expect("it was written so");
        assert_eq!(back, $report);
        let mut newer: Value = serde_json::from_str(&json).expect("JSON");
        newer["of_a_later_version"] = Value::Bool(true);
        let back: $kind = serde_json::from_value(newer).expect("unknown fields are ignored");
        assert_eq!(back, $report);
    }};
}

#[test]
fn the_status_keeps_its_form() {
    golden!(status(), StatusReport, expect_file!["status.json"]);
}

#[test]
fn the_rules_keep_their_form() {
    golden!(rules(), RulesReport, expect_file!["rules.json"]);
}

#[test]
fn the_links_keep_their_form() {
    let report = LinksReport { links: status().devices, unfiltered: status().unfiltered };
    golden!(report, LinksReport, expect_file!["links.json"]);
}

#[test]
fn the_connections_keep_their_form() {
    golden!(connections(), ConnectionsReport, expect_file!["connections.json"]);
}

#[test]
fn the_audit_report_keeps_its_form() {
    golden!(audit(), AuditReport, expect_file!["audit.json"]);
}

#[test]
fn the_check_report_keeps_its_form() {
    golden!(check(), CheckReport, expect_file!["check.json"]);
}

#[test]
fn the_explanation_keeps_its_form() {
    golden!(explain(), ExplainReport, expect_file!["explain.json"]);
}

#[test]
fn the_trace_report_keeps_its_form() {
    golden!(trace(), TraceReport, expect_file!["trace.json"]);
}

#[test]
fn an_audit_request_is_one_word() {
    let json = serde_json::to_string(&AuditRequest { mode: AuditMode::On }).expect("JSON");
    assert_eq!(json, "{\"mode\":\"on\"}");
    assert!(serde_json::from_str::<AuditRequest>("{\"mode\":\"maybe\"}").is_err());
}

const NOW_UNIX_S: u64 = 1_800_000_000;

fn status() -> StatusReport {
    let link = LinkReport {
        device: "eth0".to_owned(),
        ifindex: 2,
        layer: Layer::Ethernet,
        attachment: Some(Attachment::Tcx),
        ingress: Some(HookReport { program_id: 112, first: true }),
        egress: Some(HookReport { program_id: 113, first: false }),
        addresses: vec!["192.0.2.1/24".to_owned()],
        problem: String::new(),
    };
    let missing = LinkReport {
        device: "wg0".to_owned(),
        ifindex: 7,
        layer: Layer::Ip,
        attachment: None,
        ingress: None,
        egress: None,
        addresses: Vec::new(),
        problem: "no such device".to_owned(),
    };
    StatusReport {
        version: "0.1.0".to_owned(),
        uptime_s: 3_600,
        kernel: KernelReport {
            release: "6.1.0-47-cloud-amd64".to_owned(),
            lacks: vec!["tcx needs Linux 6.6: devices are filtered with clsact".to_owned()],
        },
        node: NodeReport {
            name: "cp-1".to_owned(),
            labels: BTreeMap::from([(
                "node-role.kubernetes.io/control-plane".to_owned(),
                String::new(),
            )]),
        },
        ingress: Mode::Audit,
        egress: Mode::NotEnforced,
        forwarded: Mode::NotEnforced,
        never_enforced: false,
        audit: AuditState {
            on: true,
            since_unix_s: NOW_UNIX_S - 7_200,
            source: AuditSource::Runtime,
        },
        generation: Some(GenerationReport {
            number: 12,
            loaded_at_unix_s: NOW_UNIX_S - 300,
            slot: 1,
            checksum: 0x0c0f_fee1,
            n_rules: 14,
            n_bytes: 268_436,
        }),
        refused: Some(RefusedSet {
            since_unix_s: NOW_UNIX_S - 60,
            complaints: vec![complaint(Severity::Error)],
        }),
        warnings: vec![complaint(Severity::Warning)],
        ignored: vec![ignored()],
        tables: TablesReport {
            own: TableReport { entries: 262_000, capacity: 262_144, evicted: 38_144 },
            own_tcp: TableReport { entries: 310, capacity: 262_144, evicted: 0 },
            admitted: TableReport { entries: 7, capacity: 131_072, evicted: 0 },
            admitted_tcp: TableReport { entries: 9, capacity: 131_072, evicted: 1 },
            ended: 2,
        },
        devices: vec![link, missing],
        policies: vec![PolicyReport {
            name: "host-all".to_owned(),
            path: "/etc/hostfw/policies.d/host-all.yaml".to_owned(),
            line: 1,
            selects_this_node: true,
            n_rules: 11,
        }],
        judged_by_another_version: vec!["eth1".to_owned()],
        unfiltered: vec![UnfilteredLink {
            name: "eth1".to_owned(),
            why: "port of bond0".to_owned(),
        }],
        problems: vec!["the state directory is read-only".to_owned()],
    }
}

fn ignored() -> IgnoredFile {
    IgnoredFile { path: "policies.d/README".to_owned(), why: "not .yaml, .yml or .json".to_owned() }
}

fn complaint(severity: Severity) -> Complaint {
    Complaint {
        path: "/etc/hostfw/policies.d/ssh.yaml".to_owned(),
        line: 8,
        column: 9,
        severity,
        code: "port-number".to_owned(),
        what: "a port must be a string".to_owned(),
        instead: "write `port: \"22\"`".to_owned(),
        excerpt: "      - port: 22".to_owned(),
    }
}

fn rules() -> RulesReport {
    let rule = RuleReport {
        id: 0,
        hash: "0123456789abcdef".to_owned(),
        policy: "host-all".to_owned(),
        path: "/etc/hostfw/policies.d/host-all.yaml".to_owned(),
        line: 11,
        direction: Direction::Ingress,
        kind: RuleKind::Deny,
        summary: "allow from 192.0.2.0/24: TCP 22".to_owned(),
        packets: 18_201,
        bytes: 12_345_678,
        last_hit_ago_s: Some(2),
    };
    let built_in = RuleReport {
        id: 1,
        policy: "built-in".to_owned(),
        path: String::new(),
        line: 0,
        direction: Direction::Egress,
        kind: RuleKind::BuiltIn,
        packets: 0,
        bytes: 0,
        last_hit_ago_s: None,
        ..rule.clone()
    };
    let reason = ReasonCounter {
        reason: "default-deny".to_owned(),
        denies: true,
        packets: 120,
        bytes: 12_000,
    };
    RulesReport {
        generation: Some(12),
        rules: vec![rule, built_in],
        ingress: DirectionCounters { reasons: vec![reason] },
        egress: DirectionCounters::default(),
    }
}

fn connections() -> ConnectionsReport {
    let connection = Connection {
        protocol: 6,
        local: IpAddr::from([192, 0, 2, 1]),
        local_port: 40_122,
        remote: IpAddr::from([198, 51, 100, 7]),
        remote_port: 443,
        age_s: Some(3_725),
        idle_s: 2,
        generation: 12,
        opened_by: OpenedBy::Host,
    };
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    let admitted = Connection {
        protocol: 17,
        local: v6,
        remote: v6,
        age_s: None,
        opened_by: OpenedBy::Peer,
        ..connection.clone()
    };
    let second = Connection { local_port: 40_123, ..connection.clone() };
    ConnectionsReport { connections: vec![connection, second, admitted] }
}

fn audit() -> AuditReport {
    let flow = DeniedFlow {
        direction: Direction::Ingress,
        peer: IpAddr::from([192, 0, 2, 77]),
        forwarded_to: None,
        protocol: 6,
        port: 10_250,
        reason: "default-deny".to_owned(),
        rule: None,
        dropped: false,
        packets: 12,
        first_seen_ago_s: 7_300,
        last_seen_ago_s: 65,
    };
    let rule = RuleOrigin {
        id: 2,
        policy: "host-all".to_owned(),
        path: "/etc/hostfw/policies.d/host-all.yaml".to_owned(),
        line: 31,
    };
    let denied = DeniedFlow {
        reason: "explicit-deny".to_owned(),
        rule: Some(rule),
        dropped: true,
        ..flow.clone()
    };
    AuditReport { audit: status().audit, flows: vec![flow, denied], n_forgotten: 3 }
}

fn explain() -> ExplainReport {
    let rule = ExplainedRule { line: 8, sentence: "allows TCP 22 from 192.0.2.0/24".to_owned() };
    let part = ExplainedPart {
        sentences: vec![
            "It concerns every node.".to_owned(),
            "Egress is left as it is.".to_owned(),
        ],
        rules: vec![rule],
    };
    ExplainReport {
        policies: vec![ExplainedPolicy {
            kind: "CiliumClusterwideNetworkPolicy".to_owned(),
            name: "host-all".to_owned(),
            path: "policies.d/host-all.yaml".to_owned(),
            line: 1,
            parts: vec![part],
        }],
    }
}

fn check() -> CheckReport {
    CheckReport {
        accepted: true,
        complaints: vec![complaint(Severity::Warning)],
        ignored: vec![ignored()],
        policies: vec![
            CheckedPolicy {
                name: "host-all".to_owned(),
                path: "policies.d/host-all.yaml".to_owned(),
                line: 1,
                selects: vec!["cp-1".to_owned()],
                n_pods: 0,
                pods: Vec::new(),
            },
            CheckedPolicy {
                name: "shop/web".to_owned(),
                path: "policies.d/shop.yaml".to_owned(),
                line: 1,
                selects: Vec::new(),
                n_pods: 1,
                pods: vec!["shop/web-0".to_owned()],
            },
        ],
        n_nodes: 3,
        n_pods: 14,
        cases: CheckedCases {
            passed: 3,
            failed: 0,
            not_run: vec![CaseNotRun {
                name: "operators reach SSH".to_owned(),
                path: "policies.d/host.test.yaml".to_owned(),
                line: 2,
                why: "`host` is the node itself, and no node is named".to_owned(),
            }],
        },
        node: Some(CheckedNode {
            name: "cp-1".to_owned(),
            ingress_in_force: true,
            egress_in_force: false,
            forward_in_force: false,
            never_enforced: false,
            n_rules: 14,
            n_bytes: 268_436,
        }),
    }
}

fn trace() -> TraceReport {
    let rule = TracedRule {
        id: 0,
        policy: "host-all".to_owned(),
        path: "policies.d/host-all.yaml".to_owned(),
        line: 11,
        kind: RuleKind::Allow,
        summary: "allow from 192.0.2.0/24: TCP 22".to_owned(),
    };
    TraceReport {
        node: "cp-1".to_owned(),
        direction: Direction::Ingress,
        peer: IpAddr::from([192, 0, 2, 7]),
        local: IpAddr::from([192, 0, 2, 1]),
        protocol: 6,
        port: Some(22),
        action: TraceAction::Pass,
        reason: "rule".to_owned(),
        rule: Some(rule.clone()),
        also_matching: vec![TracedRule { id: 4, line: 40, ..rule }],
        steps: vec![TraceStep {
            question: "in force?".to_owned(),
            answer: "yes: a policy selects cp-1 for ingress".to_owned(),
        }],
    }
}
