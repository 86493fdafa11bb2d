//! A policy, and traffic that shows whether it holds: what must all pass, and
//! what must never.

use hostfw_lab::Guest;
use hostfw_scenario::{
    Connections, Datagrams, Echo, Host, Reach, Stream, reaches,
    scene::{MS, SECOND, SILENCE, node_port, open_port, policy},
    wait_until,
};

/// Where the test writes its policy.
pub(crate) const POLICY: &str = "/etc/hostfw/policies.d/test.yaml";

/// TCP ports 7 and 9001 and UDP port 9000, nothing else.
pub(crate) fn three_ports() -> String {
    let ports = [open_port(7, "TCP"), open_port(9001, "TCP"), open_port(9000, "UDP")];
    policy("test", &format!("ingress:\n{}", ports.concat()))
}

/// Writes the policy and waits until the daemon has taken it.
#[track_caller]
pub(crate) fn protect(guest: &Guest<'_>, peer: &Host) {
    guest.write(POLICY, &three_ports());
    wait_until("the policy is in force", 5 * SECOND, || closed(peer, 8));
}

/// Servers at an allowed and a denied port.
pub(crate) fn servers(node: &Host) -> (Echo, Echo) {
    (Echo::start(node, node_port(7)), Echo::start(node, node_port(8)))
}

pub(crate) fn closed(peer: &Host, port: u16) -> bool {
    reaches(peer, node_port(port), SILENCE) == Reach::Silent
}

pub(crate) fn open(peer: &Host, port: u16) -> bool {
    reaches(peer, node_port(port), SECOND) == Reach::Open
}

/// The process of the daemon.
pub(crate) fn process(guest: &Guest<'_>) -> String {
    guest.does("systemctl show --property=MainPID --value hostfw")
}

/// No program is attached and no object is pinned. (A program at tcx is attached
/// for as long as its link is pinned; beside folders, the kernel has files of its
/// own there.)
#[track_caller]
pub(crate) fn nothing_is_left(guest: &Guest<'_>) {
    assert_eq!(guest.does("find /sys/fs/bpf -mindepth 2"), "");
    assert_eq!(guest.does("tc filter show dev eth0 ingress; tc filter show dev eth0 egress"), "");
}

/// What must all pass, and what must never, from the peer to the node.
pub(crate) struct Traffic {
    allowed: (Datagrams, Connections),
    /// One connection that is open all the while.
    stream: Stream,
    denied: (Datagrams, Connections),
}

impl Traffic {
    pub(crate) fn start(node: &Host, peer: &Host) -> Self {
        Self {
            allowed: (
                Datagrams::start(peer, node, node_port(9000), MS),
                Connections::start(peer, node_port(7), SECOND, MS),
            ),
            stream: Stream::start(peer, node, node_port(9001), MS),
            denied: (
                Datagrams::start(peer, node, node_port(9002), MS),
                Connections::start(peer, node_port(8), 50 * MS, MS),
            ),
        }
    }

    /// Nothing was lost and nothing leaked.
    #[track_caller]
    pub(crate) fn stop(self, what: &str) {
        for count in [self.allowed.0.stop(), self.allowed.1.stop(), self.stream.stop()] {
            println!("{what}, allowed: {count:?}");
            assert!(count.sent > 100, "{what}: {count:?} is no proof");
            assert_eq!(count.lost(), 0, "{what}, allowed: {count:?}");
        }
        for count in [self.denied.0.stop(), self.denied.1.stop()] {
            println!("{what}, denied: {count:?}");
            assert!(count.sent > 10, "{what}: {count:?} is no proof");
            assert_eq!(count.arrived, 0, "{what}, denied: {count:?}");
        }
    }
}
