//! Connections of the host in their places: one that loses its place is known by its
//! socket; one whose socket has other ends is never left to that.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use hostfw_scenario::{
    Echo, Firewall, Host, lab,
    scene::{SECOND, open_port, pair, peer_port, policy},
    tcp,
};

/// Longer than a silent flow keeps its place, counted in whole seconds.
const SILENT: Duration = Duration::from_millis(4_100);

/// Lets nothing in but what answers.
fn closed(node: &Host) -> Firewall<'_> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(9, "TCP"))));
    firewall.start();
    firewall
}

/// Connections that have nothing but their place, and flows that have an entry.
fn kept(firewall: &Firewall<'_>) -> (u64, u64) {
    let tables = firewall.status().tables;
    (tables.own_tcp.entries, tables.own.entries)
}

#[track_caller]
fn is_alive(stream: &mut TcpStream) {
    stream.write_all(b"alive").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("answered");
}

#[test]
fn a_connection_that_loses_its_place_is_known_by_its_socket() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _far = [7, 9].map(|port| Echo::start(&peer, peer_port(port)));
    let firewall = closed(&node);
    let from = |port: u16, to: SocketAddr| {
        node.sysctl("net/ipv4/ip_local_port_range", &format!("{port} {port}"));
        tcp(&node, to, SECOND)
    };
    // Two flows of one place, found by trying; were they not, both would be in places
    // below.
    let mut first = from(40_000, peer_port(7));
    is_alive(&mut first);
    assert_eq!(kept(&firewall), (1, 0));
    let mut second = from(38_548, peer_port(9));
    is_alive(&mut second);
    assert_eq!(kept(&firewall), (1, 0), "the place has changed hands");

    assert_eq!(firewall.ingress_packets("socket"), 0);
    for _ in 0..3 {
        is_alive(&mut first);
        is_alive(&mut second);
    }
    assert_eq!(firewall.ingress_packets("socket"), 1, "asked once, then kept");
    assert_eq!(kept(&firewall), (1, 1), "while the place is busy");
    assert_eq!(firewall.ingress_packets("default-deny"), 0);
}

#[test]
fn a_connection_to_a_translated_address_is_not_left_to_its_socket() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _far = Echo::start(&peer, peer_port(7));
    // As a service of Kubernetes has it: the socket knows an address that no packet
    // on the wire bears.
    let service = SocketAddr::from(([198, 51, 100, 99], 7));
    node.ip("route add 198.51.100.99/32 via 192.0.2.2\n");
    node.nft(
        "table ip nat {\n chain out { type nat hook output priority -100;\n\
         ip daddr 198.51.100.99 tcp dport 7 dnat to 192.0.2.2:7\n}\n}\n",
    );
    let firewall = closed(&node);
    let mut translated = tcp(&node, service, SECOND);
    is_alive(&mut translated);
    assert_eq!(kept(&firewall), (0, 1));
    let mut plain = tcp(&node, peer_port(7), SECOND);
    is_alive(&mut plain);
    assert_eq!(kept(&firewall), (1, 1));
    thread::sleep(SILENT);
    is_alive(&mut translated);
    assert_eq!(firewall.ingress_packets("socket"), 0, "nobody had to ask");
    assert_eq!(firewall.ingress_packets("default-deny"), 0);
}
