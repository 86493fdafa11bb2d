//! Draws packets of every shape, and broken ones, for the property tests.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::{boxed::Box, vec::Vec};

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    blueprint::{Blueprint, Extension, Length, Link, Payload, Tag, Upper, V4, V6},
    sketch::Content,
};

/// Any packet.
pub(super) fn blueprint() -> impl Strategy<Value = Blueprint> {
    (link(), payload(), vec(any::<u8>(), 0..24)).prop_map(|(link, mut payload, behind)| {
        // Without a frame only the first nibble says what it is.
        if let (Link::Bare, Payload::Other { bytes, .. }) = (&link, &mut payload) {
            bytes.insert(0, 0x35);
        }
        Blueprint { link, payload, behind }
    })
}

fn link() -> impl Strategy<Value = Link> {
    let tag = (select(&[0x8100u16, 0x88a8][..]), any::<u16>(), 0..3u8).prop_map(
        |(ethertype, control, kind)| {
            // Two thirds name no VLAN.
            let control = if kind == 0 { control } else { control & 0xf000 };
            Tag { ethertype, control }
        },
    );
    prop_oneof![
        2 => Just(Link::Bare),
        4 => Just(Link::Frame(Vec::new())),
        3 => vec(tag, 1..4).prop_map(Link::Frame),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let ethertype = any::<u16>().prop_filter("an ethertype of its own", |it| {
        ![0x0800, 0x86dd, 0x8100, 0x88a8].contains(it)
    });
    let error = (any::<u8>(), quoted()).prop_map(|(kind, quoted)| {
        let types: &[u8] = match quoted {
            Payload::V6(_) => &[1, 2, 3, 4],
            Payload::V4(_) | Payload::Other { .. } => &[3, 11, 12],
        };
        Upper::Error(types[usize::from(kind) % types.len()], Box::new(quoted))
    });
    let upper = prop_oneof![5 => plain(), 1 => error].boxed();
    prop_oneof![
        6 => v4(upper.clone()).prop_map(Payload::V4),
        6 => v6(upper).prop_map(Payload::V6),
        1 => (ethertype, vec(any::<u8>(), 0..64))
            .prop_map(|(ethertype, bytes)| Payload::Other { ethertype, bytes }),
    ]
}

fn quoted() -> impl Strategy<Value = Payload> {
    prop_oneof![v4(plain()).prop_map(Payload::V4), v6(plain()).prop_map(Payload::V6)]
}

fn v4(upper: impl Strategy<Value = Upper>) -> impl Strategy<Value = V4> {
    let fragment = prop_oneof![
        6 => Just(0u16), 1 => Just(0x4000), 1 => Just(0x2000), 1 => Just(1), 1 => any::<u16>()
    ];
    let options = prop_oneof![4 => Just(0u8), 1 => 1..=10u8];
    (v4_address(), v4_address(), any::<u8>(), fragment, options, length(), upper).prop_map(
        |(source, destination, hops, fragment, options, length, upper)| V4 {
            source,
            destination,
            hops,
            fragment,
            options,
            length,
            upper,
        },
    )
}

fn v6(upper: impl Strategy<Value = Upper>) -> impl Strategy<Value = V6> {
    let extensions = prop_oneof![
        4 => Just(Vec::new()), 3 => vec(extension(), 1..4), 1 => vec(extension(), 4..12)
    ];
    let hops = prop_oneof![Just(255u8), any::<u8>()];
    (v6_address(), v6_address(), hops, extensions, length(), upper).prop_map(
        |(source, destination, hops, extensions, length, upper)| V6 {
            source,
            destination,
            hops,
            extensions,
            length,
            upper,
        },
    )
}

fn extension() -> impl Strategy<Value = Extension> {
    let more = || prop_oneof![6 => 0..4u8, 1 => any::<u8>()];
    let place = prop_oneof![3 => Just(0u16), 1 => Just(1), 1 => 0..0x2000u16];
    prop_oneof![
        3 => more().prop_map(Extension::HopByHop),
        3 => more().prop_map(Extension::Destination),
        // Type 0 is refused, so it must not be frequent.
        2 => (prop_oneof![6 => 1..6u8, 1 => Just(0u8)], more())
            .prop_map(|(kind, more)| Extension::Routing(kind, more)),
        2 => (place, any::<bool>()).prop_map(|(place, more)| Extension::Fragment(place, more)),
        2 => more().prop_map(Extension::Authentication),
        1 => Just(Extension::NoNext),
    ]
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![8 => Just(Length::True), 1 => Just(Length::Zero), 1 => (0..48u16).prop_map(Length::Short)]
}

fn plain() -> impl Strategy<Value = Upper> {
    let kind = prop_oneof![
        select(&[0u8, 3, 5, 8, 11, 12][..]),
        select(&[1u8, 2, 3, 4, 128, 129, 130, 135, 136, 137, 143][..]),
        any::<u8>()
    ];
    let flags = prop_oneof![Just(0x02u8), Just(0x10), Just(0x12), any::<u8>()];
    // None that another kind of content stands for, and no extension header.
    let other = any::<u8>().prop_filter("a protocol without ports", |number| {
        ![0, 1, 6, 17, 43, 44, 51, 58, 59, 60, 132].contains(number)
    });
    prop_oneof![
        4 => (port(), port(), flags).prop_map(|(from, to, flags)| Content::Tcp { from, to, flags }),
        3 => (port(), port()).prop_map(|(from, to)| Content::Udp { from, to }),
        1 => (port(), port()).prop_map(|(from, to)| Content::Sctp { from, to }),
        3 => (kind, any::<u8>(), 6..9u16)
            .prop_map(|(kind, code, id)| Content::Icmp { kind, code, id }),
        1 => other.prop_map(|protocol| Content::Other { protocol }),
    ]
    .prop_map(Upper::Plain)
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => select(&[22u16, 53, 80, 443, 40_000][..]), 1 => any::<u16>()]
}

/// Mostly those that the hand-made image of the judge's tests knows.
fn v4_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        5 => Just(Ipv4Addr::new(10, 0, 0, 1)),
        4 => select(&[[192, 0, 2, 7], [198, 51, 100, 9], [10, 244, 1, 5], [203, 0, 113, 4]][..])
            .prop_map(Ipv4Addr::from),
        1 => select(&[[224, 0, 0, 18], [255, 255, 255, 255], [239, 1, 2, 3]][..])
            .prop_map(Ipv4Addr::from),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

fn v6_address() -> impl Strategy<Value = Ipv6Addr> {
    let known = ["fd00::1", "2001:db8::7", "3fff::9", "ff02::1", "fe80::5", "::ffff:192.0.2.7"];
    let known = known.map(|text| text.parse::<Ipv6Addr>().expect("a test address"));
    prop_oneof![
        5 => Just(known[0]),
        3 => Just(known[1]),
        4 => select(known[2..5].to_vec()),
        1 => select(known[5..].to_vec()),
        1 => any::<u128>().prop_map(Ipv6Addr::from),
    ]
}
