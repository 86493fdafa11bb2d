//! What policies mean, seen from the wire.

use hostfw_api::Mode;
use hostfw_scenario::{
    Echo, Firewall, Reach, lab, reaches,
    scene::{
        PEER, SECOND, SILENCE, node_object, node_port, node_port6, open_port, pair, peer_port,
        policy, policy_for_nobody,
    },
    wait_until,
};

/// T21.
#[test]
fn a_cidr_rule_matches_a_node_when_the_configuration_says_so() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let mut firewall = Firewall::new(&node);
    let lists = "ingress:\n- fromCIDR: [192.0.2.0/24]\n  \
                 toPorts: [{ports: [{port: \"7\", protocol: TCP}]}]\n";
    firewall.policy("test.yaml", &policy("test", lists));
    firewall.world("nodes.yaml", &node_object("other", &["192.0.2.2"]));
    firewall.start();
    // As in Cilium: a node is not matched by its address.
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent);
    let warnings = firewall.status().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.what.contains("192.0.2.2")
                || warning.instead.contains("192.0.2.2")),
        "the author is told which address is meant: {warnings:#?}"
    );

    firewall.apply(|firewall| {
        firewall.configure("cidrMatch: [nodes, pods]\n");
        firewall.reload();
    });
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
}

/// T23.
#[test]
fn a_deny_rule_beats_an_allow_rule_and_stays_in_force_while_auditing() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let mut firewall = Firewall::new(&node);
    let lists = "ingress:\n- fromCIDR: [192.0.2.2/32]\n\
                 ingressDeny:\n- fromCIDR: [0.0.0.0/0]\n  \
                 toPorts: [{ports: [{port: \"7\", protocol: TCP}]}]\n";
    firewall.policy("test.yaml", &policy("test", lists));
    firewall.start();
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent, "denied although allowed");
    assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Refused, "allowed and nobody there");
    assert_eq!(reaches(&peer, node_port6(8), SILENCE), Reach::Silent, "no rule for IPv6");

    let answer = firewall.hostfw(&["audit", "on"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    firewall.await_status("audit mode", |status| status.ingress == Mode::Audit);
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent, "denied while auditing");
    assert_eq!(reaches(&peer, node_port6(8), SECOND), Reach::Refused, "audited, so it passes");
    wait_until("the report shows both", 5 * SECOND, || {
        let flows = firewall.audit().flows;
        let denied = flows.iter().any(|flow| {
            flow.peer == PEER
                && flow.dropped
                && flow.reason == "explicit-deny"
                && flow.rule.as_ref().is_some_and(|rule| rule.line > 0)
        });
        let audited = flows.iter().any(|flow| {
            !flow.dropped && flow.port == 8 && flow.reason == "default-deny" && flow.rule.is_none()
        });
        denied && audited
    });
}

/// T24.
#[test]
fn each_direction_is_put_in_force_by_its_own_rules() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _there) = (Echo::start(&node, node_port(7)), Echo::start(&peer, peer_port(7)));
    let mut firewall = Firewall::new(&node);
    // A second policy, so that every change gives a new generation.
    firewall.policy("other.yaml", &policy_for_nobody("other"));
    firewall.start();
    let inward = || reaches(&peer, node_port(7), SILENCE);
    let outward = || reaches(&node, peer_port(7), SILENCE);
    let modes = |firewall: &Firewall<'_>| {
        let status = firewall.status();
        (status.ingress, status.egress)
    };
    assert_eq!(modes(&firewall), (Mode::NotEnforced, Mode::NotEnforced));
    assert_eq!((inward(), outward()), (Reach::Open, Reach::Open));

    let apply = |firewall: &Firewall<'_>, lists: &str| {
        let text = policy("test", lists);
        firewall.apply(|firewall| firewall.policy("test.yaml", &text));
    };
    apply(&firewall, "ingress:\n- {}\n");
    assert_eq!(modes(&firewall), (Mode::Enforcing, Mode::NotEnforced), "an empty rule");
    assert_eq!((inward(), outward()), (Reach::Silent, Reach::Open));

    apply(&firewall, "ingress: []\negress:\n- {}\n");
    assert_eq!(modes(&firewall), (Mode::NotEnforced, Mode::Enforcing), "an empty list");
    assert_eq!((inward(), outward()), (Reach::Open, Reach::Silent));

    let without = "enableDefaultDeny: {ingress: false}\ningressDeny:\n";
    apply(&firewall, &format!("{without}{}", open_port(8, "TCP")));
    assert_eq!((inward(), outward()), (Reach::Open, Reach::Open));
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "its deny rules apply");
    assert_eq!(reaches(&peer, node_port(9), SECOND), Reach::Refused, "nothing else is denied");
}
