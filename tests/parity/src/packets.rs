//! Packets of every kind that the data path tells apart, and broken ones. They
//! are grown from a seed by proptest, so a failing one shrinks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostfw_datapath::packet::Layer;
use proptest::{collection::vec, prelude::*, sample::select};

/// This host's addresses in every generated image.
pub const OWN_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1)];
/// See [`OWN_V4`].
pub const OWN_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)];
/// Other nodes and pods of every generated world.
pub const KNOWN_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 244, 1, 7)];
/// See [`KNOWN_V4`].
pub const KNOWN_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 7)];
/// An address of the host that no image knows of.
pub const UNLISTED_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);

/// Ports that policies name, and neighbours of them.
pub const PORTS: [u16; 14] =
    [0, 1, 21, 22, 23, 53, 80, 443, 2379, 6443, 8472, 10250, 30_000, 65_535];

/// A generated packet, with what the kernel knows beside the bytes.
#[derive(Clone, Debug)]
pub struct Case {
    /// First byte to last.
    pub bytes: Vec<u8>,
    /// What the first byte belongs to.
    pub layer: Layer,
    /// Leaving the host.
    pub egress: bool,
    /// Leaving, but sent by somebody else.
    pub forwarded: bool,
}

/// Any packet.
pub fn case() -> impl Strategy<Value = Case> {
    let shape = (any::<bool>(), any::<bool>(), 0..10u8, prop_oneof![9 => Just(0u8), 1 => 1..60u8]);
    let tagged = (0..0x1fffu16, 1..4u8).prop_map(|(tag, n_tags)| Link::Tagged { tag, n_tags });
    let link = prop_oneof![3 => Just(Link::Plain), 3 => Just(Link::Here), 1 => tagged,
        1 => any::<u16>().prop_map(Link::Other), 2 => Just(Link::None)];
    (network(), link, shape, vec(any::<u8>(), 0..40)).prop_map(
        |(packet, link, (egress, forwarded, damage, cut), noise)| {
            let layer = if link == Link::None { Layer::Ip } else { Layer::Ethernet };
            let mut bytes = link.wrap(packet);
            bytes.extend(noise);
            if damage == 0 {
                bytes.truncate(bytes.len().saturating_sub(usize::from(cut)));
            }
            Case { bytes, layer, egress, forwarded: egress && forwarded && damage < 4 }
        },
    )
}

/// What stands below the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    None,
    /// To the hardware address of another device.
    Plain,
    /// To that of the device.
    Here,
    Tagged {
        tag: u16,
        n_tags: u8,
    },
    Other(u16),
}

impl Link {
    fn wrap(self, (v6, packet): (bool, Vec<u8>)) -> Vec<u8> {
        let ethertype: u16 = if v6 { 0x86dd } else { 0x0800 };
        let mut frame = Vec::from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        match self {
            Self::None => return packet,
            Self::Plain => frame.extend(ethertype.to_be_bytes()),
            Self::Here => {
                frame[..6].fill(0);
                frame.extend(ethertype.to_be_bytes());
            }
            Self::Other(other) => frame.extend(other.to_be_bytes()),
            Self::Tagged { tag, n_tags } => {
                // A third of the tags carry a priority only.
                let tag = if tag % 3 == 0 { tag & 0xe000 } else { tag };
                for kind in [0x8100u16, 0x88a8, 0x8100].into_iter().take(n_tags.into()) {
                    frame.extend(kind.to_be_bytes());
                    frame.extend(tag.to_be_bytes());
                }
                frame.extend(ethertype.to_be_bytes());
            }
        }
        frame.extend(packet);
        frame
    }
}

fn v4_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        6 => select(&OWN_V4[..]),
        4 => select(&KNOWN_V4[..]),
        1 => Just(UNLISTED_V4),
        3 => (0..4u8, any::<u8>()).prop_map(|(net, host)| Ipv4Addr::new(198, 51, 100 + net, host)),
        1 => any::<u32>().prop_map(|bits| Ipv4Addr::from(bits >> 3 | 1 << 29)),
        1 => Just(Ipv4Addr::new(224, 0, 0, 18)),
        1 => Just(Ipv4Addr::BROADCAST),
    ]
}

/// A sender. Groups and other odd ones are left to the kernel's routes, which
/// the model does not repeat.
fn v6_sender() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        6 => select(&OWN_V6[..]),
        4 => select(&KNOWN_V6[..]),
        3 => (0..4u16, any::<u16>())
            .prop_map(|(net, host)| Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host)),
        1 => any::<u128>().prop_map(|bits| Ipv6Addr::from(bits >> 3 | 1 << 125)),
    ]
}

fn v6_address() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![15 => v6_sender(), 1 => Just(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1))]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![5 => select(&PORTS[..]), 1 => any::<u16>(), 2 => 40_000..40_004u16]
}

/// An upper layer: protocol number of IPv4 and IPv6, bytes.
fn upper() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    let transport = |protocol: u8, rest: usize| {
        (port(), port(), any::<u8>()).prop_map(move |(from, to, flags)| {
            let mut bytes = Vec::new();
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend(std::iter::repeat_n(0, rest));
            if let Some(byte) = bytes.get_mut(13) {
                // Plain SYN and plain ACK more often than chance.
                *byte = match flags % 4 {
                    0 => 0x02,
                    1 => 0x10,
                    2 => 0x12,
                    _ => flags,
                };
            }
            (protocol, protocol, bytes)
        })
    };
    let kind = prop_oneof![
        select(&[0u8, 3, 5, 8, 11, 12, 13][..]),
        select(&[1u8, 2, 3, 4, 128, 129, 130, 133, 134, 135, 136, 137, 143][..]),
        any::<u8>()
    ];
    let icmp = (kind, any::<u8>(), 0..3u16).prop_map(|(kind, code, id)| {
        let mut bytes = Vec::from([kind, code, 0, 0]);
        bytes.extend(id.to_be_bytes());
        bytes.extend([0, 1]);
        (1, 58, bytes)
    });
    let other = (select(&[2u8, 4, 41, 47, 50, 51, 89, 112, 255][..]), vec(any::<u8>(), 0..16))
        .prop_map(|(protocol, bytes)| (protocol, protocol, bytes));
    prop_oneof![5 => transport(6, 16), 3 => transport(17, 4), 1 => transport(132, 8),
        3 => icmp, 1 => other]
}

/// An IP packet, and whether it is IPv6. ICMP errors quote a packet that this
/// host might have sent.
fn network() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let quoted = prop_oneof![v4(upper(), false).boxed(), v6(upper(), false).boxed()];
    let error = (select(&[(3u8, 1u8), (11, 3), (12, 4)][..]), quoted).prop_map(
        |((v4, v6), (_, packet))| {
            let mut bytes = Vec::from([v4, 0, 0, 0, 0, 0, 0, 0]);
            if packet.first().is_some_and(|byte| byte >> 4 == 6) {
                bytes[0] = v6;
            }
            bytes.extend(packet);
            (1, 58, bytes)
        },
    );
    prop_oneof![
        5 => v4(upper(), true), 5 => v6(upper(), true),
        1 => v4(error.clone(), true), 1 => v6(error, true),
    ]
}

fn v4<U>(upper: U, odd: bool) -> impl Strategy<Value = (bool, Vec<u8>)>
where
    U: Strategy<Value = (u8, u8, Vec<u8>)>,
{
    let fragment = prop_oneof![
        8 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x4000), 1 => Just(1), 1 => any::<u16>()
    ];
    let head = prop_oneof![12 => Just(0x45u8), 2 => 0x46..0x50u8, 1 => any::<u8>()];
    (v4_address(), v4_address(), fragment, head, select(&[64u8, 255, 1][..]), upper).prop_map(
        move |(source, destination, fragment, head, hops, (protocol, _, payload))| {
            let (head, fragment) = if odd { (head, fragment) } else { (0x45, 0) };
            let options = usize::from(head & 0xf).saturating_sub(5) * 4;
            let length = u16::try_from(20 + options + payload.len()).unwrap_or(u16::MAX);
            let mut bytes = vec![head, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 7]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([hops, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            let mut list = vec![1; options];
            // Here and there a chosen route, behind other options.
            if let Some(place) = list.get_mut(usize::from(source.octets()[3] & 3))
                && fragment & 1 == 0
                && hops == 64
            {
                *place = 131;
            }
            bytes.extend(list);
            bytes.extend(payload);
            (false, bytes)
        },
    )
}

/// Extension headers before the upper layer: next header in, bytes out.
#[derive(Clone, Copy, Debug)]
enum Extension {
    HopByHop(u8),
    Destination(u8),
    Routing(u8),
    Fragment(u16),
    Authentication(u8),
    NoNext,
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Destination(_) => 60,
            Self::Routing(_) => 43,
            Self::Fragment(_) => 44,
            Self::Authentication(_) => 51,
            Self::NoNext => 59,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(units) | Self::Destination(units) => {
                let mut bytes = vec![next, units];
                bytes.resize((usize::from(units) + 1) * 8, 0);
                bytes
            }
            Self::Routing(kind) => vec![next, 0, kind, 0, 0, 0, 0, 0],
            Self::Fragment(place) => {
                let place = place.to_be_bytes();
                vec![next, 0, place[0], place[1], 0, 0, 0, 7]
            }
            Self::Authentication(words) => {
                let mut bytes = vec![next, words];
                bytes.resize((usize::from(words) + 2) * 4, 0);
                bytes
            }
            Self::NoNext => Vec::new(),
        }
    }
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (0..4u8).prop_map(Extension::HopByHop),
        prop_oneof![0..4u8, any::<u8>()].prop_map(Extension::Destination),
        (0..5u8).prop_map(Extension::Routing),
        select(&[0u16, 1, 8, 9, 0x400][..]).prop_map(Extension::Fragment),
        (0..6u8).prop_map(Extension::Authentication),
        Just(Extension::NoNext),
    ]
}

fn v6<U>(upper: U, odd: bool) -> impl Strategy<Value = (bool, Vec<u8>)>
where
    U: Strategy<Value = (u8, u8, Vec<u8>)>,
{
    let extensions = prop_oneof![4 => Just(Vec::new()), 2 => vec(extension(), 1..3),
        1 => vec(extension(), 3..11)];
    (v6_sender(), v6_address(), extensions, select(&[64u8, 255][..]), upper).prop_map(
        move |(source, destination, extensions, hops, (_, protocol, payload))| {
            let mut next = protocol;
            let mut body = payload;
            for extension in extensions.into_iter().filter(|_| odd).rev() {
                let mut bytes = extension.bytes(next);
                bytes.extend(body);
                body = bytes;
                next = extension.number();
            }
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([next, hops]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(body);
            (true, bytes)
        },
    )
}

/// All own addresses.
pub fn own() -> Vec<IpAddr> {
    OWN_V4.map(IpAddr::V4).into_iter().chain(OWN_V6.map(IpAddr::V6)).collect()
}
