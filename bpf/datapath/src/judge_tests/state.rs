//! What a decision leaves behind and what it tells: entries of the connection
//! tables, reports, and the fields of a record, one sentence a test.

use super::*;
use crate::{
    blueprint::{Extension, V6},
    flow::FORWARDED,
    judge::Judged,
    model::Question,
    report::{self, Seen},
};

const SOCKET: (Action, Reason) = (Action::Pass, Reason::Socket);
const TRANSIT: (Action, Reason) = (Action::Pass, Reason::Transit);
const MALFORMED: (Action, Reason) = (Action::Drop, Reason::Malformed);

impl Host {
    /// Local port, remote port and protocol of what a table holds.
    fn kept(&self, wanted: Table) -> Vec<(u16, u16, u8)> {
        let flows = self.model.flows.borrow();
        let keys = flows.keys().filter(|(table, _)| *table == wanted);
        keys.map(|(_, key)| (key.local_port, key.remote_port, key.protocol)).collect()
    }

    fn entry(&self, table: Table, key: FlowKey) -> FlowEntry {
        self.model.flows.borrow().get(&(table, key)).copied().unwrap_or(FlowEntry::NONE)
    }

    fn put(&self, table: Table, key: FlowKey, generation: u32) {
        let now_s = self.model.now_s.get();
        let entry = FlowEntry { generation, last_s: now_s, first_s: now_s, flags: 0 };
        self.model.flows.borrow_mut().insert((table, key), entry);
        self.has_opened(key.protocol, key.local_port);
    }

    fn judged(&self, direction: Direction, bytes: &[u8], forwarded: bool) -> Judged {
        let facts = Facts { forwarded, ..PLAIN };
        let image = self.words.as_slice();
        judge(direction, &Bytes { bytes, facts }, &image, &self.model, self.audit)
    }

    fn fate(&self, direction: Direction, bytes: &[u8], forwarded: bool) -> (Action, Reason) {
        let verdict = self.judged(direction, bytes, forwarded).verdict;
        (verdict.action, verdict.reason)
    }

    /// Writes to the tables since the last call.
    fn writes(&self) -> usize {
        let asked = self.model.take_questions();
        asked.iter().filter(|question| matches!(question, Question::Remember(..))).count()
    }

    /// The next generation, in which friends by IPv4 are nobody any more.
    fn forgets_its_friends(&mut self) {
        let friend = Address::from(ip(FRIEND));
        let child = |pointer: u32| TrieNode::of(pointer).child::<false>(&friend) as usize;
        let friends = child(self.words[child(self.words[AT_V4 as usize])]);
        self.words[friends] = 0;
        self.words[AT_GENERATION as usize] += 1;
    }
}

/// A router's message to this host about a packet that it sent, by IPv6.
fn error_v6(kind: u8, to: &str, quoted: Content) -> Vec<u8> {
    let plain = |from: &str, to: &str, upper| {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip(from), ip(to)) else {
            unreachable!("IPv6 addresses")
        };
        Payload::V6(V6::plain(source, destination, upper))
    };
    let quoted = plain(OWN_V6, to, Upper::Plain(quoted));
    Blueprint::frame(plain("3fff::1", OWN_V6, Upper::Error(kind, Box::new(quoted)))).bytes()
}

#[test]
fn the_first_packet_of_an_allowed_flow_is_reported_and_the_rest_is_not() {
    let host = Host::new(true, false);
    for (flags, report) in [
        (SYN, Report::First),
        (ACK, Report::Nothing),
        (SYN_ACK, Report::Nothing),
        (0x04, Report::Nothing),
        // SYN with congestion bits is a SYN.
        (0xc2, Report::First),
    ] {
        assert_eq!(host.receives(FRIEND, tcp(1, 22, flags), RULE).report, report, "{flags:#x}");
    }
    assert_eq!(host.receives(FRIEND, udp(1, 53), RULE).report, Report::First);
}

#[test]
fn a_default_that_allows_is_not_called_a_rule() {
    let mut host = Host::new(true, false);
    let verdicts = host.words[AT_VERDICTS as usize];
    host.words[(verdicts + 6 * VERDICT_WORDS) as usize] = 4;
    let verdict = host.receives(STRANGER, udp(1, 2), (Action::Pass, Reason::DefaultAllow));
    assert_eq!((verdict.rule, verdict.verdict), (NO_RULE, 6));
}

#[test]
fn a_redirect_is_refused_where_no_proxy_is_and_a_broken_image_is_named() {
    let mut host = Host::new(true, false);
    let verdicts = host.words[AT_VERDICTS as usize];
    for (word, reason) in [(5, Reason::NoProxy), (0, Reason::BrokenImage), (9, Reason::BrokenImage)]
    {
        host.words[(verdicts + VERDICT_WORDS) as usize] = word;
        let verdict = host.receives(FRIEND, tcp(1, 22, SYN), (Action::Drop, reason));
        assert_eq!((verdict.rule, verdict.verdict), (0, 1));
    }
}

#[test]
fn a_packet_is_told_as_far_as_it_can_be_read() {
    let host = Host::new(true, true);
    let seen = |bytes: &[u8], is_sent| Seen::of(&Bytes { bytes, facts: PLAIN }, is_sent);
    let frame = sketch::ethernet(ip(FRIEND), ip(OWN), tcp(40_000, 22, 0x5a));
    let told = seen(&frame, false);
    assert_eq!(told.flow, key(FRIEND, 22, 40_000, protocol::TCP));
    assert_eq!((told.tcp_flags, told.icmp_type), (0x5a, 0));
    let frame = sketch::ethernet(ip(OWN), ip(FRIEND), icmp(13));
    let told = seen(&frame, true);
    assert_eq!(told.flow, key(FRIEND, 0, 0, protocol::ICMP));
    assert_eq!((told.tcp_flags, told.icmp_type), (0, 13));
    // Cut inside the upper layer: who it was between is known.
    for (direction, from, to) in
        [(Direction::Ingress, FRIEND, OWN), (Direction::Egress, OWN, FRIEND)]
    {
        let is_sent = direction == Direction::Egress;
        let frame = sketch::ethernet(ip(from), ip(to), tcp(40_000, 22, SYN));
        for (length, flow) in [
            (54, key(FRIEND, 22, 40_000, protocol::TCP)),
            (40, key(FRIEND, 0, 0, 0)),
            (30, Seen::NOTHING.flow),
        ] {
            let frame = &frame[..length];
            let flow =
                if length == 54 && is_sent { key(FRIEND, 40_000, 22, protocol::TCP) } else { flow };
            assert_eq!(seen(frame, is_sent).flow, flow);
            // The gate is asked about the flow that is told.
            let judged = host.judged(direction, frame, false);
            if length < 54 {
                assert_eq!(judged.verdict.reason, Reason::Malformed);
            }
            assert_eq!(judged.tag, report::tag(&flow, &judged.verdict));
        }
    }
}

#[test]
fn what_is_for_a_group_passes() {
    let host = Host::new(true, true);
    for to in ["224.0.0.18", "239.255.0.1", "255.255.255.255"] {
        let frame = sketch::ethernet(ip(STRANGER), ip(to), Content::Other { protocol: 112 });
        let fate = host.fate(Direction::Ingress, &frame, false);
        assert_eq!(fate, (Action::Pass, Reason::Group), "{to}");
    }
    let frame = sketch::ethernet(ip("fe80::5"), ip("ff02::fb"), udp(5_353, 5_353));
    assert_eq!(host.fate(Direction::Ingress, &frame, false), (Action::Pass, Reason::Group));
    // The host's own word to a group is a matter of policy.
    host.sends("224.0.0.18", Content::Other { protocol: 112 }, DENIED);
}

#[test]
fn what_no_router_forwards_is_judged_without_asking() {
    let mut host = Host::new(true, false);
    host.model.forwarding = true;
    let from = |sender: &str| {
        let frame = sketch::ethernet(ip(sender), ip("3fff::9"), udp(1, 53));
        host.fate(Direction::Ingress, &frame, false)
    };
    assert_eq!(from("fe80::5"), DENIED);
    assert_eq!(host.model.take_questions().len(), 1, "only whether anything was opened");
    assert_eq!(from("2fff::5"), TRANSIT);
}

#[test]
fn an_own_address_is_own_where_the_host_forwards() {
    let mut host = Host::new(true, false);
    host.model.forwarding = true;
    host.receives(FRIEND, tcp(1, 22, SYN), RULE);
    host.receives(STRANGER, tcp(1, 22, SYN), DENIED);
}

#[test]
fn only_what_opens_a_flow_makes_it_one_of_ours() {
    for egress in [false, true] {
        let host = Host::new(true, egress);
        let fate = if egress { RULE } else { OPEN };
        for (port, flags) in [(1, ACK), (2, SYN_ACK), (3, SYN), (4, 0x04), (5, 0xc2), (6, 0)] {
            host.sends(FRIEND, tcp(port, 80, flags), fate);
        }
        assert_eq!(host.kept(Table::Own), [(3, 80, 6), (5, 80, 6)]);
    }
    let host = Host::new(true, false);
    for kind in [0, 3, 8, 13] {
        host.sends(FRIEND, icmp(kind), OPEN);
    }
    host.sends(FRIEND, udp(50_000, 80), OPEN);
    // An answer to what ingress policy admits.
    host.sends(FRIEND, udp(53, 80), OPEN);
    host.sends(FRIEND, Content::Other { protocol: 47 }, OPEN);
    assert_eq!(host.kept(Table::Own), [(0, 0, 47), (7, 0, 1), (50_000, 80, 17)]);
}

#[test]
fn what_egress_denies_opens_nothing() {
    let host = Host::new(true, true);
    host.sends(STRANGER, udp(50_000, 53), DENIED);
    host.sends(STRANGER, tcp(50_000, 443, SYN), DENIED);
    host.sends(STRANGER, icmp(8), DENIED);
    assert_eq!(host.writes(), 0);
    host.receives(STRANGER, udp(53, 50_000), DENIED);
}

#[test]
fn only_what_opens_an_admitted_flow_is_kept_and_only_while_egress_is_in_force() {
    let host = Host::new(true, true);
    host.has_opened(protocol::TCP, 22);
    for (port, flags) in [(1, ACK), (2, SYN_ACK), (3, SYN), (4, 0x04), (5, 0xc2)] {
        host.receives(FRIEND, tcp(port, 22, flags), RULE);
    }
    host.receives(FRIEND, udp(6, 53), RULE);
    host.receives(FRIEND, icmp(8), RULE);
    // Each where a flood of the other kind does not reach it.
    assert_eq!(host.kept(Table::Admitted), [(7, 0, 1), (53, 6, 17)]);
    assert_eq!(host.kept(Table::AdmittedTcp), [(22, 3, 6), (22, 5, 6)]);
    assert_eq!(host.kept(Table::Own), []);
}

#[test]
fn a_flow_of_ours_is_not_admitted_a_second_time() {
    let host = Host::new(true, true);
    host.put(Table::Own, key(FRIEND, 53, 9, protocol::UDP), 7);
    host.receives(FRIEND, udp(9, 53), RULE);
    assert_eq!(host.kept(Table::Admitted), []);
    // Once it has been idle, it is theirs.
    host.model.now_s.set(1_180);
    host.receives(FRIEND, udp(9, 53), RULE);
    assert_eq!(host.kept(Table::Admitted), [(53, 9, 17)]);
}

#[test]
fn a_flow_is_written_once_a_second_and_keeps_when_it_began() {
    let mut host = Host::new(true, false);
    let flow = key(STRANGER, 50_000, 53, protocol::UDP);
    let send = |host: &Host| {
        host.sends(STRANGER, udp(50_000, 53), OPEN);
        (host.writes(), host.entry(Table::Own, flow))
    };
    let entry = |generation, last_s, first_s| FlowEntry { generation, last_s, first_s, flags: 0 };
    assert_eq!(send(&host), (1, entry(7, 1_000, 1_000)));
    assert_eq!(send(&host), (0, entry(7, 1_000, 1_000)));
    host.model.now_s.set(1_001);
    assert_eq!(send(&host), (1, entry(7, 1_001, 1_000)));
    host.words[AT_GENERATION as usize] = 8;
    assert_eq!(send(&host), (1, entry(8, 1_001, 1_000)));
    host.model.now_s.set(2_000);
    assert_eq!(send(&host), (1, entry(8, 2_000, 2_000)));
}

#[test]
fn each_protocol_has_its_own_idle_limit() {
    let host = Host::new(true, false);
    for (protocol, limit_s) in [(6, 8_000), (17, 180), (1, 60), (58, 60), (132, 600), (47, 600)] {
        let entry = FlowEntry { last_s: 1_000, ..FlowEntry::NONE };
        assert!(entry.is_live(protocol, 1_000) && entry.is_live(protocol, 999 + limit_s));
        assert!(entry.is_live(protocol, 999), "written where the second has begun already");
        assert!(!entry.is_live(protocol, 1_000 + limit_s), "protocol {protocol}");
        assert!(!FlowEntry::NONE.is_live(protocol, 0) && !FlowEntry::NONE.is_live(protocol, 9));
    }
    host.sends(STRANGER, tcp(50_000, 443, SYN), OPEN);
    host.model.now_s.set(8_999);
    host.receives(STRANGER, tcp(443, 50_000, ACK), REPLY);
}

#[test]
fn an_answer_under_a_new_generation_is_asked_about_once() {
    let mut host = Host::new(true, false);
    host.sends(FRIEND, tcp(50_001, 80, SYN), OPEN);
    host.words = picture(true, true);
    host.words[AT_GENERATION as usize] = 8;
    host.writes();
    host.receives(FRIEND, tcp(80, 50_001, ACK), REPLY);
    assert_eq!(host.writes(), 1);
    let entry = host.entry(Table::Own, key(FRIEND, 50_001, 80, protocol::TCP));
    assert_eq!((entry.generation, entry.first_s), (8, 1_000));
    host.receives(FRIEND, tcp(80, 50_001, ACK), REPLY);
    assert_eq!(host.writes(), 0);
}

#[test]
fn a_masqueraded_flow_outlives_generations_and_transit_leaves_nothing() {
    let mut host = Host::new(true, true);
    let out = |source: &str| sketch::ethernet(ip(source), ip(STRANGER), tcp(50_000, 443, SYN));
    assert_eq!(host.fate(Direction::Egress, &out(POD), true), TRANSIT);
    assert_eq!(host.writes(), 0);
    assert_eq!(host.fate(Direction::Egress, &out(OWN), true), TRANSIT);
    let flow = key(STRANGER, 50_000, 443, protocol::TCP);
    assert_eq!(host.entry(Table::Own, flow).flags, FORWARDED);
    host.words[AT_GENERATION as usize] = 8;
    host.receives(STRANGER, tcp(443, 50_000, SYN_ACK), REPLY);
    let entry = host.entry(Table::Own, flow);
    assert_eq!((entry.generation, entry.flags), (8, FORWARDED));
}

#[test]
fn what_is_forwarded_or_not_enforced_leaves_the_host_whatever_it_is() {
    let open = (Action::Pass, Reason::NotEnforced);
    // Cut inside the addresses, and inside the ports.
    for length in [30, 36] {
        let frame = sketch::ethernet(ip(OWN), ip(STRANGER), tcp(1, 443, SYN));
        for (egress, forwarded, expected) in [
            (true, false, MALFORMED),
            (true, true, open),
            (false, false, open),
            (false, true, open),
        ] {
            let host = Host::new(true, egress);
            let fate = host.fate(Direction::Egress, &frame[..length], forwarded);
            assert_eq!(fate, expected, "{length} bytes, {egress}, {forwarded}");
        }
    }
}

#[test]
fn a_socket_that_the_host_opened_counts_only_where_it_may_still_send() {
    let mut host = Host::new(true, true);
    for (peer, port) in [(STRANGER, 443), (FRIEND, 80)] {
        host.model.sockets.insert(key(peer, 50_000, port, protocol::TCP), Opener::Host);
    }
    host.model.opened.borrow_mut().insert((protocol::TCP, 50_000));
    host.receives(STRANGER, tcp(443, 50_000, ACK), DENIED);
    assert_eq!(host.writes(), 0);
    host.receives(FRIEND, tcp(80, 50_000, ACK), SOCKET);
    let entry = host.entry(Table::Own, key(FRIEND, 50_000, 80, protocol::TCP));
    assert_eq!(entry, FlowEntry { generation: 7, last_s: 1_000, first_s: 1_000, flags: 0 });
}

#[test]
fn an_error_about_our_answer_to_an_echo_is_about_an_admitted_flow() {
    let mut host = Host::new(true, false);
    host.hears_of(3, FRIEND, icmp(0), RELATED);
    host.hears_of(3, STRANGER, icmp(0), DENIED);
    // We asked nobody, so there is nothing to complain about.
    host.hears_of(3, FRIEND, icmp(8), DENIED);
    let about = |host: &Host, content| {
        host.fate(Direction::Ingress, &error_v6(1, FRIEND_V6, content), false)
    };
    assert_eq!(about(&host, icmp(129)), RELATED);
    assert_eq!(about(&host, icmp(128)), DENIED);
    host.sends(FRIEND, icmp(8), OPEN);
    host.hears_of(3, FRIEND, icmp(8), RELATED);
    host.words = picture(false, false);
    host.sends(FRIEND_V6, icmp(128), OPEN);
    host.words = picture(true, false);
    assert_eq!(about(&host, icmp(128)), RELATED);
}

#[test]
fn an_error_about_a_connection_is_known_by_its_socket_whoever_opened_it() {
    let mut host = Host::new(true, false);
    host.model.sockets = BTreeMap::from([
        (key(STRANGER, 50_000, 443, protocol::TCP), Opener::Host),
        (key(STRANGER, 80, 40_000, protocol::TCP), Opener::Peer),
    ]);
    host.hears_of(11, STRANGER, tcp(50_000, 443, ACK), RELATED);
    host.hears_of(11, STRANGER, tcp(80, 40_000, ACK), RELATED);
    // A datagram is never known by a connection.
    host.hears_of(11, STRANGER, udp(50_000, 443), DENIED);
    // One that has no socket here may end elsewhere, if policy admits it.
    host.hears_of(11, FRIEND, tcp(22, 40_000, ACK), RELATED);
    host.hears_of(11, STRANGER, tcp(22, 40_000, ACK), DENIED);
}

#[test]
fn a_quote_that_ends_with_its_header_is_enough_where_there_are_no_ports() {
    let host = Host::new(true, false);
    host.sends(STRANGER, Content::Other { protocol: 47 }, OPEN);
    let frame = error(11, OWN, STRANGER, Content::Other { protocol: 47 });
    // The error's own length is at 14 + 2; its quote has eight bytes of content.
    for (missing, expected) in [(0, RELATED), (8, RELATED), (9, DENIED), (20, DENIED)] {
        let mut frame = frame.clone();
        frame[14 + 3] -= missing;
        assert_eq!(host.fate(Direction::Ingress, &frame, false), expected, "{missing} missing");
    }
}

#[test]
fn a_quote_behind_too_many_headers_is_not_looked_for() {
    let host = Host::new(true, false);
    host.sends(FRIEND_V6, udp(50_000, 9), OPEN);
    let whole = error_v6(1, FRIEND_V6, udp(50_000, 9));
    assert_eq!(host.fate(Direction::Ingress, &whole, false), RELATED);
    // 14 + 40 bytes, then one header, then the error's eight bytes: the quote
    // must start below 896.
    for (more, expected) in [(102u8, RELATED), (103, RELATED), (104, DENIED)] {
        let Payload::V6(packet) = packet_of_error(udp(50_000, 9)) else { unreachable!("IPv6") };
        let packet = V6 { extensions: vec![Extension::Destination(more)], ..packet };
        let frame = Blueprint::frame(Payload::V6(packet)).bytes();
        assert_eq!(host.fate(Direction::Ingress, &frame, false), expected, "{more}");
    }
}

fn packet_of_error(quoted: Content) -> Payload {
    let (IpAddr::V6(own), IpAddr::V6(peer)) = (ip(OWN_V6), ip(FRIEND_V6)) else {
        unreachable!("IPv6 addresses")
    };
    let quoted = Payload::V6(V6::plain(own, peer, Upper::Plain(quoted)));
    Payload::V6(V6::plain(peer, own, Upper::Error(1, Box::new(quoted))))
}

#[test]
fn a_new_connection_is_never_an_answer() {
    let host = Host::new(true, true);
    host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    host.sends(FRIEND, tcp(22, 40_000, SYN), DENIED);
    host.sends(FRIEND, tcp(22, 40_000, 0xc2), DENIED);
    for flags in [SYN_ACK, ACK, 0x04, 0] {
        host.sends(FRIEND, tcp(22, 40_000, flags), ADMITTED);
    }
}

#[test]
fn a_datagram_without_an_admitted_flow_is_no_answer() {
    let host = Host::new(true, true);
    host.sends(FRIEND, udp(53, 40_000), DENIED);
    host.sends(FRIEND, icmp(0), DENIED);
    assert_eq!(host.writes(), 0);
    // And one that was admitted too long ago is none either.
    host.receives(FRIEND, udp(40_000, 53), RULE);
    host.model.now_s.set(1_179);
    host.sends(FRIEND, udp(53, 40_000), ADMITTED);
    host.model.now_s.set(1_180);
    host.sends(FRIEND, udp(53, 40_000), DENIED);
}

#[test]
fn a_connection_that_the_host_opened_is_no_answer_although_its_port_is_admitted() {
    let mut host = Host::new(true, true);
    host.put(Table::Own, key(FRIEND, 22, 1, protocol::TCP), 6);
    host.sends(FRIEND, tcp(22, 1, ACK), DENIED);
    host.model.sockets = BTreeMap::from([
        (key(FRIEND, 22, 2, protocol::TCP), Opener::Host),
        (key(FRIEND, 22, 3, protocol::TCP), Opener::Peer),
    ]);
    host.sends(FRIEND, tcp(22, 2, ACK), DENIED);
    assert_eq!(host.writes(), 0);
    host.sends(FRIEND, tcp(22, 3, ACK), ADMITTED);
    assert_eq!(host.kept(Table::AdmittedTcp), [(22, 3, 6)]);
}

#[test]
fn a_port_from_which_nothing_was_opened_answers_whom_policy_admits_and_keeps_nothing() {
    let mut host = Host::new(true, true);
    for flags in [SYN, ACK, 0x04] {
        host.receives(FRIEND, tcp(40_000, 22, flags), RULE);
    }
    for flags in [SYN_ACK, ACK, 0x04] {
        host.sends(FRIEND, tcp(22, 40_000, flags), ADMITTED);
        host.sends(STRANGER, tcp(22, 40_000, flags), DENIED);
    }
    host.audit = true;
    host.receives(STRANGER, tcp(40_000, 22, SYN), (Action::Audit, Reason::DefaultDeny));
    host.sends(STRANGER, tcp(22, 40_000, SYN_ACK), ADMITTED);
    host.audit = false;
    assert_eq!(host.writes(), 0);
    // Once it opens something from there, its socket knows who began.
    host.has_opened(protocol::TCP, 22);
    let flow = key(FRIEND, 22, 40_000, protocol::TCP);
    host.model.sockets = [(flow, Opener::Peer)].into();
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    assert_eq!(host.kept(Table::AdmittedTcp), [(22, 40_000, 6)]);
    // And its permission counts at every packet.
    let mut host = Host::new(true, true);
    host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    host.forgets_its_friends();
    host.sends(FRIEND, tcp(22, 40_000, SYN_ACK), DENIED);
}

#[test]
fn an_admitted_flow_is_asked_about_again_by_each_generation() {
    let mut host = Host::new(true, true);
    host.has_opened(protocol::TCP, 22);
    host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    host.words[AT_GENERATION as usize] = 8;
    host.model.now_s.set(1_005);
    host.writes();
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    assert_eq!(host.writes(), 1);
    let entry = host.entry(Table::AdmittedTcp, key(FRIEND, 22, 40_000, protocol::TCP));
    assert_eq!(entry, FlowEntry { generation: 8, last_s: 1_005, first_s: 1_000, flags: 0 });
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    assert_eq!(host.writes(), 0);
    host.forgets_its_friends();
    host.sends(FRIEND, tcp(22, 40_000, ACK), DENIED);
}

#[test]
fn audit_keeps_flows_whose_permission_is_withdrawn_by_default() {
    let mut host = Host::new(true, false);
    host.sends(STRANGER, udp(50_000, 53), OPEN);
    host.words = picture(true, true);
    host.words[AT_GENERATION as usize] = 8;
    host.audit = true;
    host.receives(STRANGER, udp(53, 50_000), REPLY);
    // An explicit deny holds while auditing too.
    let mut host = Host::new(true, true);
    host.audit = true;
    host.put(Table::AdmittedTcp, key(FOE, 22, 40_000, protocol::TCP), 6);
    host.sends(FOE, tcp(22, 40_000, ACK), (Action::Audit, Reason::DefaultDeny));
    host.put(Table::AdmittedTcp, key(FOE, 23, 40_000, protocol::TCP), 6);
    host.sends(FOE, tcp(23, 40_000, ACK), ADMITTED);
}

#[test]
fn without_audit_an_audited_flow_is_no_longer_answered_as_admitted() {
    let mut host = Host::new(true, false);
    host.audit = true;
    host.receives(STRANGER, udp(40_000, 53), (Action::Audit, Reason::DefaultDeny));
    assert_eq!(host.kept(Table::Admitted), [(53, 40_000, 17)]);
    host.audit = false;
    host.sends(STRANGER, udp(53, 40_000), OPEN);
    assert_eq!(host.kept(Table::Own), [(53, 40_000, 17)]);
}

#[test]
fn an_explicitly_denied_packet_leaves_nothing_while_auditing() {
    let mut host = Host::new(true, false);
    host.audit = true;
    host.receives(FOE, tcp(1, 22, SYN), (Action::Drop, Reason::ExplicitDeny));
    assert_eq!(host.writes(), 0);
}

#[test]
fn all_is_open_from_a_host_whose_ingress_is_not_in_force() {
    let host = Host::new(false, true);
    // Ingress is open, so whoever is there may have asked.
    host.sends(STRANGER, tcp(22, 40_000, ACK), ADMITTED);
    host.sends(STRANGER, udp(53, 40_000), DENIED);
    let host = Host::new(false, false);
    host.sends(FRIEND, udp(53, 40_000), OPEN);
    assert_eq!(host.kept(Table::Own), [(53, 40_000, 17)]);
}

#[test]
fn what_goes_elsewhere_while_nobody_asks_leaves_no_trace() {
    let host = Host::new(false, false);
    let frame = sketch::ethernet(ip(FRIEND), ip(POD), udp(40_000, 53));
    assert_eq!(host.fate(Direction::Ingress, &frame, false), OPEN);
    assert_eq!(host.writes(), 0);
    let frame = sketch::ethernet(ip(FRIEND), ip(OWN), udp(40_000, 53));
    assert_eq!(host.fate(Direction::Ingress, &frame, false), OPEN);
    assert_eq!(host.writes(), 1);
}

#[test]
fn an_answer_needs_a_question_of_the_other_end() {
    let host = Host::new(true, true);
    // Nobody has asked, though friends may.
    host.sends(FRIEND, udp(53, 40_000), DENIED);
    // A TCP segment that opens nothing may answer an older connection,
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    // but not one that this host has opened itself,
    host.put(Table::Own, key(FRIEND, 22, 40_001, protocol::TCP), 7);
    host.sends(FRIEND, tcp(22, 40_001, ACK), DENIED);
    // whether the table knows it or the socket.
    let mut host = Host::new(true, true);
    host.has_opened(protocol::TCP, 22);
    host.model.sockets.insert(key(FRIEND, 22, 40_002, protocol::TCP), Opener::Host);
    host.sends(FRIEND, tcp(22, 40_002, ACK), DENIED);
}

#[test]
fn a_flow_of_an_older_generation_is_kept_as_far_as_this_one_lets_it_be_sent() {
    let host = Host::new(true, true);
    for (peer, expected) in [(FRIEND, REPLY), (STRANGER, DENIED)] {
        let flow = key(peer, 50_000, 80, protocol::TCP);
        host.put(Table::Own, flow, 6);
        host.receives(peer, tcp(80, 50_000, ACK), expected);
        let now_of = if expected == REPLY { 7 } else { 6 };
        assert_eq!(host.entry(Table::Own, flow).generation, now_of);
    }
}

#[test]
fn a_busy_tick_lets_some_packets_look_at_the_gate_and_the_next_one_again() {
    let looks = |mut word: u64, kind, ticks, n: u32| {
        let mut granted = 0;
        for _ in 0..n {
            match report::look(word, kind, ticks) {
                0 => {}
                after => (word, granted) = (after, granted + 1),
            }
        }
        (word, granted)
    };
    let (word, granted) = looks(0, Report::First, 7, 1_000);
    assert_eq!(granted, report::LOOKS_PER_TICK);
    // What is denied has looks of its own, whatever passes.
    let (word, granted) = looks(word, Report::Denied, 7, 1_000);
    assert_eq!(granted, report::LOOKS_PER_TICK);
    assert_eq!(looks(word, Report::Denied, 7, 1).1, 0);
    assert_eq!(looks(word, Report::First, 8, 1).1, 1);
    // Ticks are counted in 32 bits here; they go round.
    assert_eq!(looks(word, Report::First, 7 + (1 << 32), 1).1, 0);
    assert_eq!(report::look(word, Report::Nothing, 9), 0);
}
