//! What happens to connections when policies come, change and go.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
};

use hostfw_api::OpenedBy;
use hostfw_scenario::{
    Echo, Firewall, Reach, Stream, lab, reaches,
    scene::{MS, PEER, SECOND, SILENCE, node_port, node_port6, open_port, pair, peer_port, policy},
    tcp, udp,
};

/// T4.
#[test]
fn answers_to_an_allowed_connection_leave_although_egress_denies_everything() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _echo6) = (Echo::start(&node, node_port(7)), Echo::start(&node, node_port6(7)));
    let _peer_echo = Echo::start(&peer, peer_port(7));
    let mut firewall = Firewall::new(&node);
    let (over_tcp, over_udp) = (open_port(7, "TCP"), open_port(7, "UDP"));
    let lists = format!("ingress:\n{over_tcp}{over_udp}egress:\n- {{}}\n");
    firewall.policy("test.yaml", &policy("test", &lists));
    firewall.start();

    for to in [node_port(7), node_port6(7)] {
        let mut stream = tcp(&peer, to, SECOND);
        for _ in 0..10 {
            stream.write_all(b"there and back").expect("sent");
            let mut answer = [0; 14];
            stream.read_exact(&mut answer).expect("the answer leaves");
            assert_eq!(&answer, b"there and back");
        }
    }
    assert_eq!(reaches(&node, peer_port(7), SILENCE), Reach::Silent);

    // From port 7 this host opens nothing, so what a connection sends are answers;
    // a datagram may be anything, so its flow is kept.
    let _open = tcp(&peer, node_port(7), SECOND);
    let asked = udp(&peer, node_port(7), SECOND);
    asked.send(b"there and back").expect("sent");
    assert_eq!(asked.recv(&mut [0; 20]).expect("the answer leaves"), 14);
    let report: hostfw_api::ConnectionsReport =
        firewall.ask("GET", hostfw_api::CONNECTIONS_PATH, "").expect("an answer");
    let kept = report.connections.iter().filter(|entry| entry.local_port == 7);
    let kept: Vec<_> = kept.map(|one| (one.protocol, one.remote, one.opened_by)).collect();
    assert_eq!(kept, [(17, PEER, OpenedBy::Peer)], "{report:#?}");
}

/// T5.
#[test]
fn a_connection_whose_permission_is_withdrawn_stops_at_its_next_packet() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    let allows = policy("test", &format!("ingress:\n{}", open_port(9001, "TCP")));
    let denies = policy("test", &format!("ingress:\n{}", open_port(9002, "TCP")));
    firewall.policy("test.yaml", &allows);
    firewall.start();
    let stream = Stream::start(&peer, &node, node_port(9001), MS);
    assert!(stream.flows_within(SECOND));

    firewall.apply(|firewall| firewall.policy("test.yaml", &denies));
    // What was received before the switch may still be on its way to the reader.
    std::thread::sleep(100 * MS);
    assert!(!stream.flows_within(SECOND), "nothing arrives after the change");
    assert_eq!(reaches(&peer, node_port(9001), SILENCE), Reach::Silent);

    firewall.apply(|firewall| firewall.policy("test.yaml", &allows));
    assert!(stream.flows_within(10 * SECOND), "the retransmitted packet passes again");
    assert_eq!(stream.stop().lost(), 0);
}

/// T6.
#[test]
fn a_connection_that_the_host_opened_before_the_firewall_survives_it() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let server = peer.inside(|| TcpListener::bind(peer_port(9000))).expect("a free port");
    let mut opened_by_node = tcp(&node, peer_port(9000), SECOND);
    let (mut at_peer, _) = server.accept().expect("the node has connected");
    let listener = node.inside(|| TcpListener::bind(node_port(9001))).expect("a free port");
    let mut opened_by_peer = tcp(&peer, node_port(9001), SECOND);
    let (mut at_node, _) = listener.accept().expect("the peer has connected");
    at_node.set_read_timeout(Some(SILENCE)).expect("a limit above zero");

    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", "ingress:\n- {}\n"));
    firewall.start();
    // Both ends are idle for a while; then the far end speaks first.
    std::thread::sleep(2 * SECOND);
    at_peer.write_all(b"push").expect("sent");
    let mut received = [0; 4];
    opened_by_node.read_exact(&mut received).expect("what the host opened goes on");
    assert_eq!(&received, b"push");

    opened_by_peer.write_all(b"push").expect("sent");
    let error = at_node.read(&mut received).expect_err("what no rule allows does not arrive");
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()), "{error}");
}
