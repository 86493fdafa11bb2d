//! What is decided in which state, one sentence a test, without a kernel: a
//! hand-made image, packets from a few words, tables in memory. Clauses are
//! those of the host behaviour specification.

#![expect(clippy::as_conversions, reason = "small numbers of a hand-made image")]

mod forward;
mod plain;
mod state;

use core::net::IpAddr;
use std::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use crate::{
    ABI_VERSION, Action, Address, Direction, Facts, FlowKey, Reason, Tables, Verdict,
    blueprint::{Blueprint, Payload, Upper, V4},
    checksum,
    flow::{FlowEntry, KEPT, Table},
    image::*,
    judge,
    model::{Bytes, Model, Question},
    packet::Layer,
    parse::protocol,
    report,
    sketch::{self, Content},
    tables::Opener,
    verdict::Report,
};

mod special;

const OWN: &str = "10.0.0.1";
const FRIEND: &str = "192.0.2.7";
const FOE: &str = "198.51.100.9";
const POD: &str = "10.244.1.5";
const STRANGER: &str = "203.0.113.4";
const ROUTER: &str = "203.0.113.254";
const OWN_V6: &str = "fd00::1";
const FRIEND_V6: &str = "2001:db8::7";

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// Rules: friends may reach TCP 22, UDP 53 and send echo requests (rules 0 to
/// 2), foes are denied TCP 22 (rule 3), the host may reach friends on TCP 80
/// (rule 4). Everything else is denied by default where it is in force.
pub(crate) fn picture(ingress: bool, egress: bool) -> Vec<u32> {
    let mut words = vec![0u32; HEADER_WORDS as usize];
    let place = |words: &mut Vec<u32>, node: Vec<u32>| {
        let at = words.len() as u32;
        words.extend(node);
        at
    };
    // Every node stands for all addresses below the root of its family.
    let node = |words: &mut Vec<u32>, bit: u32, prefix: u128, children: Vec<u32>| {
        words.resize(words.len().next_multiple_of(NODE_UNIT as usize), 0);
        let prefix = [64, 96, 0, 32].map(|shift| (prefix >> shift) as u32);
        let width = children.len().ilog2();
        let at = place(words, [&prefix[..], &[0], &children].concat());
        TrieNode { behind: 128 - bit - width, width, at }.pointer()
    };
    let mapped = |first: u32| 0xffff << 32 | u128::from(first << 24);
    let mut v4 = vec![0u32; 512];
    for (a, nets) in
        [(10, &[(0, LOCAL), (244, 3 | ELSEWHERE)][..]), (192, &[(0, 1)]), (198, &[(51, 2)])]
    {
        // Nine bits, so two children for each of the first byte, and for the
        // rest of the second one 128.
        for half in 0..2usize {
            let mut ways = vec![0u32; 128];
            let own = nets.iter().filter(|(b, _)| b / 128 == half);
            own.for_each(|(b, word)| ways[*b % 128] = *word);
            let prefix = mapped(a as u32) | (half as u128) << 23;
            v4[a * 2 + half] = node(&mut words, V4_BITS + 9, prefix, ways);
        }
    }
    let v4 = node(&mut words, V4_BITS, mapped(0), v4);
    // Five bits: two children for each of the first digit.
    let mut ways = vec![0u32; 32];
    ways[0xf * 2..].fill(LOCAL);
    ways[0x2 * 2..][..2].fill(1);
    let v6 = node(&mut words, 0, 0, ways);

    // Port classes: 1 TCP 22, 2 TCP 80, 3 UDP 53, 4 echo request.
    let zeros = place(&mut words, vec![0; 256]);
    let ports = |words: &mut Vec<u32>, classes: &[(usize, u32)]| {
        let mut page = vec![0u32; 256];
        for (port, class) in classes {
            page[*port] = *class;
        }
        let page = place(words, page);
        let mut pages = vec![zeros; 256];
        pages[0] = page;
        place(words, pages) | PORTS
    };
    let tcp = ports(&mut words, &[(22, 1), (80, 2)]);
    let udp = ports(&mut words, &[(53, 3)]);
    let mut types = vec![0u32; 256];
    types[8] = 4;
    let icmp = place(&mut words, types) | TYPES;
    let mut types = vec![0u32; 256];
    types[128] = 4;
    let icmp_v6 = place(&mut words, types) | TYPES;
    let mut protocols = vec![0u32; 256];
    for (number, word) in [(6, tcp), (17, udp), (1, icmp), (58, icmp_v6)] {
        protocols[number] = word;
    }
    let protocols = place(&mut words, protocols);

    // Verdicts: 0 broken, then one a rule that allows, default deny, and what the
    // fourth rule says, which denies.
    let mut verdicts = vec![0, NO_RULE];
    verdicts.extend((0..5).flat_map(|rule| [1, rule]));
    verdicts.extend([3, NO_RULE, 2, 3]);
    let verdicts = place(&mut words, verdicts);
    let rows = |words: &mut Vec<u32>, cells: &[(usize, usize, u32)]| {
        let mut root = vec![0u32; 256];
        for (class, slot) in root.iter_mut().enumerate().take(4) {
            let mut row = vec![6u32; 16];
            for (_, port, verdict) in cells.iter().filter(|(peer, ..)| *peer == class) {
                row[*port] = *verdict;
            }
            *slot = place(words, row);
        }
        place(words, root)
    };
    let inward = rows(&mut words, &[(1, 1, 1), (1, 3, 2), (1, 4, 3), (2, 1, 7)]);
    let outward = rows(&mut words, &[(1, 2, 5)]);
    let subject = [u32::from(ingress), inward, 1, 1, u32::from(egress), outward, 1, 1];
    let host = AT_HOST as usize;
    words[host..host + subject.len()].copy_from_slice(&subject);

    for (at, word) in [
        (AT_MAGIC, MAGIC),
        (AT_ABI, ABI_VERSION),
        (AT_WORDS, words.len() as u32),
        (AT_GENERATION, 7),
        (AT_V4, v4),
        (AT_V6, v6),
        (AT_TCP, tcp),
        (AT_UDP, udp),
        (AT_PROTOCOLS, protocols),
        (AT_N_SUBJECTS, 1),
        (AT_VERDICTS, verdicts),
        (AT_N_VERDICTS, 8),
        (AT_N_RULES, 5),
    ] {
        words[at as usize] = word;
    }
    words[AT_CHECKSUM as usize] = checksum::of(&words);
    words
}

/// What the kernel says beside an ordinary frame.
const PLAIN: Facts = Facts { layer: Layer::Ethernet, vlan: 0, forwarded: false, for_other: false };

/// A host under test.
struct Host {
    words: Vec<u32>,
    model: Model,
    audit: bool,
}

fn key(peer: &str, local_port: u16, remote_port: u16, protocol: u8) -> FlowKey {
    let (local, remote) = (Address::from(own_beside(peer)), Address::from(ip(peer)));
    FlowKey { local, remote, local_port, remote_port, protocol, zero: [0; 3] }
}

impl Host {
    fn new(ingress: bool, egress: bool) -> Self {
        Self { words: picture(ingress, egress), model: Model::default(), audit: false }
    }

    /// From now on this host has opened something from a port.
    fn has_opened(&self, protocol: u8, port: u16) {
        self.model.opened.borrow_mut().insert((protocol, port));
    }

    fn verdict(
        &self,
        direction: Direction,
        bytes: &[u8],
        layer: Layer,
        forwarded: bool,
    ) -> Verdict {
        self.verdict_with(direction, bytes, Facts { layer, forwarded, ..PLAIN })
    }

    fn verdict_with(&self, direction: Direction, bytes: &[u8], facts: Facts) -> Verdict {
        let (packet, image) = (Bytes { bytes, facts }, self.words.as_slice());
        let short = self.model.short_way(direction, &packet, &image, self.audit);
        let judged = judge(direction, &packet, &image, &self.model, self.audit);
        if let Some((plain, after)) = short {
            assert_eq!(plain.verdict, judged.verdict, "the short way agrees");
            assert_eq!(after.flows, self.model.flows, "and keeps what the long one keeps");
            assert_eq!(after.opened, self.model.opened);
            if plain.verdict.report != Report::Nothing {
                assert_eq!(report::tag(&plain.flow(), &plain.verdict), judged.tag);
            }
        }
        judged.verdict
    }

    /// Whether the short way settles a packet.
    fn is_plain(&self, direction: Direction, from: &str, to: &str, content: Content) -> bool {
        let frame = sketch::ethernet(ip(from), ip(to), content);
        let image = self.words.as_slice();
        self.model.short_way(direction, &Bytes::ethernet(&frame), &image, self.audit).is_some()
    }

    #[track_caller]
    fn receives(&self, from: &str, content: Content, expect: (Action, Reason)) -> Verdict {
        let frame = sketch::ethernet(ip(from), own_beside(from), content);
        let verdict = self.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), expect, "{content:?} from {from}");
        verdict
    }

    #[track_caller]
    fn sends(&self, to: &str, content: Content, expect: (Action, Reason)) -> Verdict {
        let frame = sketch::ethernet(own_beside(to), ip(to), content);
        let verdict = self.verdict(Direction::Egress, &frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), expect, "{content:?} to {to}");
        verdict
    }

    /// An ICMP error from a router about a packet that this host sent.
    #[track_caller]
    fn hears_of(&self, kind: u8, to: &str, quoted: Content, expect: (Action, Reason)) {
        let frame = error(kind, OWN, to, quoted);
        let verdict = self.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), expect, "error {kind} about {quoted:?}");
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a test address")
}

/// A router's message to this host about a packet from one to another.
fn error(kind: u8, from: &str, to: &str, quoted: Content) -> Vec<u8> {
    let plain = |from: &str, to: &str, upper| {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip(from), ip(to)) else {
            unreachable!("IPv4 addresses")
        };
        Payload::V4(V4::plain(source, destination, upper))
    };
    let quoted = plain(from, to, Upper::Plain(quoted));
    Blueprint::frame(plain(ROUTER, OWN, Upper::Error(kind, Box::new(quoted)))).bytes()
}

fn own_beside(peer: &str) -> IpAddr {
    ip(if ip(peer).is_ipv4() { OWN } else { OWN_V6 })
}

const fn tcp(from: u16, to: u16, flags: u8) -> Content {
    Content::Tcp { from, to, flags }
}

const fn udp(from: u16, to: u16) -> Content {
    Content::Udp { from, to }
}

const fn icmp(kind: u8) -> Content {
    Content::Icmp { kind, code: 0, id: 7 }
}

const RULE: (Action, Reason) = (Action::Pass, Reason::Rule);
const DENIED: (Action, Reason) = (Action::Drop, Reason::DefaultDeny);
const REPLY: (Action, Reason) = (Action::Pass, Reason::Reply);
const OPEN: (Action, Reason) = (Action::Pass, Reason::NotEnforced);
const ADMITTED: (Action, Reason) = (Action::Pass, Reason::Admitted);
const RELATED: (Action, Reason) = (Action::Pass, Reason::Related);

#[test]
fn a_host_that_no_rule_selects_is_open_and_remembers_what_it_opens() {
    let host = Host::new(false, false);
    host.receives(STRANGER, tcp(40_000, 22, SYN), OPEN);
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    let kept: Vec<_> = host.model.flows.borrow().keys().map(|(table, _)| *table).collect();
    assert_eq!(kept, [Table::Own]);
}

#[test]
fn a_rule_admits_its_peer_on_its_port_and_is_named() {
    let host = Host::new(true, false);
    let verdict = host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    assert_eq!((verdict.rule, verdict.report), (0, Report::First));
    assert_eq!(host.receives(FRIEND_V6, udp(40_000, 53), RULE).rule, 1);
    assert_eq!(host.receives(FRIEND, icmp(8), RULE).rule, 2);
}

#[test]
fn what_no_rule_names_is_dropped_and_reported() {
    let host = Host::new(true, false);
    for (peer, content) in [
        (FRIEND, tcp(40_000, 23, SYN)),
        (STRANGER, tcp(40_000, 22, SYN)),
        (STRANGER, udp(40_000, 53)),
        (FRIEND, Content::Other { protocol: 112 }),
        (FRIEND_V6, tcp(40_000, 80, SYN)),
    ] {
        let verdict = host.receives(peer, content, DENIED);
        assert_eq!((verdict.rule, verdict.report), (NO_RULE, Report::Denied));
    }
}

#[test]
fn admitted_inbound_packets_leave_no_trace_in_any_table() {
    let host = Host::new(true, false);
    for port in 0..100 {
        host.receives(FRIEND, tcp(port, 22, SYN), RULE);
        host.receives(FRIEND, udp(port, 53), RULE);
        host.sends(FRIEND, udp(53, port), OPEN);
    }
    assert!(host.model.flows.borrow().is_empty());
}

#[test]
fn answers_to_what_the_host_opened_pass_and_nothing_else_does() {
    let host = Host::new(true, false);
    host.receives(STRANGER, tcp(443, 50_000, SYN_ACK), DENIED);
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    host.receives(STRANGER, tcp(443, 50_000, SYN_ACK), REPLY);
    host.receives(STRANGER, tcp(443, 50_000, ACK), REPLY);
    // Another peer, another port, and a connection the other way round.
    host.receives(FOE, tcp(443, 50_000, ACK), DENIED);
    host.receives(STRANGER, tcp(444, 50_000, ACK), DENIED);
    host.receives(STRANGER, tcp(443, 50_000, SYN), DENIED);
}

#[test]
fn datagrams_and_echoes_are_answered_by_the_one_they_were_sent_to() {
    let host = Host::new(true, false);
    host.sends(STRANGER, udp(50_000, 53), OPEN);
    host.sends(STRANGER, icmp(8), OPEN);
    host.receives(STRANGER, udp(53, 50_000), REPLY);
    host.receives(STRANGER, icmp(0), REPLY);
    host.receives(FOE, udp(53, 50_000), DENIED);
    host.receives(FOE, icmp(0), DENIED);
    host.receives(STRANGER, icmp(8), DENIED);
}

#[test]
fn an_entry_that_was_idle_too_long_no_longer_counts() {
    let host = Host::new(true, false);
    host.sends(STRANGER, udp(50_000, 53), OPEN);
    host.model.now_s.set(1_000 + 179);
    host.receives(STRANGER, udp(53, 50_000), REPLY);
    host.model.now_s.set(1_000 + 179 + 180);
    host.receives(STRANGER, udp(53, 50_000), DENIED);
}

#[test]
fn a_connection_older_than_the_firewall_is_known_by_its_socket() {
    // A5.9: who opened it is never guessed from the first packet seen.
    let mut host = Host::new(true, false);
    let key = |local_port, remote_port| FlowKey {
        local: Address::from(ip(OWN)),
        remote: Address::from(ip(STRANGER)),
        local_port,
        remote_port,
        protocol: protocol::TCP,
        zero: [0; 3],
    };
    host.model.sockets =
        BTreeMap::from([(key(50_000, 443), Opener::Host), (key(80, 40_000), Opener::Peer)]);
    for port in [50_000, 80] {
        host.model.opened.borrow_mut().insert((protocol::TCP, port));
    }
    host.receives(STRANGER, tcp(443, 50_000, ACK), (Action::Pass, Reason::Socket));
    host.receives(STRANGER, tcp(443, 50_000, ACK), REPLY);
    host.receives(STRANGER, tcp(40_000, 80, ACK), DENIED);
}

#[test]
fn a_port_from_which_nothing_was_opened_costs_no_look_up() {
    let host = Host::new(true, false);
    host.receives(STRANGER, tcp(40_000, 80, ACK), DENIED);
    let asked = host.model.take_questions();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn an_error_about_a_live_flow_passes_from_any_router() {
    // A5.6, A14 T8 and T9.
    let host = Host::new(true, false);
    host.hears_of(11, STRANGER, tcp(50_000, 443, SYN), DENIED);
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    host.hears_of(11, STRANGER, tcp(50_000, 443, SYN), RELATED);
    host.hears_of(3, STRANGER, tcp(50_000, 443, ACK), RELATED);
    host.hears_of(11, STRANGER, tcp(50_001, 443, SYN), DENIED);
    // Our answer to an admitted question is live without any entry.
    host.hears_of(3, FRIEND, udp(53, 40_000), RELATED);
    host.hears_of(3, STRANGER, udp(53, 40_000), DENIED);
    // So is that of a connection which ends elsewhere, behind a translation.
    host.hears_of(3, FRIEND, tcp(22, 40_000, ACK), RELATED);
    host.hears_of(3, STRANGER, tcp(22, 40_000, ACK), DENIED);
}

#[test]
fn an_error_that_quotes_a_packet_of_somebody_else_is_refused() {
    let host = Host::new(true, false);
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    let frame = error(11, "10.0.0.2", STRANGER, tcp(50_000, 443, SYN));
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::DefaultDeny);
}

#[test]
fn neighbour_discovery_passes_with_hop_limit_255_only() {
    // A8.1, A14 T2; RFC 4861 section 7.1.
    let host = Host::new(true, true);
    let mut frame = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), icmp(135));
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::HopLimit));
    frame[14 + 7] = 255;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Neighbour));
    let redirect = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), icmp(137));
    let verdict = host.verdict(Direction::Ingress, &redirect, Layer::Ethernet, false);
    assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::ForbiddenIcmp));
    host.sends(FRIEND_V6, icmp(136), (Action::Pass, Reason::Neighbour));
}

#[test]
fn frames_that_are_not_ip_pass_and_tagged_ones_are_left_to_their_device() {
    // A3 and A14 T1, T15.
    let host = Host::new(true, true);
    let arp = [[2u8; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
    let stp = [[1u8; 12].as_slice(), &[0x00, 0x26], &[0; 38]].concat();
    for frame in [&arp, &stp] {
        let verdict = host.verdict(Direction::Ingress, frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::NotIp));
    }
    // The kernel has taken the tag out, as it does before it asks.
    let plain = sketch::ethernet(ip(STRANGER), ip(OWN), tcp(1, 22, SYN));
    for direction in [Direction::Ingress, Direction::Egress] {
        let facts = Facts { vlan: 5, ..PLAIN };
        let verdict = host.verdict_with(direction, &plain, facts);
        assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Tagged));
    }
}

#[test]
fn a_tag_that_is_left_in_the_frame_does_not_hide_a_packet() {
    // VLAN id 0 carries a priority only, and a VLAN device may leave its tag
    // where it is; the kernel strips any number, two are followed here.
    let host = Host::new(true, true);
    let plain = sketch::ethernet(ip(STRANGER), ip(OWN), tcp(1, 22, SYN));
    let reason = |tags: &[u16]| {
        let mut frame = Vec::from(&plain[..12]);
        for tag in tags {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(&plain[12..]);
        host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false).reason
    };
    for tags in [&[5][..], &[0xe000], &[100, 7], &[0, 5]] {
        assert_eq!(reason(tags), Reason::DefaultDeny, "{tags:x?}");
    }
    assert_eq!(reason(&[0, 0, 0]), Reason::Malformed);
    assert_eq!(reason(&[0, 5, 0]), Reason::Tagged);
}

#[test]
fn headers_in_the_padding_do_not_count() {
    // RFC 8200 section 4.5: what the packet's own length leaves out is cut off
    // before the fragments meet.
    let host = Host::new(true, false);
    let mut frame = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), udp(1, 53));
    frame[14 + 5] = 4;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Rule, "ports lie inside");
    frame[14 + 5] = 3;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Malformed);
    let mut frame = sketch::ethernet(ip(FRIEND), ip(OWN), tcp(1, 22, SYN));
    frame[14 + 3] = 20 + 13;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Malformed);
    // Aggregated segments beyond 64 KiB say 0.
    frame[14 + 3] = 0;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Rule);
}

#[test]
fn an_audited_flow_does_not_become_one_of_ours() {
    let mut host = Host::new(true, false);
    host.audit = true;
    host.receives(STRANGER, udp(40_000, 53), (Action::Audit, Reason::DefaultDeny));
    host.sends(STRANGER, udp(53, 40_000), OPEN);
    host.receives(STRANGER, udp(40_000, 53), (Action::Audit, Reason::DefaultDeny));
    host.audit = false;
    host.receives(STRANGER, udp(40_000, 53), DENIED);
}

#[test]
fn who_asked_while_nobody_judged_stays_the_one_who_asked() {
    // A5.9, A14 T7.
    let mut host = Host::new(false, false);
    host.receives(STRANGER, udp(40_000, 53), OPEN);
    host.sends(STRANGER, udp(53, 40_000), OPEN);
    host.sends(STRANGER, udp(50_000, 53), OPEN);
    host.receives(STRANGER, udp(53, 50_000), OPEN);
    host.words = picture(true, false);
    host.receives(STRANGER, udp(40_000, 53), DENIED);
    host.receives(STRANGER, udp(53, 50_000), REPLY);
}

#[test]
fn answers_leave_although_only_egress_is_in_force() {
    // A5.3: whoever may come in is answered, TCP or not.
    let host = Host::new(false, true);
    host.sends(STRANGER, udp(53, 40_000), DENIED);
    host.receives(STRANGER, udp(40_000, 53), OPEN);
    host.sends(STRANGER, udp(53, 40_000), ADMITTED);
    host.receives(STRANGER, icmp(8), OPEN);
    host.sends(STRANGER, icmp(0), ADMITTED);
    host.receives(STRANGER, tcp(40_000, 22, SYN), OPEN);
    host.sends(STRANGER, tcp(22, 40_000, SYN_ACK), ADMITTED);
    host.sends(STRANGER, udp(50_000, 53), DENIED);
    host.sends(STRANGER, icmp(8), DENIED);
}

#[test]
fn a_connection_that_is_kept_passes_both_ways_until_it_is_idle() {
    // A7.2.
    let host = Host::new(true, true);
    let flow = FlowKey {
        local: Address::from(ip(OWN)),
        remote: Address::from(ip(STRANGER)),
        local_port: 22,
        remote_port: 40_000,
        protocol: protocol::TCP,
        zero: [0; 3],
    };
    host.receives(STRANGER, tcp(40_000, 22, ACK), DENIED);
    host.sends(STRANGER, tcp(22, 40_000, ACK), DENIED);
    let now_s = host.model.now_s.get();
    let kept = FlowEntry { generation: 1, last_s: now_s, first_s: now_s, flags: KEPT };
    host.model.remember(Table::Own, &flow, kept);
    host.receives(STRANGER, tcp(40_000, 22, ACK), REPLY);
    host.sends(STRANGER, tcp(22, 40_000, ACK), ADMITTED);
    host.receives(STRANGER, tcp(40_000, 22, SYN), DENIED);
    host.receives(STRANGER, tcp(40_001, 22, ACK), DENIED);
    host.model.now_s.set(now_s + 10_000);
    host.receives(STRANGER, tcp(40_000, 22, ACK), DENIED);
}

#[test]
fn transit_is_not_judged_and_unknown_addresses_are_asked_for() {
    // A1.3, A14 T17.
    let mut host = Host::new(true, true);
    let to_pod = sketch::ethernet(ip(STRANGER), ip(POD), tcp(1, 22, SYN));
    let verdict = host.verdict(Direction::Ingress, &to_pod, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Transit);
    let elsewhere = sketch::ethernet(ip(STRANGER), ip("172.16.0.9"), tcp(1, 22, SYN));
    let verdict = host.verdict(Direction::Ingress, &elsewhere, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::DefaultDeny, "a host that forwards nothing judges all");
    host.model.forwarding = true;
    let verdict = host.verdict(Direction::Ingress, &elsewhere, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Transit);
    // An own address that the image has not caught up with.
    host.model.delivered.insert(Address::from(ip("172.16.0.9")));
    let verdict = host.verdict(Direction::Ingress, &elsewhere, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::DefaultDeny);
}

#[test]
fn masqueraded_flows_keep_their_answers_and_are_not_judged_on_egress() {
    // A3b.8, A14 T20.
    let host = Host::new(true, true);
    let out = sketch::ethernet(ip(OWN), ip(STRANGER), tcp(50_000, 443, SYN));
    let verdict = host.verdict(Direction::Egress, &out, Layer::Ethernet, true);
    assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Transit));
    host.receives(STRANGER, tcp(443, 50_000, SYN_ACK), REPLY);
}

#[test]
fn egress_in_force_lets_answers_to_admitted_flows_out() {
    // A14 T4.
    let host = Host::new(true, true);
    host.sends(FRIEND, tcp(22, 40_000, SYN_ACK), ADMITTED);
    host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    host.sends(FRIEND, tcp(22, 40_000, SYN_ACK), ADMITTED);
    host.receives(FRIEND, udp(40_000, 53), RULE);
    host.sends(FRIEND, udp(53, 40_000), ADMITTED);
    host.receives(FRIEND, icmp(8), RULE);
    host.sends(FRIEND, icmp(0), ADMITTED);
    // Nobody was admitted here.
    host.sends(STRANGER, tcp(22, 40_000, SYN_ACK), DENIED);
    host.sends(STRANGER, udp(53, 40_000), DENIED);
    host.sends(STRANGER, tcp(50_000, 443, SYN), DENIED);
    assert_eq!(host.sends(FRIEND, tcp(50_000, 80, SYN), RULE).rule, 4);
}

#[test]
fn withdrawing_a_permission_cuts_both_directions_at_the_next_packet() {
    // A7, A14 T5: an entry of an older generation is asked about again.
    let mut host = Host::new(true, false);
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    host.sends(FRIEND, tcp(50_001, 80, SYN), OPEN);
    host.words = picture(true, true);
    host.words[AT_GENERATION as usize] = 8;
    host.receives(STRANGER, tcp(443, 50_000, ACK), DENIED);
    host.sends(STRANGER, tcp(50_000, 443, ACK), DENIED);
    host.receives(FRIEND, tcp(80, 50_001, ACK), REPLY);
}

#[test]
fn audit_passes_default_denies_with_their_reason_and_keeps_explicit_ones() {
    // A9.8, A14 T23.
    let mut host = Host::new(true, true);
    host.audit = true;
    let verdict = host.receives(STRANGER, tcp(1, 22, SYN), (Action::Audit, Reason::DefaultDeny));
    assert_eq!(verdict.report, Report::Denied);
    let verdict = host.receives(FOE, tcp(1, 22, SYN), (Action::Drop, Reason::ExplicitDeny));
    assert_eq!(verdict.rule, 3);
    // One report for a flow, not a second one for its answer.
    host.sends(STRANGER, tcp(22, 1, SYN_ACK), ADMITTED);
    host.sends(STRANGER, udp(50_000, 53), (Action::Audit, Reason::DefaultDeny));
    host.receives(STRANGER, udp(53, 50_000), REPLY);
}

#[test]
fn later_fragments_pass_and_the_first_is_judged() {
    // A8.2: without its first fragment a datagram is never delivered.
    let host = Host::new(true, false);
    let mut frame = sketch::ethernet(ip(STRANGER), ip(OWN), udp(1, 2));
    frame[14 + 6] = 0x20;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::DefaultDeny);
    frame[14 + 7] = 0x10;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Fragment);
    let mut tiny = sketch::ethernet(ip(FRIEND), ip(OWN), tcp(1, 22, SYN));
    tiny[14 + 7] = 1;
    let verdict = host.verdict(Direction::Ingress, &tiny, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::TinyFragment);
}

#[test]
fn a_device_without_link_layer_is_judged_alike() {
    let host = Host::new(true, false);
    let packet = sketch::ip(ip(STRANGER), ip(OWN), tcp(1, 22, SYN));
    let verdict = host.verdict(Direction::Ingress, &packet, Layer::Ip, false);
    assert_eq!((verdict.action, verdict.reason), DENIED);
}

#[test]
fn a_cut_packet_is_malformed_and_an_image_without_answer_denies() {
    let mut host = Host::new(true, false);
    let frame = sketch::ethernet(ip(FRIEND), ip(OWN), tcp(1, 22, SYN));
    for length in [14, 20, 33, 36, 47] {
        let verdict = host.verdict(Direction::Ingress, &frame[..length], Layer::Ethernet, false);
        assert_eq!(verdict.reason, Reason::Malformed, "{length} bytes");
    }
    host.words[AT_VERDICTS as usize] = u32::MAX;
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::BrokenImage);
}

#[test]
fn an_ipv6_packet_cannot_pose_as_an_ipv4_one() {
    let host = Host::new(true, false);
    let mut frame = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), tcp(1, 22, SYN));
    let IpAddr::V4(friend) = ip(FRIEND) else { unreachable!("an IPv4 address") };
    frame[14 + 8..14 + 24].copy_from_slice(&friend.to_ipv6_mapped().octets());
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::Malformed));
}

#[test]
fn an_entry_is_refreshed_at_most_once_a_second() {
    let host = Host::new(true, false);
    host.sends(STRANGER, udp(50_000, 53), OPEN);
    host.model.take_questions();
    let writes = |host: &Host| {
        let asked = host.model.take_questions();
        asked.iter().filter(|question| matches!(question, Question::Remember(..))).count()
    };
    host.receives(STRANGER, udp(53, 50_000), REPLY);
    assert_eq!(writes(&host), 0);
    host.model.now_s.set(1_001);
    host.receives(STRANGER, udp(53, 50_000), REPLY);
    assert_eq!(writes(&host), 1);
    let key = *host.model.flows.borrow().keys().next().map(|(_, key)| key).expect("one flow");
    let entry = host.model.flows.borrow()[&(Table::Own, key)];
    assert_eq!(entry, FlowEntry { generation: 7, last_s: 1_001, first_s: 1_000, flags: 0 });
}
