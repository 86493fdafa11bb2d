//! Nodes that forward, and what routers on the way report to them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
};

use hostfw_scenario::{
    Echo, Firewall, Host, Lab, LinkSocket, Reach, lab,
    packet::{self, ethernet, icmp, icmpv6, ipv6, protocol},
    ping, reaches,
    scene::{
        MS, NODE, NODE_MAC, NODE6, PEER, PEER_MAC, PEER6, SECOND, SILENCE, node_port, node_port6,
        open_port, pair, policy,
    },
    udp,
};

/// Nothing is allowed in any direction.
const NOTHING: &str = "ingress:\n- {}\negress:\n- {}\n";

fn firewall<'host>(node: &'host Host, rule_lists: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", rule_lists));
    firewall.start();
    firewall
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn forwards(host: &Host) {
    host.sysctl("net/ipv4/ip_forward", "1");
    host.sysctl("net/ipv6/conf/all/forwarding", "1");
}

/// A node and a far host with a router between them, which sends packets of
/// `mtu` bytes at most to the far host. The far host keeps to that without
/// saying so in its connections, so that the node has to find out.
fn routed(lab: &Lab, mtu: u16) -> (Host, Host, Host) {
    let (node, router) = pair(lab);
    let far = lab.host("far");
    lab.cable((&router, "eth1", "02:00:00:00:01:02"), (&far, "eth0", "02:00:00:00:01:03"));
    forwards(&router);
    router.ip(&format!(
        "link set eth1 mtu {mtu} up\naddr add 198.51.100.2/24 dev eth1\n\
         addr add 2001:db8:1::2/64 dev eth1 nodad\n"
    ));
    far.ip(&format!(
        "link set eth0 up\naddr add 198.51.100.3/24 dev eth0\n\
         addr add 2001:db8:1::3/64 dev eth0 nodad\n\
         route add default via 198.51.100.2 mtu {mtu} advmss 1460\n\
         route add default via 2001:db8:1::2 mtu {mtu} advmss 1440\n"
    ));
    node.ip("route add 198.51.100.0/24 via 192.0.2.2\nroute add 2001:db8:1::/64 via 2001:db8::2\n");
    (node, router, far)
}

/// A host behind the node, which the far host answers by way of the router.
fn behind(lab: &Lab, node: &Host, far: &Host) -> Host {
    let inside = lab.host("inside");
    lab.cable((node, "pod0", "02:00:00:00:02:01"), (&inside, "eth0", "02:00:00:00:02:02"));
    forwards(node);
    node.ip("link set pod0 up\naddr add 10.0.3.1/24 dev pod0\n");
    inside.ip("link set eth0 up\naddr add 10.0.3.2/24 dev eth0\nroute add default via 10.0.3.1\n");
    far.ip("route add 192.0.2.0/24 via 198.51.100.2\n");
    inside
}

/// T8.
#[test]
fn a_router_may_report_about_a_live_flow_and_about_nothing_else() {
    let lab = lab!();
    let (node, router, _far) = routed(&lab, 1500);
    let firewall = firewall(&node, "ingress:\n- {}\n");
    for (own, router_address, far, kind) in [
        (NODE, PEER, at("198.51.100.3:33434"), LinkSocket::IPV4),
        (NODE6.into(), PEER6.into(), at("[2001:db8:1::3]:33434"), LinkSocket::IPV6),
    ] {
        let seen = LinkSocket::open(&node, "eth0", kind);
        // Time exceeded: its type behind the headers, the quoted port behind
        // eight bytes more, another IP header and the quoted source port.
        let (exceeded, header) = if own.is_ipv4() { (11, 20) } else { (3, 40) };
        let about = |port: u16| {
            move |frame: &[u8]| {
                let quoted = 14 + header + 8 + header + 2;
                frame.get(14 + header) == Some(&exceeded)
                    && frame.get(quoted..quoted + 2) == Some(&port.to_be_bytes())
            }
        };
        let flow = udp(&node, far, SECOND);
        if own.is_ipv4() {
            flow.set_ttl(1).expect("an open socket");
        } else {
            node.ip("route replace 2001:db8:1::/64 via 2001:db8::2 hoplimit 1\n");
        }
        flow.send(b"one hop only").expect("sent");
        assert!(seen.sees(SECOND, about(33434)), "the router's report about a live flow");

        let quoted = packet::udp((own, 40_000), (far.ip(), 33_435), b"never sent");
        let report = match (router_address, own) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let report = icmpv6(from, to, exceeded, [0; 4], &quoted);
                ipv6(from, to, protocol::ICMPV6, 64, &report)
            }
            (from, to) => packet::ip(from, to, protocol::ICMP, &icmp(exceeded, 0, [0; 4], &quoted)),
        };
        let from = LinkSocket::open(&router, "eth0", kind);
        from.send(&ethernet(NODE_MAC, PEER_MAC, kind, &report));
        assert!(!seen.sees(SILENCE, about(33435)), "a report about a flow that does not exist");
    }
    assert_eq!(firewall.ingress_packets("related"), 2);
    assert_eq!(firewall.ingress_packets("default-deny"), 2);
}

/// T8, for a flow of somebody behind the node: the report names the address
/// that the node has put in the place of the sender's.
#[test]
fn reports_about_masqueraded_flows_reach_the_one_who_sent() {
    let lab = lab!();
    let (node, router, far) = routed(&lab, 1500);
    let inside = behind(&lab, &node, &far);
    for line in [
        "add table ip nat",
        "add chain ip nat out { type nat hook postrouting priority 100 ; }",
        "add rule ip nat out oifname eth0 masquerade",
    ] {
        let status = node.command("nft").args(line.split(' ')).status();
        assert!(status.expect("nftables is installed").success(), "{line}");
    }
    let firewall = firewall(&node, NOTHING);

    let answered = udp(&inside, at("198.51.100.3:9"), SECOND);
    answered.send(b"nobody listens").expect("sent");
    let error = answered.recv(&mut [0; 16]).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "the far host's report");

    let seen = LinkSocket::open(&inside, "eth0", LinkSocket::IPV4);
    let flow = udp(&inside, at("198.51.100.3:33434"), SECOND);
    flow.set_ttl(2).expect("an open socket");
    flow.send(b"two hops").expect("sent");
    let exceeded = |frame: &[u8]| frame.get(34) == Some(&11);
    assert!(seen.sees(SECOND, exceeded), "the report of the router in between");

    // One about a flow that nobody masquerades.
    let quoted = packet::udp((NODE, 40_000), (at("198.51.100.3:1").ip(), 33_435), b"never sent");
    let report = packet::ip(PEER, NODE, protocol::ICMP, &icmp(11, 0, [0; 4], &quoted));
    let from = LinkSocket::open(&router, "eth0", LinkSocket::IPV4);
    from.send(&ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &report));
    std::thread::sleep(100 * MS);
    assert_eq!(firewall.ingress_packets("related"), 2);
    assert_eq!(firewall.ingress_packets("default-deny"), 1);
}

/// T9, for a connection that the node hands to somebody behind it: it has no socket
/// at the node, and the report names the node's address.
#[test]
fn a_path_with_a_smaller_packet_size_is_found_from_behind_a_published_port() {
    let lab = lab!();
    let (node, _router, far) = routed(&lab, 1300);
    let inside = behind(&lab, &node, &far);
    inside.sysctl("net/ipv4/tcp_mtu_probing", "0");
    node.nft(
        "table ip nat {\nchain before { type nat hook prerouting priority -100;\n\
         ip daddr 192.0.2.1 tcp dport 8080 dnat to 10.0.3.2:80\n}\n}\n",
    );
    let _echo = Echo::start(&inside, at("10.0.3.2:80"));
    let lists = format!("ingress:\n{}egress:\n- {{}}\n", open_port(8080, "TCP"));
    let firewall = firewall(&node, &lists);
    comes_back(hostfw_scenario::tcp(&far, node_port(8080), 10 * SECOND));
    assert!(firewall.ingress_packets("related") > 0, "the router's report was needed");
}

/// Sends a lot to an echo, and has all of it again.
fn comes_back(mut stream: std::net::TcpStream) {
    let mut reader = stream.try_clone().expect("a descriptor can be duplicated");
    let sent: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || stream.write_all(&copy).map(|()| stream));
    let mut received = vec![0; sent.len()];
    reader.read_exact(&mut received).expect("the echo comes back");
    assert_eq!(received, sent);
    drop(writer.join().expect("the writer does not panic").expect("everything is written"));
}

/// T9.
#[test]
fn a_path_with_a_smaller_packet_size_is_found() {
    let lab = lab!();
    let (node, _router, far) = routed(&lab, 1300);
    // Without the router's report a large packet would be lost for ever.
    node.sysctl("net/ipv4/tcp_mtu_probing", "0");
    let firewall = firewall(&node, "ingress:\n- {}\n");
    for to in [at("198.51.100.3:7"), at("[2001:db8:1::3]:7")] {
        let before = firewall.ingress_packets("related");
        let _echo = Echo::start(&far, to);
        comes_back(hostfw_scenario::tcp(&node, to, 10 * SECOND));
        assert!(firewall.ingress_packets("related") > before, "the router's report was needed");
    }
    // Give the last acknowledgements their time before the lab is taken away.
    std::thread::sleep(10 * MS);
}

/// T17.
#[test]
fn what_a_node_forwards_is_not_judged_and_its_own_addresses_are() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let far = lab.host("far");
    lab.cable((&node, "eth1", "02:00:00:00:01:02"), (&far, "eth0", "02:00:00:00:01:03"));
    forwards(&node);
    node.ip("link set eth1 up\naddr add 198.51.100.2/24 dev eth1\n\
             addr add 2001:db8:1::2/64 dev eth1 nodad\n");
    far.ip("link set eth0 up\naddr add 198.51.100.3/24 dev eth0\n\
            addr add 2001:db8:1::3/64 dev eth0 nodad\n\
            route add default via 198.51.100.2\nroute add default via 2001:db8:1::2\n");
    peer.ip("route add default via 192.0.2.1\nroute add default via 2001:db8::1\n");
    let firewall = firewall(&node, NOTHING);
    assert_eq!(firewall.links().links.len(), 2);
    for to in ["198.51.100.3:7", "[2001:db8:1::3]:7"].map(at) {
        let _echo = Echo::start(&far, to);
        assert_eq!(reaches(&peer, to, SECOND), Reach::Open, "{to} through the node");
        assert!(ping(&peer, to.ip(), SECOND));
    }
    // All four addresses of the node, the far ones as well, are its own.
    for to in [node_port(7), node_port6(7), at("198.51.100.2:7"), at("[2001:db8:1::2]:7")] {
        assert_eq!(reaches(&peer, to, SILENCE), Reach::Silent, "{to} of the node");
    }
    assert_eq!(reaches(&node, at("198.51.100.3:7"), SILENCE), Reach::Silent, "its own egress");
    assert!(firewall.ingress_packets("transit") >= 8);
}
