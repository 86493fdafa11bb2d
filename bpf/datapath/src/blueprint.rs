//! Packets described field by field, true or lying, for whoever wants every
//! shape there is: tests draw them, and the fuzzing corpus is made of them. It
//! writes bytes and knows nothing of how they are read. Fields that the data
//! path does not look at, checksums among them, are left zero.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::{boxed::Box, vec, vec::Vec};

use crate::{
    packet::Layer,
    parse::protocol,
    sketch::{self, Content},
};

/// A packet as it arrives on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blueprint {
    /// What stands below the IP header.
    pub link: Link,
    /// What the frame carries.
    pub payload: Payload,
    /// Bytes behind the end that the packet itself gives.
    pub behind: Vec<u8>,
}

/// What stands below the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing: tun, WireGuard, IPIP.
    Bare,
    /// An Ethernet header and these tags, outermost first.
    Frame(Vec<Tag>),
}

/// IEEE 802.1Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100, or 0x88a8 for a service tag.
    pub ethertype: u16,
    /// Priority and VLAN id, the lower 12 bits.
    pub control: u16,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// RFC 791.
    V4(V4),
    /// RFC 8200.
    V6(V6),
    /// Neither.
    Other {
        /// What the frame says that it is; nowhere to be seen without a frame.
        ethertype: u16,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V4 {
    /// Sender.
    pub source: Ipv4Addr,
    /// Receiver.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub hops: u8,
    /// Flags and offset, in units of eight bytes.
    pub fragment: u16,
    /// Options, in words of four bytes: at most 10.
    pub options: u8,
    /// What the header says of the packet's length.
    pub length: Length,
    /// What follows.
    pub upper: Upper,
}

/// An IPv6 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V6 {
    /// Sender.
    pub source: Ipv6Addr,
    /// Receiver.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hops: u8,
    /// What stands between the header and the upper layer.
    pub extensions: Vec<Extension>,
    /// What the header says of the packet's length.
    pub length: Length,
    /// What follows.
    pub upper: Upper,
}

/// What a header says of the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The truth.
    True,
    /// Nothing: 0.
    Zero,
    /// So many bytes too few; never below 0.
    Short(u16),
}

/// RFC 8200 section 4, RFC 4302.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options: eight bytes and so many times eight more.
    HopByHop(u8),
    /// Destination options, likewise.
    Destination(u8),
    /// A routing header of this type, likewise.
    Routing(u8, u8),
    /// Offset in units of eight bytes, and whether more follow.
    Fragment(u16, bool),
    /// Eight bytes and so many times four more.
    Authentication(u8),
    /// Nothing may follow.
    NoNext,
}

/// What follows the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upper {
    /// A header.
    Plain(Content),
    /// An ICMP error of this type, after the family, that quotes a packet.
    Error(u8, Box<Payload>),
}

impl Blueprint {
    /// A plain Ethernet frame without anything behind.
    pub const fn frame(payload: Payload) -> Self {
        Self { link: Link::Frame(Vec::new()), payload, behind: Vec::new() }
    }

    /// What the first byte belongs to.
    pub const fn layer(&self) -> Layer {
        match self.link {
            Link::Bare => Layer::Ip,
            Link::Frame(_) => Layer::Ethernet,
        }
    }

    /// From the first byte to the last.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Link::Frame(tags) = &self.link {
            bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
            for tag in tags {
                bytes.extend(tag.ethertype.to_be_bytes());
                bytes.extend(tag.control.to_be_bytes());
            }
            bytes.extend(self.payload.ethertype().to_be_bytes());
        }
        bytes.extend(self.payload.bytes());
        bytes.extend(&self.behind);
        bytes
    }
}

impl Payload {
    const fn ethertype(&self) -> u16 {
        match self {
            Self::V4(_) => 0x0800,
            Self::V6(_) => 0x86dd,
            Self::Other { ethertype, .. } => *ethertype,
        }
    }

    /// The packet without anything below it.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::V4(packet) => packet.bytes(),
            Self::V6(packet) => packet.bytes(),
            Self::Other { bytes, .. } => bytes.clone(),
        }
    }
}

impl V4 {
    /// From one to the other, with nothing unusual.
    pub const fn plain(source: Ipv4Addr, destination: Ipv4Addr, upper: Upper) -> Self {
        Self { source, destination, hops: 64, fragment: 0, options: 0, length: Length::True, upper }
    }

    fn bytes(&self) -> Vec<u8> {
        let upper = self.upper.bytes();
        let options = usize::from(self.options) * 4;
        let length = self.length.says(20 + options + upper.len());
        let mut bytes = vec![0x45 + self.options, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 7]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.hops, self.upper.protocol(false), 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        // RFC 791: option 1 does nothing.
        bytes.resize(20 + options, 1);
        bytes.extend(upper);
        bytes
    }
}

impl V6 {
    /// From one to the other, with nothing unusual.
    pub const fn plain(source: Ipv6Addr, destination: Ipv6Addr, upper: Upper) -> Self {
        let extensions = Vec::new();
        Self { source, destination, hops: 64, extensions, length: Length::True, upper }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut next = self.upper.protocol(true);
        let mut body = self.upper.bytes();
        for extension in self.extensions.iter().rev() {
            let mut bytes = extension.bytes(next);
            bytes.extend(body);
            body = bytes;
            next = extension.number();
        }
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(self.length.says(body.len()).to_be_bytes());
        bytes.extend([next, self.hops]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(body);
        bytes
    }
}

impl Length {
    /// What the header says where this is the truth.
    pub fn says(self, length: usize) -> u16 {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        match self {
            Self::True => length,
            Self::Zero => 0,
            Self::Short(missing) => length.saturating_sub(missing),
        }
    }
}

impl Extension {
    /// Its number in the header before it.
    pub const fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => protocol::HOP_BY_HOP,
            Self::Destination(_) => protocol::DESTINATION,
            Self::Routing(..) => protocol::ROUTING,
            Self::Fragment(..) => protocol::FRAGMENT,
            Self::Authentication(_) => protocol::AUTHENTICATION,
            Self::NoNext => protocol::NO_NEXT,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        let mut bytes = vec![next];
        match self {
            Self::HopByHop(more) | Self::Destination(more) => {
                bytes.push(more);
                bytes.resize((usize::from(more) + 1) * 8, 0);
            }
            Self::Routing(kind, more) => {
                bytes.extend([more, kind]);
                bytes.resize((usize::from(more) + 1) * 8, 0);
            }
            Self::Fragment(place, more) => {
                bytes.push(0);
                bytes.extend((place << 3 | u16::from(more)).to_be_bytes());
                bytes.extend([0, 0, 0, 7]);
            }
            Self::Authentication(more) => {
                bytes.push(more);
                bytes.resize((usize::from(more) + 2) * 4, 0);
            }
            Self::NoNext => bytes.clear(),
        }
        bytes
    }
}

impl Upper {
    /// Its number in the header before it.
    pub fn protocol(&self, v6: bool) -> u8 {
        match self {
            Self::Plain(content) => content.protocol(v6),
            Self::Error(..) => sketch::icmp(v6),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(content) => content.bytes(),
            Self::Error(kind, quoted) => {
                let mut bytes = vec![*kind, 0, 0, 0, 0, 0, 0, 0];
                bytes.extend(quoted.bytes());
                bytes
            }
        }
    }
}
