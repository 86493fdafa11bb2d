//! Reports with fixed values for the golden texts, and the check that a text
//! fits its page. Addresses are those reserved for documentation.

use std::collections::BTreeMap;

use hostfw_api::*;

/// The moment at which every fixture is read.
pub(crate) const NOW_UNIX_S: u64 = 1_800_000_000;

/// Fails when a line is wider than eighty columns or ends in a space.
#[track_caller]
pub(crate) fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line:?}");
        assert_eq!(line, line.trim_end(), "ends in a space");
    }
    assert!(text.ends_with('\n'), "does not end in a newline");
}

pub(crate) fn status() -> StatusReport {
    StatusReport {
        version: "0.1.0".to_owned(),
        uptime_s: 273_600,
        kernel: KernelReport { release: "6.12.43-amd64".to_owned(), lacks: Vec::new() },
        node: NodeReport {
            name: "cp-1".to_owned(),
            labels: BTreeMap::from([
                ("kubernetes.io/hostname".to_owned(), "cp-1".to_owned()),
                ("node-role.kubernetes.io/control-plane".to_owned(), String::new()),
            ]),
        },
        ingress: Mode::Enforcing,
        egress: Mode::NotEnforced,
        forwarded: Mode::NotEnforced,
        never_enforced: false,
        audit: AuditState {
            on: false,
            since_unix_s: NOW_UNIX_S - 7_500,
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
        refused: None,
        warnings: Vec::new(),
        ignored: Vec::new(),
        tables: TablesReport {
            own: TableReport { entries: 1_204, capacity: 262_144, evicted: 0 },
            own_tcp: TableReport { entries: 310, capacity: 262_144, evicted: 0 },
            admitted: TableReport { entries: 5, capacity: 131_072, evicted: 0 },
            admitted_tcp: TableReport { entries: 12, capacity: 131_072, evicted: 0 },
            ended: 0,
        },
        devices: vec![filtered("eth0", 2), filtered("vxlan0", 5)],
        policies: vec![
            policy("host-all", true, 11),
            policy("host-control-plane", true, 3),
            policy("host-infra", false, 0),
        ],
        judged_by_another_version: Vec::new(),
        unfiltered: links().unfiltered,
        problems: Vec::new(),
    }
}

pub(crate) fn refused_status() -> StatusReport {
    let mut devices = status().devices;
    devices.push(unattached());
    let warning = Complaint {
        severity: Severity::Warning,
        code: "cidr-misses-nodes".to_owned(),
        what: "this prefix contains addresses of known nodes, which a CIDR rule does not match"
            .to_owned(),
        instead: "add `fromEntities: [remote-node]`, or set `cidrMatch: [nodes]`".to_owned(),
        excerpt: "    - 10.0.0.0/8".to_owned(),
        line: 14,
        column: 7,
        ..complaint()
    };
    StatusReport {
        ingress: Mode::Audit,
        forwarded: Mode::Audit,
        audit: AuditState {
            on: true,
            since_unix_s: NOW_UNIX_S - 86_400,
            source: AuditSource::Config,
        },
        kernel: KernelReport {
            release: "6.1.0-47-amd64".to_owned(),
            lacks: vec!["tcx needs Linux 6.6: devices are filtered with clsact".to_owned()],
        },
        refused: Some(RefusedSet { since_unix_s: NOW_UNIX_S - 65, complaints: vec![complaint()] }),
        warnings: vec![warning],
        ignored: ignored(),
        devices,
        problems: vec!["the state directory /var/lib/hostfw is read-only".to_owned()],
        ..status()
    }
}

pub(crate) fn ignored() -> Vec<IgnoredFile> {
    let file = |name: &str, why: &str| IgnoredFile {
        path: format!("/etc/hostfw/policies.d/{name}"),
        why: why.to_owned(),
    };
    vec![file("README", "not .yaml, .yml or .json"), file("old", "a directory")]
}

pub(crate) fn complaint() -> Complaint {
    Complaint {
        path: "/etc/hostfw/policies.d/ssh.yaml".to_owned(),
        line: 8,
        column: 9,
        severity: Severity::Error,
        code: "port-number".to_owned(),
        what: "a port must be a string, and this one is written as a number".to_owned(),
        instead: "write `port: \"22\"`".to_owned(),
        excerpt: "      - port: 22".to_owned(),
    }
}

pub(crate) fn links() -> LinksReport {
    LinksReport {
        links: vec![
            filtered("eth0", 2),
            unattached(),
            LinkReport {
                layer: Layer::Ip,
                attachment: Some(Attachment::Clsact),
                egress: Some(HookReport { program_id: 214, first: false }),
                addresses: vec!["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128".to_owned()],
                ..filtered("wg-a-long-name0", 1007)
            },
        ],
        unfiltered: vec![
            UnfilteredLink {
                name: "docker0".to_owned(),
                why: "excluded in hostfw.yaml".to_owned(),
            },
            UnfilteredLink { name: "eth2".to_owned(), why: "port of bond0".to_owned() },
        ],
    }
}

fn filtered(device: &str, ifindex: u32) -> LinkReport {
    LinkReport {
        device: device.to_owned(),
        ifindex,
        layer: Layer::Ethernet,
        attachment: Some(Attachment::Tcx),
        ingress: Some(HookReport { program_id: 112, first: true }),
        egress: Some(HookReport { program_id: 113, first: true }),
        addresses: vec!["192.0.2.1/24".to_owned(), "2001:db8::1/64".to_owned()],
        problem: String::new(),
    }
}

fn unattached() -> LinkReport {
    LinkReport {
        attachment: None,
        ingress: None,
        egress: None,
        addresses: Vec::new(),
        problem: "no such device".to_owned(),
        ..filtered("eth1", 3)
    }
}

fn policy(name: &str, selects_this_node: bool, n_rules: u32) -> PolicyReport {
    PolicyReport {
        name: name.to_owned(),
        path: format!("/etc/hostfw/policies.d/{name}.yaml"),
        line: 1,
        selects_this_node,
        n_rules,
    }
}

pub(crate) fn rules() -> RulesReport {
    RulesReport {
        generation: Some(12),
        rules: vec![
            RuleReport { packets: 18_201, bytes: 12_345_678, last_hit_ago_s: Some(2), ..rule(0) },
            RuleReport {
                id: 1,
                summary:
                    "allow from 10.1.101.0/24 except 10.1.101.7/32, 10.1.101.8/32: TCP 8000-9000"
                        .to_owned(),
                line: 18,
                ..rule(1)
            },
            RuleReport {
                kind: RuleKind::Deny,
                direction: Direction::Egress,
                summary: "deny to 169.254.169.254/32: everything".to_owned(),
                packets: 123_456_789,
                bytes: 9_876_543_210,
                last_hit_ago_s: Some(7_300),
                ..rule(2)
            },
            RuleReport {
                kind: RuleKind::BuiltIn,
                policy: "built-in".to_owned(),
                path: String::new(),
                line: 0,
                summary: "own VXLAN tunnel vxlan0 (UDP 8472) with known nodes".to_owned(),
                ..rule(3)
            },
        ],
        ingress: DirectionCounters {
            reasons: vec![
                reason("rule", false, 18_201),
                reason("reply", false, 5_555),
                reason("default-deny", true, 120),
            ],
        },
        egress: DirectionCounters { reasons: vec![reason("not-enforced", false, 44)] },
    }
}

fn rule(id: u32) -> RuleReport {
    RuleReport {
        id,
        hash: format!("{:016x}", 0x1234_5678_9abc_def0_u64 + u64::from(id)),
        policy: "host-all".to_owned(),
        path: "/etc/hostfw/policies.d/host-all.yaml".to_owned(),
        line: 11,
        direction: Direction::Ingress,
        kind: RuleKind::Allow,
        summary: "allow from 10.1.101.110/32: TCP 22".to_owned(),
        packets: 0,
        bytes: 0,
        last_hit_ago_s: None,
    }
}

fn reason(reason: &str, denies: bool, packets: u64) -> ReasonCounter {
    ReasonCounter { reason: reason.to_owned(), denies, packets, bytes: packets * 100 }
}

pub(crate) fn connections() -> ConnectionsReport {
    let short = Connection {
        protocol: 6,
        local: [192, 0, 2, 1].into(),
        local_port: 40_122,
        remote: [198, 51, 100, 7].into(),
        remote_port: 443,
        age_s: Some(3_725),
        idle_s: 2,
        generation: 12,
        opened_by: OpenedBy::Host,
    };
    let long = [0x2001, 0xdb8, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, 0xeeee, 0xffff].into();
    ConnectionsReport {
        connections: vec![
            short.clone(),
            Connection { protocol: 1, local_port: 7, remote_port: 0, age_s: None, ..short.clone() },
            Connection {
                protocol: 132,
                local: long,
                remote: long,
                opened_by: OpenedBy::Peer,
                ..short
            },
        ],
    }
}

pub(crate) fn audit() -> AuditReport {
    let flow = DeniedFlow {
        direction: Direction::Ingress,
        peer: [192, 0, 2, 77].into(),
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
    AuditReport {
        audit: refused_status().audit,
        flows: vec![
            flow.clone(),
            DeniedFlow {
                direction: Direction::Egress,
                peer: [0x2001, 0xdb8, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, 0xeeee, 0xffff].into(),
                forwarded_to: None,
                protocol: 58,
                port: 128,
                packets: 9_999_999,
                ..flow.clone()
            },
            DeniedFlow {
                dropped: true,
                reason: "explicit-deny".to_owned(),
                rule: Some(RuleOrigin {
                    id: 2,
                    policy: "host-all".to_owned(),
                    path: "/etc/hostfw/policies.d/host-all.yaml".to_owned(),
                    line: 31,
                }),
                ..flow
            },
        ],
        n_forgotten: 3,
    }
}

pub(crate) fn checked() -> CheckReport {
    let policy = |name: &str, selects: &[&str]| CheckedPolicy {
        name: name.to_owned(),
        path: format!("policies.d/{name}.yaml"),
        line: 1,
        selects: selects.iter().map(|&node| node.to_owned()).collect(),
        n_pods: 0,
        pods: Vec::new(),
    };
    CheckReport {
        accepted: true,
        complaints: Vec::new(),
        ignored: Vec::new(),
        policies: vec![
            policy("host-all", &["cp-1", "infra-1", "worker-1"]),
            policy("host-control-plane", &["cp-1"]),
            policy("host-gpu", &[]),
        ],
        n_nodes: 3,
        n_pods: 0,
        cases: CheckedCases::default(),
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

pub(crate) fn checked_with_pods() -> CheckReport {
    let policy = |name: &str, n_pods, pods: &[&str]| CheckedPolicy {
        name: name.to_owned(),
        path: "policies.d/shop.yaml".to_owned(),
        line: 1,
        selects: Vec::new(),
        n_pods,
        pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
    };
    let mut report = checked();
    report.n_pods = 1_240;
    report.policies.extend([
        policy("shop/web", 2, &["shop/web-0", "shop/web-1"]),
        policy("shop/everybody", 1_234, &[]),
        policy("both", 1, &["shop/db-0"]),
    ]);
    for policy in report.policies.iter_mut().filter(|policy| policy.name == "both") {
        policy.selects.push("cp-1".to_owned());
    }
    report
}

pub(crate) fn differing() -> DiffReport {
    let opened = DiffChange {
        node: "cp-1".to_owned(),
        subject: "cp-1".to_owned(),
        direction: Direction::Ingress,
        change: DiffKind::Opened,
        peers: vec!["192.0.2.0/24".to_owned()],
        services: vec!["TCP 22".to_owned()],
        services_but: None,
        before: None,
        before_answer: DiffAnswer::DefaultDeny,
        after: Some(traced_rule()),
        after_answer: DiffAnswer::Allow,
    };
    let closed = DiffChange {
        node: "worker-1".to_owned(),
        subject: "shop/web-0".to_owned(),
        direction: Direction::Egress,
        change: DiffKind::Closed,
        peers: ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned).to_vec(),
        services: vec!["UDP 53".to_owned()],
        services_but: None,
        before: Some(traced_rule()),
        before_answer: DiffAnswer::Allow,
        after: None,
        after_answer: DiffAnswer::DefaultDeny,
    };
    DiffReport { enforcement: Vec::new(), changes: vec![opened, closed] }
}

fn traced_rule() -> TracedRule {
    TracedRule {
        id: 0,
        policy: "host-all".to_owned(),
        path: "policies.d/host-all.yaml".to_owned(),
        line: 11,
        kind: RuleKind::Allow,
        summary: "allow from 192.0.2.0/24: TCP 22".to_owned(),
    }
}

pub(crate) fn traced() -> TraceReport {
    let rule = traced_rule();
    let step = |question: &str, answer: &str| TraceStep {
        question: question.to_owned(),
        answer: answer.to_owned(),
    };
    TraceReport {
        node: "cp-1".to_owned(),
        direction: Direction::Ingress,
        peer: [192, 0, 2, 7].into(),
        local: [192, 0, 2, 1].into(),
        protocol: 6,
        port: Some(22),
        action: TraceAction::Pass,
        reason: "rule".to_owned(),
        rule: Some(rule.clone()),
        also_matching: vec![TracedRule { id: 4, line: 40, ..rule }],
        steps: vec![
            step("direction", "ingress is in force"),
            step("peer class", "4 of 9"),
            step("port class", "2 of 5"),
            step("policy", "verdict 3: allow"),
        ],
    }
}
