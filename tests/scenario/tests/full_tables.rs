//! Tables at their limit, and floods beside live connections. Nothing here
//! stands for something else: flows are opened by packets that the node's own
//! programs judge, and answers are packets that they judge too.
#![allow(clippy::print_stderr, reason = "the counts are the result")]

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Instant,
};

use hostfw_api::{CONNECTIONS_PATH, ConnectionsReport};
use hostfw_scenario::{
    Echo, Firewall, Host, LinkSocket, Reach, Sshd, lab,
    packet::{self, ACK, SYN, ethernet},
    reaches,
    scene::{
        NODE, NODE_MAC, PEER, PEER_MAC, SECOND, SILENCE, node_port, open_port, pair, peer_port,
        policy,
    },
    tcp, udp, wait_until,
};

/// A moment after which what was sent has been judged.
fn settle(host: &Host) {
    host.inside(|| std::thread::sleep(SECOND / 5));
}

/// Datagrams from the node to so many different ends; each opens a flow.
fn open_flows(node: &Host, n_flows: u64) {
    let sockets: Vec<UdpSocket> = (0..n_flows.div_ceil(60_000))
        .map(|_| node.inside(|| UdpSocket::bind("192.0.2.1:0")).expect("a free port"))
        .collect();
    for number in 0..n_flows {
        let port = u16::try_from(number % 60_000 + 1_024).expect("below 65,536");
        let socket = &sockets[usize::try_from(number / 60_000).expect("few")];
        // An error is the peer's complaint about an earlier one.
        if socket.send_to(b"?", peer_port(port)).is_err() {
            drop(socket.send_to(b"?", peer_port(port)));
        }
    }
}

/// T25.
#[test]
fn full_tables_drop_no_allowed_packet_and_a_session_goes_on() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let sshd = Sshd::start(&node, node_port(22));
    let (_echo, _far) = (Echo::start(&node, node_port(7)), Echo::start(&peer, peer_port(7)));
    let mut firewall = Firewall::new(&node);
    let lists = format!(
        "ingress:\n{}{}{}egress:\n{}{}",
        open_port(22, "TCP"),
        "- toPorts: [{ports: [{port: \"7\", protocol: ANY}]}]\n",
        open_port(9, "UDP"),
        open_port(7, "TCP"),
        open_port(0, "UDP"),
    );
    firewall.policy("test.yaml", &policy("test", &lists));
    firewall.start();
    let mut session = sshd.session(&peer, node_port(22), 5 * SECOND);
    assert!(session.answers(5 * SECOND), "{}", sshd.process.log());
    let mut own = tcp(&node, peer_port(7), SECOND);
    let mut their = tcp(&peer, node_port(7), SECOND);

    let began = Instant::now();
    open_flows(&node, 300_000);
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    from.flood(0..160_000, |number| {
        let (high, low) = (number >> 16, number & 0xffff);
        let source = IpAddr::V4(Ipv4Addr::new(198, 18, u8::try_from(high).expect("few"), 1));
        let source = (source, u16::try_from(low).expect("16 bits"));
        ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &packet::udp(source, (NODE, 9), b"in"))
    });
    settle(&node);
    let tables = firewall.status().tables;
    eprintln!("filled in {:?}: {tables:#?}", began.elapsed());
    assert!(tables.own.evicted >= 300_000 - tables.own.capacity, "{tables:?}");
    assert!(tables.admitted.evicted >= 160_000 - tables.admitted.capacity, "{tables:?}");
    // Each processor keeps a few free for itself.
    assert!(tables.own.entries > tables.own.capacity * 95 / 100, "{tables:?}");

    for round in 0..3 {
        assert!(session.answers(SECOND), "the session, round {round}");
        for stream in [&mut own, &mut their] {
            stream.write_all(b"alive").expect("sent");
            stream.read_exact(&mut [0; 5]).expect("an old connection goes on");
        }
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "new ones come in");
        assert_eq!(reaches(&node, peer_port(7), SECOND), Reach::Open, "and go out");
        for (from, to) in [(&node, peer_port(7)), (&peer, node_port(7))] {
            let asker = udp(from, to, SECOND);
            asker.send(b"hello").expect("sent");
            asker.recv(&mut [0; 8]).expect("datagrams are answered");
        }
        assert_eq!(reaches(&peer, node_port(23), SILENCE), Reach::Silent, "denied all the same");
    }
    assert!(sshd.accepts_login(&peer, node_port(22), 5 * SECOND), "another login");
    let said = firewall.hostfw(&["status"]).output;
    assert!(said.contains("evicted to make room"), "{said}");
}

/// Connections that the node has opened, by packets of its own, half of them
/// TCP without a socket behind it, so that nothing but its entry saves one.
struct Crowd {
    datagrams: u64,
    connections: u64,
    at_peer: LinkSocket,
}

/// Destination ports for each source port of a crowd.
const WIDTH: u64 = 50_000;
const UDP_PORT: u64 = 20_000;
const TCP_PORT: u64 = 30_000;

fn port(number: u64) -> u16 {
    u16::try_from(number).expect("a port")
}

impl Crowd {
    fn open(node: &Host, peer: &Host, n_live: u64) -> Self {
        let (datagrams, connections) = (n_live / 2, n_live - n_live / 2);
        // What the peer thinks of it does not matter.
        let at_node = LinkSocket::open(node, "eth0", LinkSocket::IPV4);
        let send = |packet: Vec<u8>| ethernet(PEER_MAC, NODE_MAC, LinkSocket::IPV4, &packet);
        at_node.flood(0..datagrams, |number| {
            let (here, there) = ends(UDP_PORT, number);
            send(packet::udp((NODE, here), (PEER, there), b"?"))
        });
        at_node.flood(0..connections, |number| {
            let (here, there) = ends(TCP_PORT, number);
            send(packet::tcp((NODE, here), (PEER, there), SYN, [1, 0]))
        });
        settle(node);
        let at_peer = LinkSocket::open(peer, "eth0", LinkSocket::IPV4);
        Self { datagrams, connections, at_peer }
    }

    /// One packet from every far end; how many of them passed as answers.
    fn answered(&self, node: &Host, firewall: &Firewall<'_>) -> u64 {
        settle(node);
        let before = firewall.ingress_packets("reply");
        let send = |packet: Vec<u8>| ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &packet);
        self.at_peer.flood(0..self.datagrams, |number| {
            let (here, there) = ends(UDP_PORT, number);
            send(packet::udp((PEER, there), (NODE, here), b"!"))
        });
        self.at_peer.flood(0..self.connections, |number| {
            let (here, there) = ends(TCP_PORT, number);
            send(packet::tcp((PEER, there), (NODE, here), ACK, [2, 2]))
        });
        settle(node);
        firewall.ingress_packets("reply") - before
    }
}

fn ends(base: u64, number: u64) -> (u16, u16) {
    (port(base + number / WIDTH), port(10_000 + number % WIDTH))
}

/// Flows that are remembered.
fn n_listed(firewall: &Firewall<'_>) -> usize {
    let report: ConnectionsReport = firewall.ask("GET", CONNECTIONS_PATH, "").expect("an answer");
    report.connections.len()
}

const SYNS: u64 = 1_000_000;
const LIVE: u64 = 100_000;

/// An open and a closed port, SYNs from ever new ends, beside live connections
/// of all kinds.
#[test]
fn a_million_syns_leave_a_hundred_thousand_live_connections_untouched() {
    let (n_syns, n_live) = (SYNS, LIVE);
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _far) = (Echo::start(&node, node_port(7)), Echo::start(&peer, peer_port(7)));
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(7, "TCP"))));
    firewall.start();
    // The far ends are behind the peer, and not there: nobody answers for them.
    node.ip("route add 198.18.0.0/15 via 192.0.2.2\n");
    let mut real: Vec<_> = (0..200).map(|_| tcp(&node, peer_port(7), 5 * SECOND)).collect();
    let crowd = Crowd::open(&node, &peer, n_live);
    let before = firewall.status().tables;
    let n_before = n_listed(&firewall);
    assert!(n_before >= usize::try_from(n_live).expect("few"), "{n_before}, {before:?}");
    assert_eq!(crowd.answered(&node, &firewall), n_live, "all are live before the flood");

    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let (denied, admitted) =
        (firewall.ingress_packets("default-deny"), firewall.ingress_packets("rule"));
    let began = Instant::now();
    from.flood(0..n_syns, |number| {
        let [_, high, middle, low] = u32::try_from(number).expect("32 bits").to_be_bytes();
        let source = IpAddr::V4(Ipv4Addr::new(198, 18 | (low & 1), high, middle));
        let to = if number % 2 == 0 { 7 } else { 8 };
        let syn = packet::tcp((source, 1_024 + u16::from(low)), (NODE, to), SYN, [1, 0]);
        ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &syn)
    });
    settle(&node);
    let took = began.elapsed();
    let denied = firewall.ingress_packets("default-deny") - denied;
    let admitted = firewall.ingress_packets("rule") - admitted;
    assert!(denied + admitted >= n_syns * 99 / 100, "judged: {denied} and {admitted}");
    let answered = crowd.answered(&node, &firewall);
    let after = firewall.status().tables;
    eprintln!(
        "{n_syns} SYNs in {took:?}, {admitted} admitted at the open port and {denied} denied at \
         the closed one; {answered} of {n_live} live connections answered afterwards; {after:?}"
    );
    assert_eq!(answered, n_live, "every live connection is untouched");
    assert_eq!(after.own.evicted, before.own.evicted);
    assert_eq!(n_listed(&firewall), n_before, "and nothing was added");
    for stream in &mut real {
        stream.write_all(b"alive").expect("sent");
        stream.read_exact(&mut [0; 5]).expect("a real connection goes on");
    }
    wait_until("new ones come in", 10 * SECOND, || {
        reaches(&peer, node_port(7), SECOND) == Reach::Open
    });
}

/// Flows of datagrams that others have begun, while egress is in force: nothing
/// but their entries lets their answers out.
#[test]
fn a_flood_of_syns_evicts_no_datagram_flow_that_others_have_begun() {
    const FLOWS: u64 = 20_000;
    const SYNS: u64 = 300_000;
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    let lists = format!(
        "ingress:\n{}{}egress:\n- toCIDR: [172.16.0.0/12]\n",
        open_port(7, "TCP"),
        open_port(9, "UDP"),
    );
    firewall.policy("test.yaml", &policy("test", &lists));
    firewall.start();
    let at_node = LinkSocket::open(&node, "eth0", LinkSocket::IPV4);
    let at_peer = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let far = |number: u64| (PEER, port(10_000 + number));
    at_peer.flood(0..FLOWS, |number| {
        let request = packet::udp(far(number), (NODE, 9), b"?");
        ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &request)
    });
    settle(&node);
    // Nobody listens: how many answers are let out is all that counts.
    let answered = || {
        let before = firewall.egress_packets("admitted");
        at_node.flood(0..FLOWS, |number| {
            let answer = packet::udp((NODE, 9), far(number), b"!");
            ethernet(PEER_MAC, NODE_MAC, LinkSocket::IPV4, &answer)
        });
        settle(&node);
        firewall.egress_packets("admitted") - before
    };
    assert_eq!(answered(), FLOWS, "all are live before the flood");
    let flood = || {
        at_peer.flood(0..SYNS, |number| {
            let [_, high, middle, low] = u32::try_from(number).expect("32 bits").to_be_bytes();
            let source = IpAddr::V4(Ipv4Addr::new(198, 18, high, middle));
            let syn = packet::tcp((source, 1_024 + u16::from(low)), (NODE, 7), SYN, [1, 0]);
            ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &syn)
        });
        settle(&node);
        firewall.status().tables
    };
    let tables = flood();
    let held = tables.admitted_tcp;
    assert_eq!((held.entries, held.evicted), (0, 0), "a port that only serves: {tables:?}");
    // Connections have entries once this host has opened one from that port.
    at_node.flood(0..1, |_| {
        let far = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1));
        let syn = packet::tcp((NODE, 7), (far, 80), SYN, [1, 0]);
        ethernet(PEER_MAC, NODE_MAC, LinkSocket::IPV4, &syn)
    });
    let tables = flood();
    eprintln!("{SYNS} SYNs: {tables:?}");
    let n_too_many = SYNS - tables.admitted_tcp.capacity;
    assert!(tables.admitted_tcp.evicted >= n_too_many * 95 / 100, "{tables:?}");
    assert_eq!(tables.admitted.evicted, 0, "{tables:?}");
    assert_eq!(answered(), FLOWS, "every flow is answered after the flood");
}
