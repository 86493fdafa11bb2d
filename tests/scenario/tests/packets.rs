//! What kinds of packets pass or fall while a policy is in force.

use hostfw_api::Direction;
use hostfw_scenario::{
    Echo, Firewall, Host, Lab, LinkSocket, Reach, contains, lab,
    packet::{self, Mac, SYN, ethernet, icmp, icmpv6, ipv6, protocol},
    reaches,
    scene::{
        MS, NODE, NODE_MAC, NODE6, PEER, PEER_MAC, PEER6, SECOND, SILENCE, node_port, node_port6,
        open_port, pair, policy,
    },
    udp, wait_until,
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
    assert_eq!(firewall.ingress_packets("default-deny") - before, 5);
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

/// A node and a far host with a router between them, which sends packets of
/// `mtu` bytes at most to the far host. The far host keeps to that without
/// saying so in its connections, so that the node has to find out.
fn routed(lab: &Lab, mtu: u16) -> (Host, Host, Host) {
    let (node, router) = pair(lab);
    let far = lab.host("far");
    lab.cable((&router, "eth1", "02:00:00:00:01:02"), (&far, "eth0", "02:00:00:00:01:03"));
    router.ip(&format!("link set eth1 mtu {mtu} up\naddr add 198.51.100.2/24 dev eth1\n"));
    router.sysctl("net/ipv4/ip_forward", "1");
    far.ip(&format!(
        "link set eth0 up\naddr add 198.51.100.3/24 dev eth0\n\
         route add default via 198.51.100.2 mtu {mtu} advmss 1460\n"
    ));
    node.ip("route add 198.51.100.0/24 via 192.0.2.2\n");
    (node, router, far)
}

/// T8.
#[test]
fn a_router_may_report_about_a_live_flow_and_about_nothing_else() {
    let lab = lab!();
    let (node, router, _far) = routed(&lab, 1500);
    let firewall = firewall(&node, "ingress:\n- {}\n");
    let seen = LinkSocket::open(&node, "eth0", LinkSocket::IPV4);
    // Type 11 at offset 34, the quoted destination port at 34 + 8 + 20 + 2.
    let exceeded = |port: u16| {
        move |frame: &[u8]| {
            frame.get(34) == Some(&11) && frame.get(64..66) == Some(&port.to_be_bytes())
        }
    };
    let far = "198.51.100.3:33434".parse().expect("an address and a port");
    let flow = udp(&node, far, SECOND);
    flow.set_ttl(1).expect("an open socket");
    flow.send(b"one hop only").expect("sent");
    assert!(seen.sees(SECOND, exceeded(33434)), "the router's report about a live flow");

    let quoted = packet::udp((NODE, 40_000), (far.ip(), 33_435), b"never sent");
    let report = icmp(11, 0, [0; 4], &quoted);
    let forged = packet::ip(PEER, NODE, protocol::ICMP, &report);
    let from = LinkSocket::open(&router, "eth0", LinkSocket::IPV4);
    from.send(&ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &forged));
    assert!(!seen.sees(SILENCE, exceeded(33435)), "a report about a flow that does not exist");
    assert_eq!(firewall.ingress_packets("related"), 1);
    assert_eq!(firewall.ingress_packets("default-deny"), 1);
}

/// T9.
#[test]
fn a_path_with_a_smaller_packet_size_is_found() {
    let lab = lab!();
    let (node, _router, far) = routed(&lab, 1300);
    // Without the router's report a large packet would be lost for ever.
    node.sysctl("net/ipv4/tcp_mtu_probing", "0");
    let firewall = firewall(&node, "ingress:\n- {}\n");
    let at = "198.51.100.3:7".parse().expect("an address and a port");
    let _echo = Echo::start(&far, at);
    let mut stream = hostfw_scenario::tcp(&node, at, 10 * SECOND);
    use std::io::{Read, Write};
    let mut reader = stream.try_clone().expect("a descriptor can be duplicated");
    let sent: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || stream.write_all(&copy).map(|()| stream));
    let mut received = vec![0; sent.len()];
    reader.read_exact(&mut received).expect("the echo comes back");
    assert_eq!(received, sent);
    drop(writer.join().expect("the writer does not panic").expect("everything is written"));
    assert!(firewall.ingress_packets("related") >= 1, "the router's report was needed");
    // Give the last acknowledgements their time before the lab is taken away.
    std::thread::sleep(10 * MS);
}
