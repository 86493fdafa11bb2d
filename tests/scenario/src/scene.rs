//! The usual scene: a node to be protected and a peer that probes it, on one
//! cable, with documentation addresses of both families.
//!
//! Knows how policies are written down, not what they should cause.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::{Host, Lab, packet::Mac, wait_until};

/// One second: what a healthy answer never takes.
pub const SECOND: Duration = Duration::from_secs(1);
/// One millisecond.
pub const MS: Duration = Duration::from_millis(1);
/// How long to wait for something that must not come.
pub const SILENCE: Duration = Duration::from_millis(400);

/// Hardware address of the node.
pub const NODE_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// Hardware address of the peer.
pub const PEER_MAC: Mac = [2, 0, 0, 0, 0, 2];

/// The node's address.
pub const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// The peer's address.
pub const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
/// The node's address.
pub const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The peer's address.
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// A port of the node.
pub fn node_port(port: u16) -> SocketAddr {
    SocketAddr::new(NODE, port)
}

/// A port of the node, over IPv6.
pub fn node_port6(port: u16) -> SocketAddr {
    SocketAddr::new(NODE6.into(), port)
}

/// A port of the peer.
pub fn peer_port(port: u16) -> SocketAddr {
    SocketAddr::new(PEER, port)
}

/// Node and peer on one cable, both ends named `eth0`.
pub fn pair(lab: &Lab) -> (Host, Host) {
    let (node, peer) = (lab.host("node"), lab.host("peer"));
    lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&peer, "eth0", "02:00:00:00:00:02"));
    for (host, number) in [(&node, 1), (&peer, 2)] {
        host.ip(&format!(
            "link set eth0 up\n\
             addr add 192.0.2.{number}/24 dev eth0\n\
             addr add 2001:db8::{number}/64 dev eth0 nodad\n"
        ));
    }
    wait_until_up(&[(&node, "eth0"), (&peer, "eth0")]);
    (node, peer)
}

/// Waits until devices carry packets: a busy kernel opens the queue of one a while
/// after it was set up, and drops what comes before.
pub fn wait_until_up(devices: &[(&Host, &str)]) {
    wait_until("the devices carry packets", 10 * SECOND, || {
        devices
            .iter()
            .all(|(host, device)| host.ip_output(&["link", "show", device]).contains("state UP"))
    });
}

/// A policy for every node, with the rule lists given as YAML.
pub fn policy(name: &str, rule_lists: &str) -> String {
    let mut text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata:\n  name: {name}\nspec:\n  nodeSelector: {{}}\n"
    );
    for line in rule_lists.lines() {
        writeln!(text, "  {line}").expect("a string takes every line");
    }
    text
}

/// A policy that selects no node, and so puts nothing in force.
pub fn policy_for_nobody(name: &str) -> String {
    let none = "nodeSelector: {matchLabels: {node: none}}";
    policy(name, "ingress: [{}]\n").replace("nodeSelector: {}", none)
}

/// A rule list item that lets everybody reach one port by one protocol.
pub fn open_port(port: u16, protocol: &str) -> String {
    format!("- toPorts: [{{ports: [{{port: \"{port}\", protocol: {protocol}}}]}}]\n")
}

/// A Node object.
pub fn node_object(name: &str, addresses: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  \
         labels: {{kubernetes.io/hostname: {name}}}\nstatus:\n  addresses:\n"
    );
    for address in addresses {
        writeln!(text, "  - {{type: InternalIP, address: {address:?}}}")
            .expect("a string takes every line");
    }
    text
}
