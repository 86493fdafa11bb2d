//! A packet reads as what it was made of. What to expect is said from the
//! blueprint, never by reading the bytes a second time.

use std::vec::Vec;

use proptest::{collection::vec, prelude::*};
use zerocopy::FromBytes;

use super::drawn;
use crate::{
    Address, Facts, FlowKey, Packet, Reason,
    blueprint::{Blueprint, Extension, Length, Link, Payload, Upper as Built, V4, V6},
    icmp::Kind,
    model::Bytes,
    packet::{Layer, MAX_OFFSET},
    parse::{
        self, Carried, Depth, Fragment, Frame, MAX_EXTENSIONS, MAX_QUOTE_OFFSET, NO_END, Network,
        Upper, protocol,
    },
    sketch::Content,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_reads_as_what_it_was_made_of(blueprint in drawn::blueprint()) {
        let bytes = blueprint.bytes();
        let packet = packet_of(&blueprint, &bytes);
        let frame = frame_of(&blueprint);
        prop_assert_eq!(parse::frame(&packet), frame);
        let is_ip = matches!(frame.carried, Carried::V4 | Carried::V6);
        let expected = network_of(&blueprint.payload, frame.offset).filter(|_| is_ip);
        let network = network(&packet, frame);
        prop_assert_eq!(network, expected);
        let Some(network) = network else { return Ok(()) };
        prop_assert_eq!(network.offset(), frame.offset);
        let expected = upper_of(&blueprint.payload, &network, Depth::Packet);
        let upper = parse::upper(&packet, network.start(Depth::Packet));
        prop_assert_eq!(upper, expected);
        let Ok(upper) = upper else { return Ok(()) };
        let (built, v6) = upper_built(&blueprint.payload).expect("an IP packet");
        if upper.fragment == Fragment::Later {
            return Ok(());
        }
        prop_assert_eq!(upper.kind, kind_of(built, v6));
        let (from, to) = ports_of(built, v6);
        let (source, destination) = (network.source, network.destination);
        let received = key(destination, source, to, from, upper.protocol, built, v6);
        prop_assert_eq!(FlowKey::received(&network, &upper), received);
        let sent = key(source, destination, from, to, upper.protocol, built, v6);
        prop_assert_eq!(FlowKey::sent(&network, &upper), sent);
        if let Built::Error(_, quoted) = built {
            let at = upper.offset + 8;
            let inner = if at < MAX_QUOTE_OFFSET { network_of(quoted, at) } else { None };
            if let Some(inner) = inner {
                let read = if inner.v6 { parse::v6(&packet, at) } else { parse::v4(&packet, at) };
                prop_assert_eq!(read, Some(inner));
                prop_assert_eq!(inner.offset(), at);
                let start = inner.start(Depth::Quoted);
                let expected = upper_of(quoted, &inner, Depth::Quoted);
                prop_assert_eq!(parse::upper(&packet, start), expected);
            }
        }
    }

    #[test]
    fn what_stands_behind_a_packet_is_not_read(
        blueprint in drawn::blueprint(), noise in vec(any::<u8>(), 1..40),
    ) {
        let alone = Blueprint { behind: Vec::new(), ..blueprint };
        let bytes = alone.bytes();
        let padded = [bytes.as_slice(), &noise].concat();
        prop_assert_eq!(read_all(&packet_of(&alone, &bytes)), read_all(&packet_of(&alone, &padded)));
    }

    #[test]
    fn no_bytes_make_reading_fail(
        bytes in vec(any::<u8>(), 0..200), ip: bool, vlan in 0..3u16, forwarded: bool,
        patches in vec((0..60usize, prop_oneof![any::<u8>(), 0..2u8, Just(0x45u8), Just(0x60)]), 0..8),
    ) {
        let mut bytes = bytes;
        for (at, byte) in patches {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        let layer = if ip { Layer::Ip } else { Layer::Ethernet };
        let facts = Facts { layer, vlan: vlan.saturating_sub(1), forwarded, for_other: false };
        read_all(&Watched(Bytes { bytes: &bytes, facts }));
    }

    #[test]
    fn a_broken_packet_is_read_within_its_bounds(
        blueprint in drawn::blueprint(), breaks in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = blueprint.bytes();
        for (at, byte) in breaks {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        read_all(&Watched(packet_of(&blueprint, &bytes)));
    }
}

/// Everything that can be read of a packet, one after the other.
type Read = (Frame, Option<Network>, Option<Result<Upper, Reason>>);

fn read_all<P: Packet>(packet: &P) -> Read {
    let frame = parse::frame(packet);
    let network = network(packet, frame);
    let upper = network.map(|network| parse::upper(packet, network.start(Depth::Packet)));
    if let (Some(network), Some(Ok(upper))) = (network, upper) {
        assert!(upper.offset < 1024, "{upper:?}");
        // As the kernel hands it on.
        let word = Upper::to_word(Ok(upper));
        assert_eq!(Upper::from_word(word), Ok(upper));
        let at = upper.offset + 8;
        if at < MAX_QUOTE_OFFSET {
            let quoted = if network.v6 { parse::v6(packet, at) } else { parse::v4(packet, at) };
            if let Some(quoted) = quoted {
                let start = quoted.start(Depth::Quoted);
                assert_eq!(parse::Start::from_word(start.to_word()), start);
                let _whatever = parse::upper(packet, start);
            }
        }
    }
    (frame, network, upper)
}

pub(super) fn network<P: Packet>(packet: &P, frame: Frame) -> Option<Network> {
    match frame.carried {
        Carried::V4 => parse::v4(packet, frame.offset),
        Carried::V6 => parse::v6(packet, frame.offset),
        Carried::NotIp | Carried::Tagged | Carried::Cut => None,
    }
}

/// A packet that is read as the kernel's verifier demands: only at offsets
/// that its mask leaves alone, and up to the bytes that are made readable.
struct Watched<'a>(Bytes<'a>);

impl Packet for Watched<'_> {
    fn facts(&self) -> Facts {
        self.0.facts
    }

    fn read<H: FromBytes + Copy>(&self, offset: u32) -> Option<H> {
        let end = offset.checked_add(u32::try_from(size_of::<H>()).expect("a small header"));
        assert!(end.is_some_and(|end| end <= MAX_OFFSET + 64), "read at {offset}");
        self.0.read(offset)
    }
}

pub(super) fn packet_of<'a>(blueprint: &Blueprint, bytes: &'a [u8]) -> Bytes<'a> {
    let facts = Facts { layer: blueprint.layer(), vlan: 0, forwarded: false, for_other: false };
    Bytes { bytes, facts }
}

fn frame_of(blueprint: &Blueprint) -> Frame {
    let (tags, below) = match &blueprint.link {
        Link::Bare => (&[][..], 0),
        Link::Frame(tags) => (tags.as_slice(), 14),
    };
    let names_a_vlan = |tag: &crate::blueprint::Tag| tag.control & 0x0fff != 0;
    let (carried, offset) = match (tags, &blueprint.payload) {
        // Two tags are followed; what hides behind more must name a VLAN.
        ([first, second, _, ..], _) if [first, second].into_iter().any(names_a_vlan) => {
            (Carried::Tagged, 0)
        }
        ([_, _, _, ..], _) => (Carried::Cut, 0),
        ([_, _], Payload::V4(_)) => (Carried::V4, 22),
        ([_, _], Payload::V6(_)) => (Carried::V6, 22),
        ([_], Payload::V4(_)) => (Carried::V4, 18),
        ([_], Payload::V6(_)) => (Carried::V6, 18),
        ([], Payload::V4(_)) => (Carried::V4, below),
        ([], Payload::V6(_)) => (Carried::V6, below),
        (_, Payload::Other { .. }) => (Carried::NotIp, 0),
    };
    Frame { carried, offset }
}

fn network_of(payload: &Payload, offset: u32) -> Option<Network> {
    match payload {
        Payload::V4(packet) => v4_of(packet, offset),
        Payload::V6(packet) => v6_of(packet, offset),
        Payload::Other { .. } => None,
    }
}

fn v4_of(packet: &V4, offset: u32) -> Option<Network> {
    let V4 { source, destination, hops, fragment, options, length, upper } = packet;
    let header = 20 + 4 * usize::from(*options);
    let says = usize::from(length.says(header + upper.bytes().len()));
    if says != 0 && says < header {
        return None;
    }
    Some(Network {
        source: Address::v4(u32::from(*source)),
        destination: Address::v4(u32::from(*destination)),
        next: upper.protocol(false),
        hop_limit: *hops,
        fragment: *fragment,
        options: 4 * u32::from(*options),
        after: offset + u32::try_from(header).expect("at most 60"),
        end: if says == 0 { NO_END } else { end(offset, says) },
        v6: false,
    })
}

fn v6_of(packet: &V6, offset: u32) -> Option<Network> {
    let V6 { source, destination, hops, extensions, length, upper } = packet;
    if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
        return None;
    }
    let behind: usize = extensions.iter().map(|one| size(*one)).sum();
    let says = usize::from(length.says(behind + upper.bytes().len()));
    let next = extensions.first().map_or(upper.protocol(true), |first| first.number());
    // RFC 2675: hop-by-hop options hold the true length. Aggregated segments have it
    // nowhere, and of what else says so the kernel takes nothing.
    let is_jumbo = says == 0;
    Some(Network {
        source: Address::from(*source),
        destination: Address::from(*destination),
        next,
        hop_limit: *hops,
        fragment: 0,
        options: 0,
        after: offset + 40,
        end: if is_jumbo { NO_END } else { end(offset, 40 + says) },
        v6: true,
    })
}

fn end(offset: u32, length: usize) -> u32 {
    (offset + u32::try_from(length).expect("16 bits")).min(NO_END)
}

/// Bytes of an extension header.
fn size(extension: Extension) -> usize {
    match extension {
        Extension::HopByHop(more) | Extension::Destination(more) | Extension::Routing(_, more) => {
            8 * (usize::from(more) + 1)
        }
        Extension::Fragment(..) => 8,
        Extension::Authentication(more) => 4 * (usize::from(more) + 2),
        Extension::NoNext => 0,
    }
}

fn upper_of(payload: &Payload, network: &Network, depth: Depth) -> Result<Upper, Reason> {
    let (built, v6) = upper_built(payload).expect("an IP packet");
    let extensions = match payload {
        Payload::V6(packet) => packet.extensions.as_slice(),
        Payload::V4(_) | Payload::Other { .. } => &[],
    };
    let own_end = usize::try_from(network.end).expect("11 bits");
    let mut offset = usize::try_from(network.after).expect("a small offset");
    let (mut place, mut more) = (network.fragment & 0x1fff, network.fragment & 0x2000 != 0);
    let number = |at: usize| extensions.get(at).map_or(built.protocol(v6), |next| next.number());
    for (at, extension) in extensions.iter().enumerate() {
        // The bytes that say what the header is about.
        let head = match extension {
            Extension::Authentication(_) => 2,
            Extension::NoNext => return Err(Reason::Extensions),
            Extension::HopByHop(_)
            | Extension::Destination(_)
            | Extension::Routing(..)
            | Extension::Fragment(..) => 4,
        };
        if offset + head > own_end {
            return Err(Reason::Malformed);
        }
        if matches!(extension, Extension::Routing(0, _)) {
            return Err(Reason::RoutingHeader);
        }
        offset += size(*extension);
        if let Extension::Fragment(its_place, its_more) = extension {
            (place, more) = (*its_place, *its_more);
            if place != 0 {
                return later(number(at + 1), place, offset);
            }
        }
        if at >= usize::try_from(MAX_EXTENSIONS).expect("few")
            || offset >= usize::try_from(MAX_OFFSET).expect("small")
        {
            return Err(Reason::Extensions);
        }
    }
    let protocol = built.protocol(v6);
    if place != 0 {
        return later(protocol, place, offset);
    }
    let fragment = if more { Fragment::First } else { Fragment::Whole };
    let needed = match (built, depth) {
        (Built::Plain(Content::Tcp { .. }), Depth::Packet) => 14,
        (Built::Plain(Content::Tcp { .. } | Content::Udp { .. } | Content::Sctp { .. }), _) => 4,
        (Built::Plain(Content::Icmp { .. }) | Built::Error(..), _) => 8,
        (Built::Plain(Content::Other { .. }), _) => 0,
    };
    if needed != 0 && offset + needed > own_end {
        return Err(Reason::Malformed);
    }
    let (source_port, port) = ports_of(built, v6);
    let tcp_flags = match (built, depth) {
        (Built::Plain(Content::Tcp { flags, .. }), Depth::Packet) => *flags,
        _ => 0,
    };
    let offset = u32::try_from(offset).expect("small");
    let kind = kind_of(built, v6);
    Ok(Upper { protocol, fragment, tcp_flags, source_port, port, kind, offset })
}

fn later(protocol: u8, place: u16, offset: usize) -> Result<Upper, Reason> {
    if protocol == protocol::TCP && place == 1 {
        return Err(Reason::TinyFragment);
    }
    let offset = u32::try_from(offset).expect("small");
    let fragment = Fragment::Later;
    let kind = Kind::Ordinary;
    Ok(Upper { protocol, fragment, tcp_flags: 0, source_port: 0, port: 0, kind, offset })
}

fn upper_built(payload: &Payload) -> Option<(&Built, bool)> {
    match payload {
        Payload::V4(packet) => Some((&packet.upper, false)),
        Payload::V6(packet) => Some((&packet.upper, true)),
        Payload::Other { .. } => None,
    }
}

/// Source and destination port, or what stands in their places.
fn ports_of(built: &Built, _v6: bool) -> (u16, u16) {
    match built {
        Built::Plain(Content::Tcp { from, to, .. } | Content::Udp { from, to })
        | Built::Plain(Content::Sctp { from, to }) => (*from, *to),
        Built::Plain(Content::Icmp { kind, id, .. }) => (*id, u16::from(*kind)),
        Built::Plain(Content::Other { .. }) => (0, 0),
        Built::Error(kind, _) => (0, u16::from(*kind)),
    }
}

/// RFC 792, RFC 4443, RFC 4861, RFC 4890.
fn kind_of(built: &Built, v6: bool) -> Kind {
    let number = match built {
        Built::Plain(Content::Icmp { kind, .. }) | Built::Error(kind, _) => *kind,
        Built::Plain(_) => return Kind::Ordinary,
    };
    let (errors, request, reply): (&[u8], u8, u8) =
        if v6 { (&[1, 2, 3, 4], 128, 129) } else { (&[3, 11, 12], 8, 0) };
    if errors.contains(&number) {
        Kind::Error
    } else if number == request {
        Kind::EchoRequest
    } else if number == reply {
        Kind::EchoReply
    } else if !v6 {
        Kind::Ordinary
    } else if [133, 134, 135, 136, 141, 142, 148, 149].contains(&number) {
        Kind::Neighbour
    } else if [130, 131, 132, 138, 143, 151, 152, 153].contains(&number) {
        Kind::Essential
    } else {
        Kind::Forbidden
    }
}

fn key(
    local: Address,
    remote: Address,
    local_port: u16,
    remote_port: u16,
    protocol: u8,
    built: &Built,
    v6: bool,
) -> FlowKey {
    let (local_port, remote_port) = match (built, kind_of(built, v6)) {
        (Built::Plain(Content::Icmp { id, .. }), Kind::EchoRequest | Kind::EchoReply) => (*id, 0),
        (Built::Plain(Content::Icmp { .. } | Content::Other { .. }) | Built::Error(..), _) => {
            // An ICMPv4 type that nothing is known of has no ports either.
            (0, 0)
        }
        (Built::Plain(_), _) => (local_port, remote_port),
    };
    FlowKey { local, remote, local_port, remote_port, protocol, zero: [0; 3] }
}

/// A protocol may have nothing to say; a length below the header's own is a lie.
#[test]
fn a_header_may_be_the_whole_packet_and_not_more() {
    let mut header = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 112, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let network = parse::v4(&Bytes::ip(&header), 0).expect("a packet");
    assert_eq!((network.next, network.after, network.end), (112, 20, 20));
    header[3] = 19;
    assert_eq!(parse::v4(&Bytes::ip(&header), 0), None);
}

/// A route of the sender's choice is found wherever the list of options has it,
/// and nowhere else.
#[test]
fn a_source_route_is_looked_for_in_the_list_of_options_alone() {
    let read = |options: &[u8], behind: &[u8], depth| {
        let length = u8::try_from(20 + options.len() + behind.len()).expect("short");
        let words = u8::try_from(options.len() / 4).expect("short");
        let header = [0x45 + words, 0, 0, length, 0, 0, 0, 0, 64, 112, 0, 0];
        let bytes = [&header, &[192, 0, 2, 1, 192, 0, 2, 2][..], options, behind].concat();
        let packet = Bytes::ip(&bytes);
        let network = parse::v4(&packet, 0).expect("a packet");
        parse::upper(&packet, network.start(depth)).map(|upper| upper.protocol)
    };
    for (what, options, behind, is_route) in [
        ("a loose one", &[131, 4, 4, 0][..], &[][..], true),
        ("a strict one behind others", &[1, 7, 3, 4, 137, 3, 4, 0], &[], true),
        ("behind forty bytes at most", &[[1; 39].as_slice(), &[131]].concat(), &[], true),
        ("behind the end of the list", &[0, 2, 131, 4], &[], false),
        ("behind a length that cannot be", &[7, 1, 131, 4], &[], false),
        ("in the payload", &[1, 1, 1, 1], &[131, 4, 4, 0], false),
        ("an option that is cut", &[1, 1, 1, 7], &[], false),
        ("an option that leads outside", &[7, 40, 131, 4], &[131, 131], false),
    ] {
        let expected = if is_route { Err(Reason::SourceRoute) } else { Ok(112) };
        assert_eq!(read(options, behind, Depth::Packet), expected, "{what}");
        // What an error quotes has been on its way already.
        assert_eq!(read(options, behind, Depth::Quoted), Ok(112), "{what}, quoted");
    }
}

#[test]
fn lengths_that_lie_are_drawn_too() {
    assert_eq!([Length::True, Length::Zero, Length::Short(50)].map(|it| it.says(40)), [40, 0, 0]);
}
