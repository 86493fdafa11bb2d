//! A piece of a packet never fares better than the whole: the kernel's program
//! first judges what can be read without a copy, and only what it finds
//! malformed again as a whole.

use core::net::{IpAddr, Ipv4Addr};
use std::{vec, vec::Vec};

use proptest::{collection::vec as list, prelude::*};

use super::{
    drawn,
    reading::{network, packet_of},
};
use crate::{
    Action, Address, Direction, Facts, FlowKey, Packet, Reason, Verdict,
    blueprint::{Blueprint, Payload, Upper, V4},
    judge,
    judge_tests::picture,
    model::{Bytes, Model, Question},
    packet::Layer,
    parse::{self, Carried, Depth, protocol},
    sketch::{self, Content},
    tables::Opener,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_piece_reads_as_the_whole_or_as_cut(blueprint in drawn::blueprint()) {
        let bytes = blueprint.bytes();
        let whole = packet_of(&blueprint, &bytes);
        for length in 0..bytes.len() {
            let piece = packet_of(&blueprint, &bytes[..length]);
            let frame = parse::frame(&piece);
            if frame.carried == Carried::Cut {
                continue;
            }
            prop_assert_eq!(frame, parse::frame(&whole));
            let Some(network_of_piece) = network(&piece, frame) else { continue };
            prop_assert_eq!(Some(network_of_piece), network(&whole, frame));
            let start = network_of_piece.start(Depth::Packet);
            let upper = parse::upper(&piece, start);
            if upper != Err(Reason::Malformed) {
                prop_assert_eq!(upper, parse::upper(&whole, start));
            }
        }
    }

    #[test]
    fn a_piece_of_a_denied_packet_never_passes(
        blueprint in drawn::blueprint(), host in host(), egress: bool, forwarded: bool,
    ) {
        let direction = if egress { Direction::Egress } else { Direction::Ingress };
        let bytes = blueprint.bytes();
        let judged = |bytes| {
            let facts = Facts { layer: blueprint.layer(), vlan: 0, forwarded: egress && forwarded, for_other: false };
            host.judge(direction, &Bytes { bytes, facts })
        };
        let (whole, _) = judged(&bytes);
        for length in 0..bytes.len() {
            let (piece, asked) = judged(&bytes[..length]);
            if piece == whole {
                continue;
            }
            // Of what is not judged, nothing has to be complete.
            if if egress { forwarded || !host.egress } else { !host.ingress } {
                prop_assert_eq!((whole.action, piece.action), (Action::Pass, Action::Pass));
                continue;
            }
            prop_assert_ne!(piece.action, Action::Pass, "{} bytes, whole {:?}", length, whole);
            if piece.reason == Reason::Malformed {
                // Judged again as a whole: it must have left no trace.
                let trace = asked.iter().find(|it| !matches!(it, Question::IsDelivered(..)));
                prop_assert_eq!(trace, None);
            } else {
                // The only exception: without its quote an error is about nothing.
                prop_assert_eq!(whole.reason, Reason::Related, "{} bytes, {:?}", length, piece);
            }
        }
    }

    #[test]
    fn what_stands_behind_a_packet_changes_no_verdict(
        blueprint in drawn::blueprint(), host in host(), egress: bool,
        noise in list(any::<u8>(), 1..80),
    ) {
        let direction = if egress { Direction::Egress } else { Direction::Ingress };
        let alone = Blueprint { behind: Vec::new(), ..blueprint };
        let bytes = alone.bytes();
        let padded = [bytes.as_slice(), &noise].concat();
        let judged = |bytes| host.judge(direction, &packet_of(&alone, bytes));
        prop_assert_eq!(judged(&padded), judged(&bytes));
    }
}

#[test]
fn a_quote_behind_the_end_of_its_error_counts_for_nothing() {
    let host = Host { ingress: true, egress: false, audit: false };
    let [own, peer] = [OWN, PEERS[3]].map(Ipv4Addr::from);
    let quoted = V4::plain(own, peer, Upper::Plain(Content::Udp { from: 22, to: 53 }));
    let error = Upper::Error(11, std::boxed::Box::new(Payload::V4(quoted)));
    let judged = |missing| {
        let length = crate::blueprint::Length::Short(missing);
        let packet = V4 { length, ..V4::plain(peer, own, error.clone()) };
        let bytes = Blueprint::frame(Payload::V4(packet)).bytes();
        host.judge(Direction::Ingress, &Bytes::ethernet(&bytes)).0.reason
    };
    // The ports of the quote end four bytes before its UDP header does.
    assert_eq!([0, 4].map(judged), [Reason::Related; 2]);
    assert_eq!([5, 8, 9, 28].map(judged), [Reason::DefaultDeny; 4]);
    assert_eq!(judged(29), Reason::Malformed);
}

#[test]
fn headers_that_cannot_be_followed_hide_nothing_in_a_group() {
    // A redirect to all nodes behind more headers than are followed.
    let host = Host { ingress: true, egress: false, audit: false };
    let redirect = Upper::Plain(Content::Icmp { kind: 137, code: 0, id: 0 });
    let source = "fe80::5".parse().expect("an address");
    let all_nodes = "ff02::1".parse().expect("an address");
    let judged = |n_headers| {
        let mut packet = crate::blueprint::V6::plain(source, all_nodes, redirect.clone());
        packet.extensions = vec![crate::blueprint::Extension::Destination(0); n_headers];
        let bytes = Blueprint::frame(Payload::V6(packet)).bytes();
        let verdict = host.judge(Direction::Ingress, &Bytes::ethernet(&bytes)).0;
        (verdict.action, verdict.reason)
    };
    assert_eq!(judged(8), (Action::Drop, Reason::ForbiddenIcmp));
    assert_eq!(judged(9), (Action::Drop, Reason::Extensions));
}

/// A host in a state, with all flows among a few addresses and ports.
#[derive(Clone, Copy, Debug)]
struct Host {
    ingress: bool,
    egress: bool,
    audit: bool,
}

fn host() -> impl Strategy<Value = Host> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ingress, egress, audit)| Host {
        ingress,
        egress,
        audit,
    })
}

impl Host {
    fn judge<P: Packet>(&self, direction: Direction, packet: &P) -> (Verdict, Vec<Question>) {
        std::thread_local! {
            static STATE: (Vec<Vec<u32>>, Model) = (
                [(false, false), (false, true), (true, false), (true, true)]
                    .map(|(ingress, egress)| picture(ingress, egress))
                    .into(),
                busy(),
            );
        }
        STATE.with(|(pictures, model)| {
            let words = &pictures[usize::from(self.ingress) * 2 + usize::from(self.egress)];
            let flows = model.flows.clone();
            let judged = judge(direction, packet, &words.as_slice(), model, self.audit);
            model.flows.swap(&flows);
            (judged.verdict, model.take_questions())
        })
    }
}

const OWN: [u8; 4] = [10, 0, 0, 1];
const PEERS: [[u8; 4]; 4] = [[192, 0, 2, 7], [198, 51, 100, 9], [10, 244, 1, 5], [203, 0, 113, 4]];
const PORTS: [u16; 5] = [22, 53, 80, 443, 40_000];

/// A host that forwards and has opened a flow of every kind from every other
/// port; from the rest, its peers have.
fn busy() -> Model {
    let mut model = Model { forwarding: true, ..Model::default() };
    let open = picture(false, false);
    for peer in PEERS.map(|peer| IpAddr::from(Ipv4Addr::from(peer))) {
        let send = |content| {
            let frame = sketch::ethernet(IpAddr::from(OWN), peer, content);
            let facts =
                Facts { layer: Layer::Ethernet, vlan: 0, forwarded: false, for_other: false };
            let packet = Bytes { bytes: &frame, facts };
            judge(Direction::Egress, &packet, &open.as_slice(), &model, false)
        };
        for (from, to) in PORTS.into_iter().flat_map(|from| PORTS.map(|to| (from, to))) {
            if from % 2 == 0 {
                send(Content::Tcp { from, to, flags: 2 });
                send(Content::Udp { from, to });
            }
        }
        send(Content::Icmp { kind: 8, code: 0, id: 6 });
    }
    for (local_port, remote_port) in PORTS.into_iter().flat_map(|own| PORTS.map(|it| (own, it))) {
        let key = FlowKey {
            local: Address::from(IpAddr::from(OWN)),
            remote: Address::from(IpAddr::from(PEERS[3])),
            local_port,
            remote_port,
            protocol: protocol::TCP,
            zero: [0; 3],
        };
        let opener = if local_port > 1_000 { Opener::Host } else { Opener::Peer };
        model.sockets.insert(key, opener);
        model.opened.borrow_mut().insert((protocol::TCP, local_port));
    }
    model.take_questions();
    model
}
