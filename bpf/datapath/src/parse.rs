//! From bytes to the tuple that policy is about: frame, addresses, then the
//! upper layer. Each step is taken only when the one before did not settle the
//! packet's fate, and every loop has a constant bound.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::{
    Address, Be16, Be32, Be64, Packet, Reason,
    icmp::{self, Kind},
    packet::{Layer, MAX_OFFSET},
};

/// Protocol numbers (IANA) that the data path treats by name.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;

    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const NO_NEXT: u8 = 59;
    pub(crate) const DESTINATION: u8 = 60;
}

/// TCP flag bits as they stand in byte 13 of the header.
pub const TCP_SYN: u8 = 0x02;
/// See [`TCP_SYN`].
pub const TCP_ACK: u8 = 0x10;

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Extension headers that are followed before the packet is refused.
pub const MAX_EXTENSIONS: u32 = 8;

/// A packet quoted by an ICMP error must start below this offset.
pub const MAX_QUOTE_OFFSET: u32 = MAX_OFFSET - 64;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Carried {
    /// An IPv4 header.
    V4 = 0,
    /// An IPv6 header.
    V6 = 1,
    /// Something else: not for a host policy to judge.
    NotIp = 2,
    /// A frame of a VLAN: its own device judges it.
    Tagged = 3,
    /// Too short for its own headers.
    Cut = 4,
}

/// What a frame carries, and where. Every field always has a value: the
/// kernel's verifier refuses to keep a number that may have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What.
    pub carried: Carried,
    /// Offset of the IP header in bytes; 0 where there is none.
    pub offset: u32,
}

impl Frame {
    #[inline(always)]
    const fn new(carried: Carried, offset: u32) -> Self {
        Self { carried, offset }
    }
}

/// Looks below the IP header.
#[inline(always)]
pub fn frame<P: Packet>(packet: &P) -> Frame {
    let Frame { carried, offset } = find_frame(packet);
    #[expect(clippy::as_conversions, reason = "the number of a small enum")]
    let word = packet.forget((carried as u32) << 16 | offset);
    let carried = match word >> 16 {
        0 => Carried::V4,
        1 => Carried::V6,
        2 => Carried::NotIp,
        3 => Carried::Tagged,
        _ => Carried::Cut,
    };
    Frame::new(carried, word & 0xff)
}

#[inline(always)]
fn find_frame<P: Packet>(packet: &P) -> Frame {
    let facts = packet.facts();
    if facts.vlan != 0 {
        return Frame::new(Carried::Tagged, 0);
    }
    if matches!(facts.layer, Layer::Ip) {
        let Some(byte) = packet.read::<u8>(0) else { return Frame::new(Carried::Cut, 0) };
        let carried = match byte >> 4 {
            4 => Carried::V4,
            6 => Carried::V6,
            _ => Carried::NotIp,
        };
        return Frame::new(carried, 0);
    }
    let Some(outer) = packet.read::<Be16>(12) else { return Frame::new(Carried::Cut, 0) };
    match outer.host() {
        ETHERTYPE_V4 => Frame::new(Carried::V4, 14),
        ETHERTYPE_V6 => Frame::new(Carried::V6, 14),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => tagged(packet),
        _ => Frame::new(Carried::NotIp, 0),
    }
}

/// A frame with a tag in its bytes. The kernel takes a tag out before it asks;
/// one that is still there is a priority's (VLAN id 0), or that of a VLAN device
/// which leaves it in (`reorder_hdr off`), seen there and on the device below.
/// Nobody else may judge the packet behind it, so two tags are followed.
#[inline(always)]
fn tagged<P: Packet>(packet: &P) -> Frame {
    let (Some(tag), Some(inner)) = (packet.read::<Be16>(14), packet.read::<Be16>(16)) else {
        return Frame::new(Carried::Cut, 0);
    };
    match inner.host() {
        ETHERTYPE_V4 => Frame::new(Carried::V4, 18),
        ETHERTYPE_V6 => Frame::new(Carried::V6, 18),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => tagged_twice(packet, tag.host()),
        _ => Frame::new(Carried::NotIp, 0),
    }
}

#[inline(always)]
fn tagged_twice<P: Packet>(packet: &P, first: u16) -> Frame {
    let (Some(tag), Some(inner)) = (packet.read::<Be16>(18), packet.read::<Be16>(20)) else {
        return Frame::new(Carried::Cut, 0);
    };
    match inner.host() {
        ETHERTYPE_V4 => Frame::new(Carried::V4, 22),
        ETHERTYPE_V6 => Frame::new(Carried::V6, 22),
        // The kernel strips every tag with id 0 and would deliver the packet
        // here; only one that names a VLAN belongs to another device.
        ETHERTYPE_VLAN | ETHERTYPE_QINQ if (first | tag.host()) & 0x0fff == 0 => {
            Frame::new(Carried::Cut, 0)
        }
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Frame::new(Carried::Tagged, 0),
        _ => Frame::new(Carried::NotIp, 0),
    }
}

/// RFC 791 section 3.1.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct V4Header {
    version_length: u8,
    service: u8,
    total_length: Be16,
    identification: Be16,
    fragment: Be16,
    time_to_live: u8,
    protocol: u8,
    checksum: Be16,
    source: Be32,
    destination: Be32,
}

/// RFC 8200 section 3.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct V6Header {
    version_class_flow: Be32,
    payload_length: Be16,
    next_header: u8,
    hop_limit: u8,
    source: [Be64; 2],
    destination: [Be64; 2],
}

/// The part of an IP header that says who talks to whom, and where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// IPv4 protocol, or the first next-header value of IPv6.
    pub next: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// IPv4: the fragment field (RFC 791: flags and offset in 8 bytes). IPv6: 0.
    pub fragment: u16,
    /// Bytes of IPv4 options before what follows, at most 40. IPv6: 0.
    pub options: u32,
    /// Offset of what follows this header, in bytes from the packet's start.
    pub after: u32,
    /// Offset of the end of the packet by its own length, at most [`NO_END`]:
    /// what stands behind is padding, which the kernel cuts off.
    pub end: u32,
    /// True for IPv6.
    pub v6: bool,
}

/// End of a packet that is longer than anything that is read, or whose length
/// stands elsewhere (jumbograms, aggregated segments).
pub const NO_END: u32 = 0x7ff;

/// Reads the IP header at an offset.
#[inline(always)]
pub fn network<P: Packet>(packet: &P, offset: u32, is_v6: bool) -> Option<Network> {
    if is_v6 { v6(packet, offset) } else { v4(packet, offset) }
}

/// Reads the IPv4 header at an offset.
#[inline(always)]
pub fn v4<P: Packet>(packet: &P, offset: u32) -> Option<Network> {
    let header = packet.read::<V4Header>(offset)?;
    let length = u32::from(header.version_length & 0xf) * 4;
    let total = u32::from(header.total_length.host());
    // Length 0 marks segments that the kernel has aggregated beyond 64 KiB
    // (Linux 6.3); it drops any other packet that says so.
    if header.version_length >> 4 != 4 || length < 20 || (total < length && total != 0) {
        return None;
    }
    let end = if total == 0 { NO_END } else { offset.wrapping_add(total).min(NO_END) };
    Some(Network {
        source: Address::v4(header.source.host()),
        destination: Address::v4(header.destination.host()),
        next: header.protocol,
        hop_limit: header.time_to_live,
        fragment: header.fragment.host(),
        options: length - 20,
        after: offset.wrapping_add(length),
        end,
        v6: false,
    })
}

/// Reads the IPv6 header at an offset.
#[inline(always)]
pub fn v6<P: Packet>(packet: &P, offset: u32) -> Option<Network> {
    let header = packet.read::<V6Header>(offset)?;
    if header.version_class_flow.host() >> 28 != 6 {
        return None;
    }
    let [source, destination] = [header.source, header.destination]
        .map(|[high, low]| Address { high: high.host(), low: low.host() });
    // No such packet belongs on a wire, and here it would pass for IPv4.
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    let payload = u32::from(header.payload_length.host());
    // RFC 2675: the length of a jumbogram stands in a hop-by-hop option. Segments that
    // the kernel has aggregated beyond 64 KiB do without it (Linux 7.0); it refuses any
    // other packet that says so, which is why no protocol is asked for here.
    let end = if payload == 0 {
        NO_END
    } else {
        offset.wrapping_add(40).wrapping_add(payload).min(NO_END)
    };
    Some(Network {
        source,
        destination,
        next: header.next_header,
        hop_limit: header.hop_limit,
        fragment: 0,
        options: 0,
        after: offset.wrapping_add(40),
        end,
        v6: true,
    })
}

/// Where in its datagram a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// Not fragmented.
    Whole = 0,
    /// The fragment that carries the upper-layer header.
    First = 1,
    /// Any other: it has no ports.
    Later = 2,
}

/// The upper layer of a packet, as policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Protocol number (IANA).
    pub protocol: u8,
    /// Fragment position.
    pub fragment: Fragment,
    /// Byte 13 of a TCP header, otherwise 0.
    pub tcp_flags: u8,
    /// Source port; the identifier of an ICMP echo; otherwise 0.
    pub source_port: u16,
    /// Destination port; the type of an ICMP message; otherwise 0.
    pub port: u16,
    /// What an ICMP message is for; of other packets `Ordinary`.
    pub kind: Kind,
    /// Offset of the upper-layer header in bytes, below 1,024.
    pub offset: u32,
}

impl Upper {
    /// True for the first packet of a TCP connection.
    #[inline(always)]
    pub const fn opens_tcp(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    }
}

/// How much of the upper layer can be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The packet itself.
    Packet,
    /// A packet quoted by an ICMP error: eight bytes are all that is promised
    /// (RFC 792), so a TCP header has no flags.
    Quoted,
}

/// Where the upper layer of a packet begins to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// See [`Network::next`].
    pub next: u8,
    /// See [`Network::fragment`].
    pub fragment: u16,
    /// See [`Network::options`].
    pub options: u32,
    /// See [`Network::after`]; below 1,024.
    pub after: u32,
    /// See [`Network::end`].
    pub end: u32,
    /// See [`Network::v6`].
    pub v6: bool,
    /// How much there is.
    pub depth: Depth,
}

impl Network {
    /// Where this header begins.
    #[inline(always)]
    pub const fn offset(&self) -> u32 {
        let length = if self.v6 { 40 } else { 20 };
        self.after.wrapping_sub(length).wrapping_sub(self.options)
    }

    /// Where this header's upper layer begins.
    #[inline(always)]
    pub const fn start(&self, depth: Depth) -> Start {
        let Self { next, fragment, options, after, end, v6, .. } = *self;
        Start { next, fragment, options, after, end, v6, depth }
    }
}

/// The forms in which the kernel hands these values between its functions, one
/// machine word each: bit 0 onward, least significant first.
mod word {
    #![expect(clippy::as_conversions, reason = "fields are cut out of a word by size")]

    use super::{Depth, Fragment, Start, Upper};
    use crate::{Reason, icmp::Kind};

    const REFUSED: u64 = 1 << 63;

    impl Start {
        /// offset 10, next 8, fragment 16, v6 1, quoted 1, end 11, options 6.
        #[inline(always)]
        pub const fn to_word(self) -> u64 {
            (self.after & 0x3ff) as u64
                | (self.next as u64) << 10
                | (self.fragment as u64) << 18
                | (self.v6 as u64) << 34
                | (matches!(self.depth, Depth::Quoted) as u64) << 35
                | ((self.end & 0x7ff) as u64) << 36
                | ((self.options & 0x3f) as u64) << 47
        }

        /// The inverse.
        #[inline(always)]
        pub const fn from_word(word: u64) -> Self {
            Self {
                after: (word & 0x3ff) as u32,
                next: (word >> 10) as u8,
                fragment: (word >> 18) as u16,
                end: ((word >> 36) & 0x7ff) as u32,
                options: ((word >> 47) & 0x3f) as u32,
                v6: word & (1 << 34) != 0,
                depth: if word & (1 << 35) != 0 { Depth::Quoted } else { Depth::Packet },
            }
        }
    }

    impl Upper {
        /// offset 10, protocol 8, flags 8, source port 16, port 16, fragment 2,
        /// kind 3; or the top bit and a reason.
        #[inline(always)]
        pub const fn to_word(outcome: Result<Self, Reason>) -> u64 {
            match outcome {
                Ok(upper) => {
                    (upper.offset & 0x3ff) as u64
                        | (upper.protocol as u64) << 10
                        | (upper.tcp_flags as u64) << 18
                        | (upper.source_port as u64) << 26
                        | (upper.port as u64) << 42
                        | (upper.fragment as u64) << 58
                        | (upper.kind as u64) << 60
                }
                Err(reason) => REFUSED | reason as u64,
            }
        }

        /// The inverse.
        #[inline(always)]
        pub const fn from_word(word: u64) -> Result<Self, Reason> {
            if word & REFUSED != 0 {
                return Err(match Reason::from_number(word as u8) {
                    Some(reason) => reason,
                    None => Reason::Malformed,
                });
            }
            Ok(Self {
                offset: (word & 0x3ff) as u32,
                protocol: (word >> 10) as u8,
                tcp_flags: (word >> 18) as u8,
                source_port: (word >> 26) as u16,
                port: (word >> 42) as u16,
                fragment: match (word >> 58) & 3 {
                    0 => Fragment::Whole,
                    1 => Fragment::First,
                    _ => Fragment::Later,
                },
                kind: Kind::from_number(((word >> 60) & 7) as u8),
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_start_survives_its_word(
                next: u8, fragment: u16, after in 0u32..1024, end in 0u32..2048, options in 0u32..64,
                v6: bool, quoted: bool,
            ) {
                let depth = if quoted { Depth::Quoted } else { Depth::Packet };
                let start = Start { next, fragment, options, after, end, v6, depth };
                prop_assert_eq!(Start::from_word(start.to_word()), start);
            }

            #[test]
            fn an_upper_layer_survives_its_word(
                protocol: u8, tcp_flags: u8, source_port: u16, port: u16,
                offset in 0u32..1024, place in 0usize..3, kind in 0u8..7,
            ) {
                let kind = Kind::from_number(kind);
                let fragment = [Fragment::Whole, Fragment::First, Fragment::Later][place];
                let upper = Upper { protocol, fragment, tcp_flags, source_port, port, kind, offset };
                prop_assert_eq!(Upper::from_word(Upper::to_word(Ok(upper))), Ok(upper));
            }

            #[test]
            fn a_refusal_survives_its_word(index in 0..Reason::ALL.len()) {
                let reason = Reason::ALL[index];
                prop_assert_eq!(Upper::from_word(Upper::to_word(Err(reason))), Err(reason));
            }
        }
    }
}

/// Reads a header that lies wholly before the packet's own end.
#[inline(always)]
fn inside<P: Packet, H: FromBytes + Copy>(packet: &P, offset: u32, end: u32) -> Option<H> {
    let size = u32::try_from(size_of::<H>()).unwrap_or(u32::MAX);
    if offset.saturating_add(size) > end {
        return None;
    }
    packet.read::<H>(offset)
}

/// Reads a packet of the most common shape: Ethernet without a tag or none at
/// all, an IP header of one family without options and extensions, TCP or UDP in
/// one piece. `None` says that it may be something else, not that anything is
/// wrong.
#[inline(always)]
pub fn plain<const V6: bool, P: Packet>(packet: &P) -> Option<(Network, Upper)> {
    let facts = packet.facts();
    let ethertype = if V6 { ETHERTYPE_V6 } else { ETHERTYPE_V4 };
    let offset = match facts.layer {
        Layer::Ip => 0,
        Layer::Ethernet if packet.read::<Be16>(12)?.host() == ethertype => 14,
        Layer::Ethernet => return None,
    };
    let network = network(packet, offset, V6)?;
    if facts.vlan != 0 || network.options != 0 || network.fragment & !DONT_FRAGMENT != 0 {
        return None;
    }
    let protocol = network.next;
    if !matches!(protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    // A constant: what follows is then read at places that are known.
    let offset = offset.wrapping_add(if V6 { 40 } else { 20 });
    let (fragment, kind) = (Fragment::Whole, Kind::Ordinary);
    let start = Start { after: offset, ..network.start(Depth::Packet) };
    let Ports { source_port, port, tcp_flags } = ports(packet, start)?;
    Some((network, Upper { protocol, fragment, tcp_flags, source_port, port, kind, offset }))
}

/// IPv4: this flag says nothing about where a piece belongs (RFC 791), nor does
/// the one above it, which is reserved.
const DONT_FRAGMENT: u16 = 0xc000;

/// What TCP, UDP and SCTP headers begin with.
struct Ports {
    source_port: u16,
    port: u16,
    /// See [`Upper::tcp_flags`].
    tcp_flags: u8,
}

/// Reads ports, and flags where TCP has them; `None` where the packet ends
/// before.
#[inline(always)]
fn ports<P: Packet>(packet: &P, Start { next, after, end, depth, .. }: Start) -> Option<Ports> {
    let [source, destination] = inside::<_, [Be16; 2]>(packet, after, end)?;
    let tcp_flags = if next == protocol::TCP && matches!(depth, Depth::Packet) {
        inside::<_, u8>(packet, after.wrapping_add(13), end)?
    } else {
        0
    };
    Some(Ports { source_port: source.host(), port: destination.host(), tcp_flags })
}

/// Refuses an IPv4 option that holds a route of the sender's choice (RFC 791:
/// loose 131, strict 137). A list that contradicts itself is the kernel's to
/// refuse.
#[inline(always)]
fn options<P: Packet>(packet: &P, start: Start) -> Result<(), Reason> {
    let mut at = start.after.wrapping_sub(start.options);
    let mut count = 0;
    while count < MAX_OPTIONS {
        if at >= start.after || at >= MAX_OFFSET {
            return Ok(());
        }
        let Some(kind) = packet.read::<u8>(at) else { return Err(Reason::Malformed) };
        let length = match kind {
            131 | 137 => return Err(Reason::SourceRoute),
            // End of the list; the kernel reads no further either.
            0 => return Ok(()),
            1 => 1,
            _ if at.wrapping_add(1) >= start.after => return Ok(()),
            _ => match packet.read::<u8>(at.wrapping_add(1)) {
                Some(length) if length >= 2 => u32::from(length),
                Some(_) => return Ok(()),
                None => return Err(Reason::Malformed),
            },
        };
        // As below: changes nothing, and keeps the verifier's states few.
        at = at.wrapping_add(length) & core::hint::black_box(0x3ff);
        count += 1;
    }
    Ok(())
}

/// Options of one byte that fit into the longest IPv4 header.
const MAX_OPTIONS: u32 = 40;

/// Follows extension headers and reads ports, flags or the ICMP type.
///
/// # Errors
/// The reason to refuse: a cut header, a chain that is too long, a route that
/// the sender chose, a fragment that starts inside the TCP header.
#[inline(always)]
pub fn upper<P: Packet>(packet: &P, start: Start) -> Result<Upper, Reason> {
    let mut protocol = start.next;
    let mut offset = start.after;
    let mut place = u32::from(start.fragment & 0x1fff);
    let mut more = start.fragment & 0x2000 != 0;
    if !start.v6 && start.options != 0 && matches!(start.depth, Depth::Packet) {
        options(packet, start)?;
    }
    if start.v6 {
        let mut count = 0;
        loop {
            match protocol {
                protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::ROUTING => {
                    let Some(head) = inside::<_, [u8; 4]>(packet, offset, start.end) else {
                        return Err(Reason::Malformed);
                    };
                    // RFC 5095: type 0 lets a sender bounce traffic.
                    if protocol == protocol::ROUTING && head[2] == 0 {
                        return Err(Reason::RoutingHeader);
                    }
                    protocol = head[0];
                    offset = offset.wrapping_add((u32::from(head[1]) + 1) * 8);
                }
                protocol::AUTHENTICATION => {
                    let Some(head) = inside::<_, [u8; 2]>(packet, offset, start.end) else {
                        return Err(Reason::Malformed);
                    };
                    protocol = head[0];
                    // RFC 4302 section 2.2: in words of four bytes, minus two.
                    offset = offset.wrapping_add((u32::from(head[1]) + 2) * 4);
                }
                protocol::FRAGMENT => {
                    let Some(head) = inside::<_, [Be16; 2]>(packet, offset, start.end) else {
                        return Err(Reason::Malformed);
                    };
                    protocol = u8::try_from(head[0].host() >> 8).unwrap_or(0);
                    place = u32::from(head[1].host() >> 3);
                    more = head[1].host() & 1 != 0;
                    offset = offset.wrapping_add(8);
                    if place != 0 {
                        break;
                    }
                }
                protocol::NO_NEXT => return Err(Reason::Extensions),
                _ => break,
            }
            if offset >= MAX_OFFSET {
                return Err(Reason::Extensions);
            }
            // Changes nothing below the bound; it keeps the kernel's verifier
            // from telling apart every way that leads to an offset.
            offset &= core::hint::black_box(0x3ff);
            // Last, because verifiers before Linux 6.2 want the way back to
            // begin with a branch.
            count += 1;
            if count > MAX_EXTENSIONS {
                return Err(Reason::Extensions);
            }
        }
    }
    let fragment = match (place, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    let kind = Kind::Ordinary;
    let mut upper =
        Upper { protocol, fragment, tcp_flags: 0, source_port: 0, port: 0, kind, offset };
    if matches!(fragment, Fragment::Later) {
        // Offset 1 (eight bytes) would rewrite the flags of the first fragment.
        if protocol == protocol::TCP && place == 1 {
            return Err(Reason::TinyFragment);
        }
        return Ok(upper);
    }
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let start = Start { next: protocol, after: offset, ..start };
            let Some(Ports { source_port, port, tcp_flags }) = ports(packet, start) else {
                return Err(Reason::Malformed);
            };
            upper = Upper { source_port, port, tcp_flags, ..upper };
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let Some(head) = inside::<_, [Be16; 4]>(packet, offset, start.end) else {
                return Err(Reason::Malformed);
            };
            upper.port = head[0].host() >> 8;
            upper.kind = icmp::kind(protocol, upper.port);
            upper.source_port = head[2].host();
        }
        _ => {}
    }
    Ok(upper)
}
