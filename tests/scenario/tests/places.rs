//! Connections of the host in their places: none is lost with it, nor one that no
//! socket could be found for.

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

/// A connection from a port. Those of these tests, from 40,000 to port 7, from 38,548
/// to 9 and from 37,096 to 11, have one place: found by trying, and were it not so,
/// more would be kept in places than the tests say.
fn from(node: &Host, port: u16, to: SocketAddr) -> TcpStream {
    node.sysctl("net/ipv4/ip_local_port_range", &format!("{port} {port}"));
    tcp(node, to, SECOND)
}

#[track_caller]
fn is_alive(stream: &mut TcpStream) {
    stream.write_all(b"alive").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("answered");
}

#[test]
fn a_connection_that_loses_its_place_is_kept_in_the_table() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _far = [7, 9, 11].map(|port| Echo::start(&peer, peer_port(port)));
    let firewall = closed(&node);
    let mut first = from(&node, 40_000, peer_port(7));
    is_alive(&mut first);
    assert_eq!(kept(&firewall), (1, 0));
    let mut second = from(&node, 38_548, peer_port(9));
    is_alive(&mut second);
    assert_eq!(kept(&firewall), (1, 1), "the place is busy");
    thread::sleep(SILENT);
    let mut third = from(&node, 37_096, peer_port(11));
    assert_eq!(kept(&firewall), (1, 2), "the place has changed hands");
    for _ in 0..3 {
        for stream in [&mut first, &mut second, &mut third] {
            is_alive(stream);
        }
    }
    assert_eq!(firewall.ingress_packets("socket"), 0, "nobody had to be asked");
    assert_eq!(firewall.ingress_packets("default-deny"), 0);
}

#[test]
fn a_connection_to_a_translated_address_is_not_lost_with_its_place() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _far = [7, 9].map(|port| Echo::start(&peer, peer_port(port)));
    // As a service of Kubernetes has it: the socket knows an address that no packet
    // on the wire bears.
    let service = SocketAddr::from(([198, 51, 100, 99], 7));
    node.ip("route add 198.51.100.99/32 via 192.0.2.2\n");
    node.nft(
        "table ip nat {\n chain out { type nat hook output priority -100;\n\
         ip daddr 198.51.100.99 tcp dport 7 dnat to 192.0.2.2:7\n}\n}\n",
    );
    let firewall = closed(&node);
    let mut translated = from(&node, 40_000, service);
    is_alive(&mut translated);
    assert_eq!(kept(&firewall), (1, 0));
    thread::sleep(SILENT);
    let mut other = from(&node, 38_548, peer_port(9));
    assert_eq!(kept(&firewall), (1, 1), "the place has changed hands");
    is_alive(&mut translated);
    is_alive(&mut other);
    assert_eq!(firewall.ingress_packets("default-deny"), 0);
}
