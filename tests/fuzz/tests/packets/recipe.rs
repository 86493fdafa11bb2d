//! What the corpus of packets is made of: one named packet for every kind that
//! the data path tells apart, in a setting in which the difference shows.

use std::net::{Ipv4Addr, Ipv6Addr};

use hostfw_datapath::{
    blueprint::{Blueprint, Extension, Length, Link, Payload, Tag, Upper, V4, V6},
    sketch::Content,
};
use hostfw_fuzz::Setting;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FOE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 4);
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 7);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const IN: Setting = Setting {
    egress: false,
    bare: false,
    forwarded: false,
    audit: false,
    tagged: false,
    forwarding: false,
    busy: true,
    image: 1,
};
const OUT: Setting = Setting { egress: true, image: 2, ..IN };
const AUDIT: Setting = Setting { audit: true, ..IN };
const MASQUERADED: Setting = Setting { forwarded: true, ..OUT };

/// Every input by its name.
pub(crate) fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let made = frames().into_iter().chain(v4()).chain(v6()).chain(errors());
    let inputs = made.map(|(name, setting, blueprint)| (name, setting.input(&blueprint.bytes())));
    inputs.chain([("v4-source-route", IN.input(&source_route()))]).collect()
}

/// A loose source route (RFC 791 section 3.1) through one router, which has not
/// been taken yet. Options of a blueprint do nothing.
fn source_route() -> Vec<u8> {
    let packet = V4 { options: 2, ..V4::plain(PEER, OWN, tcp(40_000, 22, SYN)) };
    let mut bytes = Blueprint::frame(Payload::V4(packet)).bytes();
    bytes[34..41].copy_from_slice(&[131, 7, 4, 203, 0, 113, 4]);
    bytes
}

type Made = (&'static str, Setting, Blueprint);

const fn tcp(from: u16, to: u16, flags: u8) -> Upper {
    Upper::Plain(Content::Tcp { from, to, flags })
}

const fn udp(from: u16, to: u16) -> Upper {
    Upper::Plain(Content::Udp { from, to })
}

const fn icmp(kind: u8) -> Upper {
    Upper::Plain(Content::Icmp { kind, code: 0, id: 7 })
}

const fn other(protocol: u8) -> Upper {
    Upper::Plain(Content::Other { protocol })
}

fn frames() -> Vec<Made> {
    let plain = || Payload::V4(V4::plain(PEER, OWN, tcp(40_000, 22, SYN)));
    let link = |link| Blueprint { link, ..Blueprint::frame(plain()) };
    let tags = |tags: &[(u16, u16)]| {
        let tag =
            |(ethertype, control): &(u16, u16)| Tag { ethertype: *ethertype, control: *control };
        link(Link::Frame(tags.iter().map(tag).collect()))
    };
    let not_ip = |ethertype, n| Blueprint::frame(Payload::Other { ethertype, bytes: vec![0; n] });
    vec![
        ("frame-plain", IN, link(Link::Frame(Vec::new()))),
        ("frame-none", Setting { bare: true, ..IN }, link(Link::Bare)),
        ("frame-tag-taken", Setting { tagged: true, ..IN }, link(Link::Frame(Vec::new()))),
        ("frame-tag", IN, tags(&[(0x8100, 0x0005)])),
        ("frame-tag-priority", IN, tags(&[(0x8100, 0xe000)])),
        ("frame-tags-priority", IN, tags(&[(0x8100, 0), (0x8100, 0xe000)])),
        ("frame-tags-service", IN, tags(&[(0x88a8, 0), (0x8100, 0x0005)])),
        ("frame-arp", IN, not_ip(0x0806, 28)),
        ("frame-lldp", IN, not_ip(0x88cc, 40)),
        ("frame-length", IN, not_ip(0x0026, 38)),
        ("frame-padded", IN, Blueprint { behind: vec![0; 18], ..Blueprint::frame(plain()) }),
    ]
}

fn v4() -> Vec<Made> {
    let plain = |from, to, upper| V4::plain(from, to, upper);
    let syn = || plain(PEER, OWN, tcp(40_000, 22, SYN));
    let frame = |packet| Blueprint::frame(Payload::V4(packet));
    let fragment = |fragment, upper| frame(V4 { fragment, ..plain(PEER, OWN, upper) });
    let length = |length| frame(V4 { length, ..syn() });
    vec![
        ("v4-tcp-open", IN, frame(syn())),
        ("v4-tcp-denied", IN, frame(plain(STRANGER, OWN, tcp(40_000, 22, SYN)))),
        ("v4-tcp-audited", AUDIT, frame(plain(STRANGER, OWN, tcp(40_000, 22, SYN)))),
        (
            "v4-tcp-deny-rule",
            Setting { image: 3, ..AUDIT },
            frame(plain(FOE, OWN, tcp(1, 22, SYN))),
        ),
        ("v4-tcp-unnamed", Setting { image: 4, ..IN }, frame(syn())),
        ("v4-tcp-reply", IN, frame(plain(STRANGER, OWN, tcp(443, 50_000, SYN | ACK)))),
        ("v4-tcp-socket-own", IN, frame(plain(PEER, OWN, tcp(443, 50_001, ACK)))),
        ("v4-tcp-socket-peer", IN, frame(plain(PEER, OWN, tcp(40_000, 22, ACK)))),
        ("v4-udp-open", IN, frame(plain(PEER, OWN, udp(40_000, 53)))),
        ("v4-udp-reply", IN, frame(plain(STRANGER, OWN, udp(53, 50_000)))),
        (
            "v4-sctp",
            Setting { image: 4, ..IN },
            frame(plain(POD, OWN, Upper::Plain(Content::Sctp { from: 9, to: 9 }))),
        ),
        ("v4-vrrp", Setting { image: 4, ..IN }, frame(plain(POD, OWN, other(112)))),
        ("v4-gre", IN, frame(plain(PEER, OWN, other(47)))),
        ("v4-esp", IN, frame(plain(PEER, OWN, other(50)))),
        ("v4-echo-request", IN, frame(plain(STRANGER, OWN, icmp(8)))),
        ("v4-echo-reply", IN, frame(plain(STRANGER, OWN, icmp(0)))),
        ("v4-redirect", IN, frame(plain(PEER, OWN, icmp(5)))),
        ("v4-group", IN, frame(plain(PEER, Ipv4Addr::new(224, 0, 0, 18), other(112)))),
        ("v4-broadcast", IN, frame(plain(PEER, Ipv4Addr::BROADCAST, udp(67, 68)))),
        (
            "v4-transit",
            Setting { forwarding: true, ..IN },
            frame(plain(PEER, STRANGER, udp(1, 53))),
        ),
        ("v4-to-pod", IN, frame(plain(PEER, POD, udp(1, 53)))),
        ("v4-options", IN, frame(V4 { options: 10, ..syn() })),
        ("v4-fragment-first", IN, fragment(0x2000, udp(40_000, 53))),
        ("v4-fragment-later", IN, fragment(0x0010, udp(40_000, 53))),
        ("v4-fragment-tiny", IN, fragment(0x0001, tcp(40_000, 22, SYN))),
        ("v4-aggregated", IN, length(Length::Zero)),
        ("v4-short", IN, length(Length::Short(7))),
        ("v4-shorter-than-its-header", IN, length(Length::Short(25))),
        ("v4-out-allowed", OUT, frame(plain(OWN, PEER, tcp(50_000, 443, SYN)))),
        ("v4-out-denied", OUT, frame(plain(OWN, FOE, tcp(50_000, 443, SYN)))),
        ("v4-out-answer", OUT, frame(plain(OWN, PEER, tcp(22, 40_000, ACK)))),
        ("v4-out-udp-answer", OUT, frame(plain(OWN, PEER, udp(53, 40_000)))),
        ("v4-out-open", Setting { image: 1, ..OUT }, frame(plain(OWN, PEER, udp(50_002, 123)))),
        ("v4-out-masqueraded", MASQUERADED, frame(plain(OWN, STRANGER, tcp(50_003, 443, SYN)))),
        ("v4-out-forwarded", MASQUERADED, frame(plain(POD, STRANGER, udp(50_003, 53)))),
        ("v4-out-error", OUT, frame(plain(OWN, STRANGER, icmp(3)))),
    ]
}

fn v6() -> Vec<Made> {
    use Extension::{Authentication, Destination, HopByHop, NoNext, Routing};
    let frame = |packet| Blueprint::frame(Payload::V6(packet));
    let plain = |upper| frame(V6::plain(PEER_V6, OWN_V6, upper));
    let behind = |extensions: &[Extension]| {
        let syn = V6::plain(PEER_V6, OWN_V6, tcp(40_000, 22, SYN));
        frame(V6 { extensions: extensions.to_vec(), ..syn })
    };
    let near = |to, hops, kind| frame(V6 { hops, ..V6::plain(LINK, to, icmp(kind)) });
    let length = |length, extensions: &[Extension]| {
        let packet = V6::plain(PEER_V6, OWN_V6, udp(40_000, 53));
        frame(V6 { length, extensions: extensions.to_vec(), ..packet })
    };
    let mapped = PEER.to_ipv6_mapped();
    let redirect =
        V6 { extensions: vec![Destination(0); 9], ..V6::plain(LINK, ALL_NODES, icmp(137)) };
    vec![
        ("v6-tcp-open", IN, plain(tcp(40_000, 22, SYN))),
        ("v6-tcp-denied", IN, plain(tcp(40_000, 23, SYN))),
        ("v6-tcp-reply", IN, plain(tcp(443, 50_000, ACK))),
        ("v6-udp-open", IN, plain(udp(40_000, 53))),
        ("v6-udp-reply", IN, plain(udp(53, 50_000))),
        ("v6-sctp-reply", IN, plain(Upper::Plain(Content::Sctp { from: 9, to: 50_000 }))),
        ("v6-echo-request", IN, plain(icmp(128))),
        ("v6-echo-reply", IN, plain(icmp(129))),
        ("v6-neighbour", IN, near(OWN_V6, 255, 135)),
        ("v6-neighbour-from-afar", IN, near(OWN_V6, 254, 135)),
        ("v6-router", IN, near(ALL_NODES, 255, 134)),
        ("v6-listener", IN, near(ALL_NODES, 1, 143)),
        ("v6-redirect", IN, near(OWN_V6, 255, 137)),
        ("v6-redirect-hidden", IN, frame(redirect)),
        ("v6-group", IN, frame(V6::plain(LINK, ALL_NODES, udp(5_353, 5_353)))),
        ("v6-mapped-sender", IN, frame(V6::plain(mapped, OWN_V6, udp(40_000, 53)))),
        ("v6-own-sender", IN, frame(V6::plain(OWN_V6, OWN_V6, udp(40_000, 53)))),
        ("v6-one-header", IN, behind(&[HopByHop(0)])),
        (
            "v6-five-headers",
            IN,
            behind(&[
                HopByHop(1),
                Routing(4, 2),
                Destination(0),
                Authentication(4),
                Destination(3),
            ]),
        ),
        ("v6-nine-headers", IN, behind(&[Destination(0); 9])),
        ("v6-long-header", IN, behind(&[Destination(100)])),
        ("v6-too-long-header", IN, behind(&[Destination(255)])),
        ("v6-routing-header", IN, behind(&[Routing(0, 2)])),
        ("v6-no-next-header", IN, behind(&[NoNext])),
        ("v6-fragment-whole", IN, behind(&[Extension::Fragment(0, false)])),
        ("v6-fragment-first", IN, behind(&[Extension::Fragment(0, true)])),
        ("v6-fragment-later", IN, behind(&[Extension::Fragment(9, false)])),
        ("v6-fragment-tiny", IN, behind(&[Extension::Fragment(1, true)])),
        (
            "v6-fragment-of-fragment",
            IN,
            behind(&[Extension::Fragment(0, true), Extension::Fragment(4, true)]),
        ),
        (
            "v6-fragment-behind-options",
            IN,
            behind(&[HopByHop(0), Extension::Fragment(0, true), Destination(0)]),
        ),
        ("v6-jumbogram", IN, length(Length::Zero, &[HopByHop(0)])),
        ("v6-length-zero", IN, length(Length::Zero, &[])),
        ("v6-short", IN, length(Length::Short(5), &[])),
        (
            "v6-bare",
            Setting { bare: true, ..IN },
            Blueprint { link: Link::Bare, ..plain(udp(40_000, 53)) },
        ),
        (
            "v6-out-allowed",
            Setting { image: 3, ..OUT },
            frame(V6::plain(OWN_V6, PEER_V6, tcp(50_000, 80, SYN))),
        ),
        ("v6-out-denied", OUT, frame(V6::plain(OWN_V6, PEER_V6, tcp(50_000, 80, SYN)))),
        ("v6-out-neighbour", OUT, frame(V6 { hops: 255, ..V6::plain(OWN_V6, LINK, icmp(136)) })),
        ("v6-out-redirect", OUT, frame(V6::plain(OWN_V6, LINK, icmp(137)))),
        ("v6-out-error", OUT, frame(V6::plain(OWN_V6, PEER_V6, icmp(1)))),
    ]
}

fn errors() -> Vec<Made> {
    let v4 = |kind, quoted| V4::plain(STRANGER, OWN, Upper::Error(kind, Box::new(quoted)));
    let v6 = |kind, quoted| V6::plain(PEER_V6, OWN_V6, Upper::Error(kind, Box::new(quoted)));
    let about = |kind, quoted| Blueprint::frame(Payload::V4(v4(kind, Payload::V4(quoted))));
    let about_v6 = |kind, quoted| Blueprint::frame(Payload::V6(v6(kind, Payload::V6(quoted))));
    let sent = |upper| V4::plain(OWN, STRANGER, upper);
    let sent_v6 = |upper| V6::plain(OWN_V6, PEER_V6, upper);
    let syn = || sent(tcp(50_000, 443, SYN));
    let options = vec![Extension::HopByHop(0), Extension::Destination(1)];
    let beyond = V4 { length: Length::Short(8), ..v4(11, Payload::V4(syn())) };
    let other_family = v4(3, Payload::V6(sent_v6(tcp(50_000, 443, SYN))));
    vec![
        ("error-unreachable", IN, about(3, syn())),
        ("error-time-exceeded", IN, about(11, syn())),
        ("error-parameter", IN, about(12, sent(udp(50_000, 53)))),
        ("error-about-echo", IN, about(11, sent(icmp(8)))),
        ("error-about-answer", IN, about(3, V4::plain(OWN, PEER, udp(53, 40_000)))),
        ("error-about-nothing", IN, about(3, sent(tcp(50_009, 443, SYN)))),
        ("error-about-another-host", IN, about(3, V4::plain(POD, STRANGER, udp(50_000, 53)))),
        ("error-about-socket", IN, about(3, V4::plain(OWN, PEER, tcp(22, 40_000, ACK)))),
        ("error-about-fragment", IN, about(11, V4 { fragment: 0x10, ..syn() })),
        ("error-with-options", IN, about(11, V4 { options: 3, ..syn() })),
        ("error-quote-beyond-its-end", IN, Blueprint::frame(Payload::V4(beyond))),
        ("error-quote-of-other-family", IN, Blueprint::frame(Payload::V4(other_family))),
        ("error-deny-rule", Setting { image: 3, ..AUDIT }, about(3, sent(udp(50_009, 53)))),
        ("error-v6-too-big", IN, about_v6(2, sent_v6(tcp(50_000, 443, ACK)))),
        ("error-v6-unreachable", IN, about_v6(1, sent_v6(udp(50_000, 53)))),
        ("error-v6-about-echo", IN, about_v6(3, sent_v6(icmp(128)))),
        (
            "error-v6-about-headers",
            IN,
            about_v6(4, V6 { extensions: options, ..sent_v6(udp(50_000, 53)) }),
        ),
    ]
}
