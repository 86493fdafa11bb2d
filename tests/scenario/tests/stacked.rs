//! Devices on top of devices: VLANs, stacked ones, macvlans. Each packet for
//! the host is judged where its address is.
#![allow(clippy::print_stdout, reason = "what a kernel lacks is worth showing")]

use std::net::SocketAddr;

use hostfw_api::{RuleReport, StatusReport};
use hostfw_scenario::{
    Echo, Firewall, Host, LinkSocket, Reach, lab,
    packet::{self, ethernet, tagged},
    reaches,
    scene::{
        MS, NODE, NODE_MAC, PEER, PEER_MAC, SECOND, SILENCE, node_port, open_port, pair, policy,
    },
    udp, wait_until,
};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn firewall<'host>(node: &'host Host, rule_lists: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", rule_lists));
    firewall.start();
    firewall
}

/// One port open in both directions by a rule each.
const ONE_PORT: &str = "\
    ingress:\n- toPorts: [{ports: [{port: \"7\", protocol: UDP}]}]\n\
    egress:\n- toPorts: [{ports: [{port: \"7\", protocol: UDP}]}]\n";

/// What the two rules of [`ONE_PORT`] have counted.
fn counted(firewall: &Firewall<'_>) -> [u64; 2] {
    let rules = firewall.rules().rules;
    let written = |rule: &&RuleReport| rule.policy == "test";
    let packets: Vec<u64> = rules.iter().filter(written).map(|rule| rule.packets).collect();
    packets.try_into().unwrap_or_else(|packets| panic!("two rules, not {packets:?}"))
}

fn filtered(status: &StatusReport) -> Vec<&str> {
    status.devices.iter().map(|link| link.device.as_str()).collect()
}

/// Sends five datagrams to the peer and five back; gives the counts of the two
/// rules for them.
fn talk(firewall: &Firewall<'_>, node: &Host, peer: &Host, own: &str, theirs: &str) -> [u64; 2] {
    let before = counted(firewall);
    for (from, to) in [(peer, own), (node, theirs)] {
        let socket = udp(from, at(&format!("{to}:7")), SECOND);
        for _ in 0..5 {
            socket.send(b"counted").expect("sent");
            // A port without a listener is told; the next one is sent all the same.
            drop(socket.take_error());
            std::thread::sleep(2 * MS);
        }
    }
    std::thread::sleep(50 * MS);
    let after = counted(firewall);
    [after[0] - before[0], after[1] - before[1]]
}

/// Makes a VLAN device, or says that this kernel cannot.
fn has_vlans(node: &Host) -> bool {
    let has = node.try_ip("link add link eth0 name probe type vlan id 9\nlink delete probe\n");
    if !has {
        println!("this kernel has no VLAN driver: not shown here");
    }
    has
}

/// T15: device, VLAN on it, and a VLAN inside a provider's VLAN.
#[test]
fn a_packet_of_a_vlan_is_judged_once_and_on_the_device_of_its_vlan() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    if !has_vlans(&node) {
        return;
    }
    for (host, number) in [(&node, 1), (&peer, 2)] {
        host.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5\n\
             link add link eth0 name outer type vlan proto 802.1ad id 100\n\
             link add link outer name inner type vlan id 7\n\
             link set eth0.5 up\nlink set outer up\nlink set inner up\n\
             addr add 10.0.5.{number}/24 dev eth0.5\naddr add 10.0.7.{number}/24 dev inner\n"
        ));
    }
    let firewall = firewall(&node, ONE_PORT);
    let status = firewall.status();
    assert_eq!(filtered(&status), ["eth0", "eth0.5", "inner", "outer"]);
    let sockets = ["192.0.2.1:7", "10.0.5.1:7", "10.0.7.1:7"]
        .map(|own| node.inside(|| std::net::UdpSocket::bind(own)).expect("a free port"));
    let _there: Vec<Echo> = ["192.0.2.2:7", "10.0.5.2:7", "10.0.7.2:7"]
        .map(|theirs| Echo::start(&peer, at(theirs)))
        .into();
    for (own, theirs) in
        [("192.0.2.1", "192.0.2.2"), ("10.0.5.1", "10.0.5.2"), ("10.0.7.1", "10.0.7.2")]
    {
        assert_eq!(talk(&firewall, &node, &peer, own, theirs), [5, 5], "{own}");
        let closed = at(&format!("{own}:8"));
        assert_eq!(reaches(&peer, closed, SILENCE), Reach::Silent, "{closed}");
    }
    // Tags that stand in the bytes, as from a device that takes none out.
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let datagram = |port: u16| {
        let packet =
            packet::udp((at("10.0.5.2:1").ip(), 5000), (at("10.0.5.1:1").ip(), port), b"tag");
        ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &packet)
    };
    let before = counted(&firewall);
    let denied = firewall.ingress_packets("default-deny");
    for port in [7, 8] {
        from.send(&tagged(&datagram(port), 0x8100, 5));
        // A priority tag in front names no VLAN.
        from.send(&tagged(&tagged(&datagram(port), 0x8100, 5), 0x8100, 0xe000));
        // No device here has this one.
        from.send(&tagged(&datagram(port), 0x8100, 6));
    }
    wait_until("the tagged datagrams are counted", SECOND, || {
        counted(&firewall)[0] >= before[0] + 2
    });
    std::thread::sleep(50 * MS);
    assert_eq!(counted(&firewall)[0] - before[0], 2);
    assert_eq!(firewall.ingress_packets("default-deny") - denied, 2);
    drop(sockets);
}

/// T15, where no VLAN device is: a tagged frame is nobody's, one with a priority
/// tag is the device's own.
#[test]
fn a_tagged_frame_without_a_device_of_its_vlan_reaches_nobody() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = firewall(&node, ONE_PORT);
    let socket = node.inside(|| std::net::UdpSocket::bind(node_port(7))).expect("a free port");
    socket.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let send = |port: u16, kind: u16, id: u16| {
        let packet = packet::udp((PEER, 5000), (NODE, port), b"tag");
        let frame = ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &packet);
        from.send(&tagged(&frame, kind, id));
    };
    for kind in [0x8100, 0x88a8] {
        send(7, kind, 5);
    }
    assert!(socket.recv(&mut [0; 8]).is_err(), "tagged for a VLAN");
    assert_eq!(firewall.ingress_packets("tagged"), 2);
    send(7, 0x8100, 0xe000);
    assert!(socket.recv(&mut [0; 8]).is_ok(), "tagged with a priority only");
    send(8, 0x8100, 0xe000);
    wait_until("the denied one is counted", SECOND, || {
        firewall.ingress_packets("default-deny") == 1
    });
    assert_eq!(counted(&firewall)[0], 1);
}

/// T15: a VLAN device that leaves its tag in the frames hides nothing.
#[test]
fn a_vlan_device_that_keeps_the_tag_in_the_frame_is_filtered_too() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    if !has_vlans(&node) {
        return;
    }
    for (host, number) in [(&node, 1), (&peer, 2)] {
        host.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5 reorder_hdr off\nlink set eth0.5 up\n\
             addr add 10.0.5.{number}/24 dev eth0.5\n"
        ));
    }
    let _echo = Echo::start(&node, at("10.0.5.1:7"));
    let _there = Echo::start(&peer, at("10.0.5.2:8"));
    wait_until("the VLAN works without a firewall", 5 * SECOND, || {
        reaches(&peer, at("10.0.5.1:8"), SECOND) == Reach::Refused
    });
    let lists = format!("ingress:\n{}egress:\n- {{}}\n", open_port(7, "TCP"));
    let _firewall = firewall(&node, &lists);
    assert_eq!(reaches(&peer, at("10.0.5.1:7"), SECOND), Reach::Open);
    assert_eq!(reaches(&peer, at("10.0.5.1:8"), SILENCE), Reach::Silent);
    assert_eq!(reaches(&node, at("10.0.5.2:8"), SILENCE), Reach::Silent);
}

/// T16: a macvlan of a container is none of the host's business, one with an
/// address of the host is.
#[test]
fn frames_for_a_macvlan_are_judged_for_the_host_only() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let container = lab.host("pod");
    node.ip(&format!(
        "link add link eth0 name pod0 type macvlan mode bridge\n\
         link set pod0 netns {} name eth0\n\
         link add link eth0 name own0 type macvlan mode bridge\n\
         addr add 192.0.2.5/32 dev own0\nlink set own0 up\n\
         route add 192.0.2.9/32 dev own0\n",
        container.namespace()
    ));
    container.ip("link set eth0 up\naddr add 192.0.2.9/24 dev eth0\n");
    let _echoes = [
        Echo::start(&container, at("192.0.2.9:8")),
        Echo::start(&node, at("192.0.2.5:7")),
        Echo::start(&node, node_port(7)),
    ];
    let firewall = firewall(&node, &format!("ingress:\n{}", open_port(7, "TCP")));
    assert_eq!(filtered(&firewall.status()), ["eth0", "own0"]);
    assert_eq!(reaches(&peer, at("192.0.2.9:8"), SECOND), Reach::Open, "the container's");
    for own in ["192.0.2.5", "192.0.2.1"] {
        assert_eq!(reaches(&peer, at(&format!("{own}:7")), SECOND), Reach::Open, "{own}");
        assert_eq!(reaches(&peer, at(&format!("{own}:8")), SILENCE), Reach::Silent, "{own}");
    }
    // From the container straight to the host's macvlan, past the cable.
    assert_eq!(reaches(&container, at("192.0.2.5:8"), SILENCE), Reach::Silent);
    assert_eq!(reaches(&container, at("192.0.2.5:7"), SECOND), Reach::Open);
    // The host's own address stays judged whatever the frame is addressed to:
    // another program may still hand such a frame to the host.
    let before = firewall.ingress_packets("default-deny");
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let syn = packet::tcp((PEER, 5000), (NODE, 8), packet::SYN, [1, 0]);
    from.send(&ethernet([2, 0, 0, 0, 9, 9], PEER_MAC, LinkSocket::IPV4, &syn));
    wait_until("it is judged", SECOND, || firewall.ingress_packets("default-deny") > before);
}
