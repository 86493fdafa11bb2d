//! What kinds of packets pass or fall while a policy is in force.

use hostfw_api::Direction;
use hostfw_scenario::{
    Firewall, Host, LinkSocket, Reach, contains, lab,
    packet::{self, Mac, SYN, ethernet, icmpv6, ipv6, protocol},
    reaches,
    scene::{
        NODE, NODE_MAC, NODE6, PEER, PEER_MAC, PEER6, SECOND, SILENCE, node_port, node_port6,
        open_port, pair, policy,
    },
    wait_until,
};

/// Nothing is allowed in any direction.
const NOTHING: &str = "ingress:\n- {}\negress:\n- {}\n";

/// Neighbours that discover each other: 01:80:c2:00:00:0e.
const LLDP_GROUP: Mac = [1, 0x80, 0xc2, 0, 0, 0x0e];
/// Bridges that build a spanning tree: 01:80:c2:00:00:00.
const STP_GROUP: Mac = [1, 0x80, 0xc2, 0, 0, 0];

fn firewall<'host>(node: &'host Host, rule_lists: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", rule_lists));
    firewall.start();
    firewall
}

/// T1.
#[test]
fn arp_lldp_and_spanning_tree_pass_under_full_default_deny() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _firewall = firewall(&node, NOTHING);

    peer.ip("neigh flush dev eth0\n");
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent);
    let neighbours = peer.ip_output(&["neigh", "show", "192.0.2.1"]);
    assert!(neighbours.contains("02:00:00:00:00:01"), "ARP was not answered: {neighbours}");

    let (from, to) = (LinkSocket::open(&peer, "eth0", LinkSocket::LLDP), &node);
    let seen = LinkSocket::open(to, "eth0", LinkSocket::LLDP);
    from.send(&ethernet(LLDP_GROUP, PEER_MAC, LinkSocket::LLDP, b"lldp towards the node"));
    assert!(seen.sees(SECOND, |frame| contains(frame, b"towards the node")));
    seen.send(&ethernet(LLDP_GROUP, NODE_MAC, LinkSocket::LLDP, b"lldp from the node"));
    assert!(from.sees(SECOND, |frame| contains(frame, b"from the node")));

    let seen = LinkSocket::open(&node, "eth0", LinkSocket::LLC);
    let hello = [&[0x42, 0x42, 0x03][..], b"spanning tree, padded to its length"].concat();
    let length = u16::try_from(hello.len()).expect("short");
    from.send(&ethernet(STP_GROUP, PEER_MAC, length, &hello));
    assert!(seen.sees(SECOND, |frame| contains(frame, b"spanning tree")));

    // The same kind of socket sees nothing of what policy denies.
    let seen = LinkSocket::open(&node, "eth0", LinkSocket::IPV4);
    let denied = packet::udp((PEER, 5000), (NODE, 9), b"denied");
    from.send(&ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &denied));
    assert!(!seen.sees(SILENCE, |frame| contains(frame, b"denied")));
}

/// T2.
#[test]
fn neighbour_discovery_passes_but_not_redirects_nor_what_crossed_a_router() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = firewall(&node, NOTHING);

    peer.ip_output(&["-6", "neigh", "flush", "dev", "eth0"]);
    assert_eq!(reaches(&peer, node_port6(7), SILENCE), Reach::Silent);
    let neighbours = peer.ip_output(&["-6", "neigh", "show", "2001:db8::1"]);
    assert!(neighbours.contains("02:00:00:00:00:01"), "no neighbour advertisement: {neighbours}");

    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV6);
    let seen = LinkSocket::open(&node, "eth0", LinkSocket::IPV6);
    let passes = |kind: u8, hop_limit: u8| {
        let mark = format!("type {kind} hops {hop_limit}, even");
        let message = icmpv6(PEER6, NODE6, kind, [0; 4], mark.as_bytes());
        let packet = ipv6(PEER6, NODE6, protocol::ICMPV6, hop_limit, &message);
        from.send(&ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV6, &packet));
        seen.sees(SILENCE, |frame| contains(frame, mark.as_bytes()))
    };
    for kind in [133, 134, 135, 136] {
        assert!(passes(kind, 255), "type {kind}");
        assert!(!passes(kind, 64), "type {kind} that crossed a router");
    }
    assert!(!passes(137, 255), "a redirect");
    assert!(!passes(128, 64), "an echo request, which is policy's business");
    assert_eq!(firewall.ingress_packets("hop-limit"), 4);
    assert_eq!(firewall.ingress_packets("forbidden-icmp"), 1);
}

/// T3.
#[test]
fn a_syn_to_a_closed_port_is_dropped_silently_and_each_one_is_told() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = firewall(&node, &format!("ingress:\n{}", open_port(7, "TCP")));
    let answers = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let before = firewall.ingress_packets("default-deny");
    for source in 5000..5005 {
        let syn = packet::tcp((PEER, source), (NODE, 8080), SYN, [1, 0]);
        answers.send(&ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &syn));
    }
    // Source port 8080 at offset 34: a reset would carry it.
    let from_closed = |frame: &[u8]| frame.get(34..36) == Some(&8080_u16.to_be_bytes());
    assert_eq!(answers.count(SILENCE, from_closed), 0, "a drop must be silent");
    let denied = firewall.ingress_packets("default-deny");
    assert_eq!(denied - before, 5);
    let metrics = firewall.hostfw(&["metrics"]).output;
    let sample = "hostfw_packets_total{direction=\"ingress\",reason=\"default-deny\"\
                  ,verdict=\"denied\"}";
    assert!(metrics.contains(&format!("{sample} {denied}\n")), "{metrics}");
    wait_until("the report names the five packets", 5 * SECOND, || {
        firewall.audit().flows.iter().any(|flow| {
            flow.direction == Direction::Ingress
                && (flow.peer, flow.protocol, flow.port) == (PEER, protocol::TCP, 8080)
                && flow.reason == "default-deny"
                && flow.dropped
                && flow.packets == 5
        })
    });
}
