//! What the short way settles, and what it leaves. That it agrees with the long
//! one is asserted for every packet of these tests.

use super::*;
use crate::parse::plain;

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

#[test]
fn packets_that_the_image_decides_are_settled() {
    let host = Host::new(true, false);
    for (from, content) in [
        (FRIEND, tcp(40_000, 22, SYN)),
        (FRIEND, tcp(40_000, 22, ACK)),
        (FRIEND, udp(40_000, 53)),
        (FOE, tcp(40_000, 22, SYN)),
        (STRANGER, udp(40_000, 53)),
    ] {
        assert!(host.is_plain(IN, from, OWN, content), "{content:?} from {from}");
    }
    assert!(host.is_plain(IN, FRIEND_V6, OWN_V6, tcp(40_000, 22, ACK)));
    assert!(host.is_plain(OUT, OWN, FRIEND, tcp(22, 40_000, ACK)));
    assert!(host.is_plain(OUT, OWN, FRIEND, udp(53, 40_000)), "answers what policy admits");
}

#[test]
fn a_plain_packet_has_the_flow_that_all_packets_have() {
    for content in [tcp(40_000, 22, SYN), udp(0xfffe, 53), tcp(1, 0xffff, ACK)] {
        let frame = sketch::ethernet(ip(STRANGER), ip(OWN), content);
        let (network, upper) = plain::<false, _>(&Bytes::ethernet(&frame)).expect("plain");
        assert_eq!(FlowKey::plain(IN, &network, &upper), FlowKey::received(&network, &upper));
        assert_eq!(FlowKey::plain(OUT, &network, &upper), FlowKey::sent(&network, &upper));
        let frame = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), content);
        let (network, upper) = plain::<true, _>(&Bytes::ethernet(&frame)).expect("plain");
        assert_eq!(FlowKey::plain(IN, &network, &upper), FlowKey::received(&network, &upper));
        assert_eq!(FlowKey::plain(OUT, &network, &upper), FlowKey::sent(&network, &upper));
    }
}

#[test]
fn the_corners_are_left_to_the_long_way() {
    let host = Host::new(true, false);
    for (to, content) in [
        (OWN, icmp(8)),
        (OWN, Content::Sctp { from: 1, to: 2 }),
        ("224.0.0.1", udp(40_000, 53)),
        (POD, tcp(40_000, 22, SYN)),
    ] {
        assert!(!host.is_plain(IN, FRIEND, to, content), "{content:?} to {to}");
    }
    let open = Host::new(false, false);
    assert!(!open.is_plain(IN, FRIEND, POD, tcp(40_000, 22, SYN)), "it may be forwarded");
    let audit = Host { audit: true, ..Host::new(true, true) };
    assert!(!audit.is_plain(IN, STRANGER, OWN, udp(40_000, 53)), "its answer must be known");
    assert!(!audit.is_plain(OUT, OWN, STRANGER, udp(40_000, 53)), "so must this one's");
    assert!(audit.is_plain(IN, FRIEND, OWN, udp(40_000, 53)));
}

#[test]
fn where_nobody_asks_datagrams_are_kept_for_their_answers() {
    let host = Host::new(false, false);
    for content in [tcp(40_000, 22, SYN), udp(40_000, 53)] {
        assert!(host.is_plain(IN, FRIEND, OWN, content), "{content:?}");
        host.receives(FRIEND, content, OPEN);
    }
    let kept: Vec<_> = host.model.flows.borrow().keys().map(|(table, _)| *table).collect();
    assert_eq!(kept, [Table::Admitted]);
}

#[test]
fn an_answer_is_settled_with_an_entry_and_without() {
    let host = Host::new(true, false);
    for (content, answer) in
        [(udp(50_000, 53), udp(53, 50_000)), (tcp(50_000, 443, SYN), tcp(443, 50_000, ACK))]
    {
        assert!(host.is_plain(OUT, OWN, STRANGER, content), "it opens a flow");
        host.sends(STRANGER, content, OPEN);
        for past_s in [0, 60] {
            host.model.now_s.set(host.model.now_s.get() + past_s);
            assert!(host.is_plain(IN, STRANGER, OWN, answer), "{past_s} s later");
            host.receives(STRANGER, answer, REPLY);
        }
        // From a port that has opened something: a table answers for UDP, a
        // socket for TCP.
        assert!(host.is_plain(IN, FOE, OWN, answer));
        host.receives(FOE, answer, DENIED);
    }
    let mut host = host;
    host.words[AT_GENERATION as usize] += 1;
    host.receives(STRANGER, tcp(443, 50_000, ACK), REPLY);
    host.model.sockets = [(key(FOE, 50_000, 443, protocol::TCP), Opener::Host)].into();
    host.receives(FOE, tcp(443, 50_000, ACK), (Action::Pass, Reason::Socket));
}

#[test]
fn inbound_flows_are_settled_and_kept_where_their_answers_need_it() {
    let mut host = Host::new(true, true);
    host.has_opened(protocol::TCP, 22);
    for (content, answer) in
        [(udp(40_000, 53), udp(53, 40_000)), (tcp(40_000, 22, SYN), tcp(22, 40_000, SYN_ACK))]
    {
        assert!(host.is_plain(IN, FRIEND, OWN, content), "{content:?}");
        host.receives(FRIEND, content, RULE);
        assert!(host.is_plain(OUT, OWN, FRIEND, answer), "{answer:?}");
        host.sends(FRIEND, answer, ADMITTED);
    }
    assert_eq!(host.model.flows.borrow().len(), 2);
    // Nobody writes the entry of a connection again: it need not be new.
    host.model.now_s.set(host.model.now_s.get() + 60);
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    host.words[AT_GENERATION as usize] += 1;
    host.sends(FRIEND, tcp(22, 40_000, ACK), ADMITTED);
    host.sends(STRANGER, tcp(22, 40_000, ACK), DENIED);
    // A port that only serves needs none.
    let host = Host::new(true, true);
    assert!(host.is_plain(IN, FRIEND, OWN, tcp(40_000, 22, SYN)));
    host.receives(FRIEND, tcp(40_000, 22, SYN), RULE);
    for (peer, expected) in [(FRIEND, ADMITTED), (STRANGER, DENIED)] {
        assert!(host.is_plain(OUT, OWN, peer, tcp(22, 40_000, SYN_ACK)), "{peer}");
        host.sends(peer, tcp(22, 40_000, SYN_ACK), expected);
    }
    assert!(host.model.flows.borrow().is_empty());
    // So does one of a host whose ingress is not in force.
    let host = Host::new(false, true);
    assert!(host.is_plain(OUT, OWN, STRANGER, tcp(22, 40_000, SYN_ACK)));
    host.sends(STRANGER, tcp(22, 40_000, SYN_ACK), ADMITTED);
}

#[test]
fn an_own_address_is_found_with_and_without_the_list_in_the_header() {
    let mut host = Host::new(true, false);
    let content = tcp(40_000, 22, SYN);
    let asks = |host: &Host, to: &str| host.is_plain(IN, FRIEND, to, content);
    assert!(!is_listed_own(&host.words.as_slice(), &Address::from(ip(OWN))));
    assert!(asks(&host, OWN) && !asks(&host, POD));
    for place in 0..MAX_OWN_V4 {
        let mut words = host.words.clone();
        words[(AT_OWN_V4 + place) as usize] = Address::from(ip(OWN)).low32();
        let image = words.as_slice();
        assert!(is_listed_own(&image, &Address::from(ip(OWN))));
        assert!(!is_listed_own(&image, &Address::from(ip(POD))));
        assert!(!is_listed_own(&image, &Address::from(ip("0.0.0.0"))), "0 is no address");
    }
    for place in 0..MAX_OWN_V6 {
        let mut words = host.words.clone();
        let Address { high, low } = Address::from(ip(OWN_V6));
        let own = [high >> 32, high, low >> 32, low].map(|word| word as u32);
        let at = (AT_OWN_V6 + place * 4) as usize;
        words[at..at + 4].copy_from_slice(&own);
        let image = words.as_slice();
        assert!(is_listed_own(&image, &Address::from(ip(OWN_V6))));
        assert!(!is_listed_own(&image, &Address::from(ip(FRIEND_V6))));
        assert!(!is_listed_own(&image, &Address::from(ip("::"))));
    }
    host.words[AT_OWN_V4 as usize] = Address::from(ip(OWN)).low32();
    assert!(asks(&host, OWN));
    host.receives(FRIEND, content, RULE);
}
