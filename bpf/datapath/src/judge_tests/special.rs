//! Packets that a plain look at addresses and ports would get wrong: ICMPv6 by
//! its types, chains of headers, fragments, groups, forgeries.

use super::*;

const PASSES: Action = Action::Pass;
const FALLS: Action = Action::Drop;

/// An ICMPv6 type from its kind's range, and its fate in both directions.
#[test]
fn every_icmpv6_type_has_the_fate_that_rfc_4890_gives_it() {
    // A8.1, A14 T2. Nothing is allowed, every hop limit is 255.
    let host = Host::new(true, true);
    for kind in 0..=255u8 {
        let expected = match kind {
            // Errors about nothing are refused, and sent without asking.
            1..=4 => (Reason::DefaultDeny, Reason::Related),
            128 => (Reason::DefaultDeny, Reason::DefaultDeny),
            // An answer to nothing.
            129 => (Reason::DefaultDeny, Reason::DefaultDeny),
            130..=136 | 138 | 141..=143 | 148 | 149 | 151..=153 => {
                (Reason::Neighbour, Reason::Neighbour)
            }
            _ => (Reason::ForbiddenIcmp, Reason::ForbiddenIcmp),
        };
        let fates = [Direction::Ingress, Direction::Egress].map(|direction| {
            let (from, to) = match direction {
                Direction::Ingress => ("3a00::1", OWN_V6),
                Direction::Egress => (OWN_V6, "3a00::1"),
            };
            let mut frame = sketch::ethernet(ip(from), ip(to), icmp(kind));
            frame[14 + 7] = 255;
            host.verdict(direction, &frame, Layer::Ethernet, false).reason
        });
        assert_eq!((fates[0], fates[1]), expected, "type {kind}");
    }
}

/// A UDP packet with headers before it, each given by its number and its bytes
/// behind the first.
fn chained(port: u16, headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let plain = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), udp(40_000, port));
    let (mut next, mut body) = (plain[14 + 6], Vec::from(&plain[54..]));
    for (number, rest) in headers.iter().rev() {
        body = [&[next][..], rest, &body].concat();
        next = *number;
    }
    let mut frame = Vec::from(&plain[..54]);
    frame[14 + 6] = next;
    frame[14 + 5] = body.len() as u8;
    frame.extend(body);
    frame
}

fn padding(number: u8) -> (u8, Vec<u8>) {
    (number, vec![0; 7])
}

#[test]
fn eight_extension_headers_are_followed_and_a_chosen_route_is_refused() {
    // A8.3, A14 T11.
    let host = Host::new(true, false);
    let reason = |frame: &[u8]| host.verdict(Direction::Ingress, frame, Layer::Ethernet, false);
    for n in [1, 5, 8] {
        let chain = vec![padding(60); n];
        assert_eq!(reason(&chained(53, &chain)).reason, Reason::Rule, "{n} headers");
        assert_eq!(reason(&chained(54, &chain)).reason, Reason::DefaultDeny, "{n} headers");
    }
    // An AH of twelve bytes, then a fragment header that says: all of it.
    let mixed = [padding(0), (51, vec![1; 11]), padding(60), (44, vec![0; 7])];
    assert_eq!(reason(&chained(53, &mixed)).reason, Reason::Rule);
    assert_eq!(reason(&chained(53, &vec![padding(60); 9])).reason, Reason::Extensions);
    assert_eq!(reason(&chained(53, &[padding(59)])).reason, Reason::Extensions);
    let route = |kind: u8| (43, vec![0, kind, 1, 0, 0, 0, 0]);
    assert_eq!(reason(&chained(53, &[padding(0), route(0)])).reason, Reason::RoutingHeader);
    assert_eq!(reason(&chained(53, &[route(2)])).reason, Reason::Rule);
}

#[test]
fn an_ipv4_source_route_is_found_behind_other_options() {
    // A8.4.
    let host = Host::new(true, false);
    let reason = |options: &[u8]| {
        let plain = sketch::ethernet(ip(FRIEND), ip(OWN), udp(40_000, 53));
        let mut options = Vec::from(options);
        options.resize(options.len().next_multiple_of(4), 0);
        let mut frame = [&plain[..34], &options, &plain[34..]].concat();
        frame[14] = 0x45 + (options.len() / 4) as u8;
        frame[14 + 3] += options.len() as u8;
        host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false).reason
    };
    let route = [131, 7, 4, 192, 0, 2, 9];
    for options in [&[148, 4, 0, 0][..], &[1; 40], &[7, 7, 4, 0, 0, 0, 0], &[0, 131, 7, 4]] {
        assert_eq!(reason(options), Reason::Rule, "{options:?}");
    }
    let behind = [&[1; 33][..], &route].concat();
    let strict = [137, 3, 4];
    let after_alert = [&[148, 4, 0, 0][..], &route].concat();
    for options in [&route[..], &behind, &strict, &after_alert] {
        assert_eq!(reason(options), Reason::SourceRoute, "{options:?}");
    }
    // The kernel refuses what breaks off; no option behind it counts.
    assert_eq!(reason(&[7, 0, 131, 7]), Reason::Rule);
}

#[test]
fn ipv6_fragments_are_judged_by_the_first_whatever_comes_first() {
    // A8.2, A14 T10. Place in units of eight bytes, then "more follow".
    let host = Host::new(true, false);
    let reason = |port: u16, place: u16| {
        let place = place.to_be_bytes();
        let header = (44, vec![0, place[0], place[1], 0, 0, 0, 7]);
        host.verdict(Direction::Ingress, &chained(port, &[header]), Layer::Ethernet, false).reason
    };
    for port in [53, 54] {
        assert_eq!(reason(port, 1 << 3), Reason::Fragment);
        assert_eq!(reason(port, 1 << 3 | 1), Reason::Fragment);
    }
    assert_eq!(reason(53, 1), Reason::Rule);
    assert_eq!(reason(54, 1), Reason::DefaultDeny);
    assert!(host.model.flows.borrow().is_empty(), "nothing is kept of any of them");
    assert!(
        host.model
            .take_questions()
            .iter()
            .all(|question| { !matches!(question, Question::Remember(..)) })
    );
}

#[test]
fn packets_for_a_group_come_in_unjudged_and_leave_by_rule() {
    // A3 and A3b, A14 T13.
    let host = Host::new(true, true);
    for group in ["224.0.0.18", "255.255.255.255", "ff02::fb"] {
        let (from, content) = match ip(group) {
            IpAddr::V4(_) => (STRANGER, udp(5_353, 5_353)),
            IpAddr::V6(_) => ("fe80::7", udp(5_353, 5_353)),
        };
        let frame = sketch::ethernet(ip(from), ip(group), content);
        let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), (PASSES, Reason::Group), "{group}");
        host.sends(group, content, DENIED);
    }
}

/// RFC 4443 section 2.4: none is sent to a group, and Linux takes the path's new size
/// from one that is.
#[test]
fn errors_to_a_group_are_errors_about_nothing() {
    let host = Host::new(true, false);
    for kind in 1..=4 {
        let frame = sketch::ethernet(ip("fe80::7"), ip("ff02::1"), icmp(kind));
        let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
        assert_eq!((verdict.action, verdict.reason), DENIED, "type {kind}");
    }
}

#[test]
fn aggregated_segments_have_no_length() {
    let host = Host::new(true, true);
    let mut frame = sketch::ethernet(ip(FRIEND_V6), ip(OWN_V6), tcp(40_000, 22, SYN));
    frame[14 + 4..14 + 6].fill(0);
    let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
    assert_eq!(verdict.reason, Reason::Rule, "its ports were read");
}

#[test]
fn an_ipv6_packet_from_outside_cannot_pose_as_this_host() {
    let host = Host::new(true, false);
    let reason = |from: &str, to: &str| {
        let frame = sketch::ethernet(ip(from), ip(to), udp(40_000, 53));
        let verdict = host.verdict(Direction::Ingress, &frame, Layer::Ethernet, false);
        (verdict.action, verdict.reason)
    };
    assert_eq!(reason("fd00::1", OWN_V6), (FALLS, Reason::Spoofed));
    // An address of this host on one link is a router's on the next, and what
    // the host sends to a group comes back to it.
    assert_eq!(reason("fe80::1", OWN_V6), DENIED);
    assert_eq!(reason("fd00::1", "ff02::fb"), (PASSES, Reason::Group));
    // IPv4: the kernel refuses it, unless it is told not to.
    assert_eq!(reason("10.0.0.9", OWN), DENIED);
}

#[test]
fn a_frame_for_another_device_is_the_hosts_only_if_its_address_is() {
    // A14 T16: a macvlan of a container on this device.
    let host = Host::new(true, true);
    let reason = |to: &str, for_other: bool| {
        let frame = sketch::ethernet(ip(STRANGER), ip(to), tcp(1, 22, SYN));
        let facts = Facts { for_other, ..PLAIN };
        host.verdict_with(Direction::Ingress, &frame, facts).reason
    };
    assert_eq!(reason("172.16.0.9", true), Reason::Transit);
    assert_eq!(reason("172.16.0.9", false), Reason::DefaultDeny);
    // A program behind this one may hand such a frame to the host (A3.12).
    assert_eq!(reason(OWN, true), Reason::DefaultDeny);
}

#[test]
fn an_echo_request_is_no_answer_to_another_one() {
    let host = Host::new(true, true);
    host.receives(FRIEND, icmp(8), RULE);
    host.sends(FRIEND, icmp(8), DENIED);
    host.sends(FRIEND, icmp(0), ADMITTED);
}

#[test]
fn an_error_about_a_masqueraded_flow_passes() {
    // A5.6, A14 T8.
    let host = Host::new(true, true);
    let out = sketch::ethernet(ip(OWN), ip(STRANGER), udp(50_000, 9));
    let verdict = host.verdict(Direction::Egress, &out, Layer::Ethernet, true);
    assert_eq!(verdict.reason, Reason::Transit);
    host.hears_of(11, STRANGER, udp(50_000, 9), RELATED);
    host.hears_of(11, STRANGER, udp(50_001, 9), DENIED);
}

#[test]
fn an_error_about_an_answer_needs_the_question_where_egress_is_in_force() {
    // Nothing is stored for admitted questions while egress is open, so a forged
    // quote of an answer passes then; in force, the entry of the question tells.
    Host::new(true, false).hears_of(3, FRIEND, udp(53, 40_000), RELATED);
    let host = Host::new(true, true);
    host.hears_of(3, FRIEND, udp(53, 40_000), DENIED);
    host.receives(FRIEND, udp(40_000, 53), RULE);
    host.sends(FRIEND, udp(53, 40_000), ADMITTED);
    host.hears_of(3, FRIEND, udp(53, 40_000), RELATED);
    host.hears_of(3, FRIEND, udp(53, 40_001), DENIED);
}
