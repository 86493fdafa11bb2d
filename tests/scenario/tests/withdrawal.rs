//! What a policy may want for connections that it no longer allows, on real
//! sockets: that they end, that they go on, or that the next packet is judged.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

use hostfw_scenario::{
    Firewall, Host, Lab, Reach, lab, reaches,
    scene::{
        MS, SECOND, SILENCE, node_port, open_port, pair, peer_port, policy, policy_for_nobody,
    },
    tcp,
};

/// A policy with the annotation.
fn annotated(existing: &str, lists: &str) -> String {
    policy("test", lists).replace(
        "  name: test\n",
        &format!("  name: test\n  annotations: {{hostfw.io/existing-connections: {existing}}}\n"),
    )
}

/// Both ends of a connection to a port: who opened it first.
fn connect(from: &Host, to: &Host, at: std::net::SocketAddr) -> (TcpStream, TcpStream) {
    let listener = to.inside(|| TcpListener::bind(at)).expect("a free port");
    let client = tcp(from, at, SECOND);
    let (server, _) = listener.accept().expect("the other end has connected");
    server.set_read_timeout(Some(SECOND)).expect("a limit above zero");
    // Somebody goes on listening there.
    std::mem::forget(listener);
    (client, server)
}

/// True when bytes arrive both ways.
fn talks((one, other): &mut (TcpStream, TcpStream)) -> bool {
    let say = |from: &mut TcpStream, to: &mut TcpStream| {
        from.write_all(b"talk").is_ok() && to.read_exact(&mut [0; 4]).is_ok()
    };
    say(one, other) && say(other, one)
}

/// The error with which a connection has ended, if it has.
fn ended(stream: &mut TcpStream) -> Option<ErrorKind> {
    stream.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(_) => None,
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => None,
        Err(error) => Some(error.kind()),
    }
}

/// Two connections that a peer opened, one that the node opened.
struct Talk {
    withdrawn: (TcpStream, TcpStream),
    allowed: (TcpStream, TcpStream),
    own: (TcpStream, TcpStream),
}

fn scene<'h>(
    lab: &Lab,
    hosts: &'h mut Option<(Host, Host)>,
    existing: &str,
) -> (Firewall<'h>, Talk) {
    let (node, peer) = hosts.insert(pair(lab));
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &annotated(existing, &lists([9001, 9002], [9003, 9004])));
    firewall.start();
    let mut talk = Talk {
        withdrawn: connect(peer, node, node_port(9001)),
        allowed: connect(peer, node, node_port(9002)),
        own: connect(node, peer, peer_port(9003)),
    };
    for pair in [&mut talk.withdrawn, &mut talk.allowed, &mut talk.own] {
        assert!(talks(pair), "everything is allowed");
    }
    (firewall, talk)
}

/// TCP ports that are open, in and out.
fn lists(ingress: [u16; 2], egress: [u16; 2]) -> String {
    let list = |ports: [u16; 2]| ports.map(|port| open_port(port, "TCP")).concat();
    format!("ingress:\n{}egress:\n{}", list(ingress), list(egress))
}

#[test]
fn a_policy_that_kills_ends_both_ends_of_what_it_withdraws_and_nothing_else() {
    let lab = lab!();
    let mut hosts = None;
    let (firewall, mut talk) = scene(&lab, &mut hosts, "kill");
    firewall.apply(|firewall| {
        firewall.policy("test.yaml", &annotated("kill", &lists([9002, 9005], [9004, 9006])));
    });
    // The last effect of the switch.
    let status = firewall.await_status("both were ended", |status| status.tables.ended == 2);
    assert_eq!(status.tables.ended, 2, "one each way");
    assert_eq!(ended(&mut talk.withdrawn.1), Some(ErrorKind::ConnectionAborted), "at the node");
    assert_eq!(ended(&mut talk.withdrawn.0), Some(ErrorKind::ConnectionReset), "at the peer");
    assert_eq!(ended(&mut talk.own.0), Some(ErrorKind::ConnectionAborted), "what the node opened");
    assert_eq!(ended(&mut talk.own.1), Some(ErrorKind::ConnectionReset), "at its other end");
    assert!(talks(&mut talk.allowed), "what is still allowed");
    assert!(firewall.log().contains("connections are ended"), "{}", firewall.log());
    let said = firewall.hostfw(&["status"]).output;
    assert!(said.contains("2 ended as their policy wants"), "{said}");
}

#[test]
fn a_policy_that_keeps_lets_go_on_what_it_withdraws_and_admits_nothing_new() {
    let lab = lab!();
    let mut hosts = None;
    let (firewall, mut talk) = scene(&lab, &mut hosts, "keep");
    firewall.apply(|firewall| {
        firewall.policy("test.yaml", &annotated("keep", &lists([9002, 9005], [9004, 9006])));
    });
    for _ in 0..3 {
        for pair in [&mut talk.withdrawn, &mut talk.allowed, &mut talk.own] {
            assert!(talks(pair), "it goes on");
        }
        std::thread::sleep(500 * MS);
    }
    // And over the next generation, which withdraws nothing more.
    firewall.apply(|firewall| {
        firewall.policy("test.yaml", &annotated("keep", &lists([9002, 9007], [9004, 9008])));
    });
    assert!(talks(&mut talk.withdrawn) && talks(&mut talk.own), "still");
    assert_eq!(firewall.status().tables.ended, 0);
    drop(firewall);
    let (node, peer) = hosts.as_ref().expect("the scene made them");
    assert_eq!(reaches(peer, node_port(9001), SILENCE), Reach::Silent, "nobody new comes in");
    assert_eq!(reaches(node, peer_port(9003), SILENCE), Reach::Silent, "or out");
}

/// T5, the default.
#[test]
fn a_policy_that_says_nothing_has_the_next_packet_judged_and_ends_nothing() {
    let lab = lab!();
    let mut hosts = None;
    let (firewall, mut talk) = scene(&lab, &mut hosts, "recheck");
    firewall.apply(|firewall| {
        firewall.policy("test.yaml", &annotated("recheck", &lists([9002, 9005], [9004, 9006])));
    });
    assert!(!talks(&mut talk.withdrawn) && !talks(&mut talk.own), "cut both ways");
    for end in [&mut talk.withdrawn.0, &mut talk.withdrawn.1, &mut talk.own.0, &mut talk.own.1] {
        assert_eq!(ended(end), None, "silent, not ended");
    }
    assert!(talks(&mut talk.allowed));
    assert_eq!(firewall.status().tables.ended, 0);
}

#[test]
fn a_policy_that_wants_something_unknown_is_refused_with_its_place() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy_for_nobody("test"));
    firewall.start();
    firewall.policy("test.yaml", &annotated("kil", "ingress: [{}]\n"));
    firewall.reload();
    let status = firewall.await_status("a refusal", |status| status.refused.is_some());
    let complaint = &status.refused.expect("refused").complaints[0];
    assert_eq!((complaint.code.as_str(), complaint.line), ("bad-annotation", 5));
    assert!(complaint.instead.contains("kill"), "{complaint:?}");
}
