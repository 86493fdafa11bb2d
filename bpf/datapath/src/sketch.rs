//! Packets from a few words: what rehearsals, traces and tests send. Fields
//! that the data path does not look at, checksums among them, are left zero.

use core::net::IpAddr;
use std::vec::Vec;

use crate::parse::protocol;

/// The upper layer of a sketched packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// TCP with these flags in byte 13.
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
        /// Flag bits.
        flags: u8,
    },
    /// UDP without payload.
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// SCTP, common header only.
    Sctp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// ICMP or ICMPv6, after the family of the addresses.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
        /// Identifier of an echo.
        id: u16,
    },
    /// Any other protocol, without a header.
    Other {
        /// Protocol number.
        protocol: u8,
    },
}

impl Content {
    pub(crate) fn protocol(self, v6: bool) -> u8 {
        match self {
            Self::Tcp { .. } => protocol::TCP,
            Self::Udp { .. } => protocol::UDP,
            Self::Sctp { .. } => protocol::SCTP,
            Self::Icmp { .. } => icmp(v6),
            Self::Other { protocol } => protocol,
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ports = |bytes: &mut Vec<u8>, from: u16, to: u16| {
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
        };
        match self {
            Self::Tcp { from, to, flags } => {
                ports(&mut bytes, from, to);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
            }
            Self::Udp { from, to } => {
                ports(&mut bytes, from, to);
                bytes.extend([0, 8, 0, 0]);
            }
            Self::Sctp { from, to } => {
                ports(&mut bytes, from, to);
                bytes.extend([0; 8]);
            }
            Self::Icmp { kind, code, id } => {
                bytes.extend([kind, code, 0, 0]);
                bytes.extend(id.to_be_bytes());
                bytes.extend([0, 1]);
            }
            Self::Other { .. } => bytes.extend([0; 8]),
        }
        bytes
    }
}

/// The number of ICMP in a family.
pub(crate) const fn icmp(v6: bool) -> u8 {
    if v6 { protocol::ICMPV6 } else { protocol::ICMP }
}

/// An IP packet. Both addresses must be of one family; otherwise the packet is
/// empty.
pub fn ip(source: IpAddr, destination: IpAddr, content: Content) -> Vec<u8> {
    let payload = content.bytes();
    let length = u16::try_from(payload.len()).unwrap_or(0);
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0]);
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, content.protocol(false), 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([content.protocol(true), 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => return Vec::new(),
    }
    packet.extend(payload);
    packet
}

/// The same in an Ethernet frame, from a locally administered address to that of
/// the loopback device, which the kernel's test runner takes for the receiver.
pub fn ethernet(source: IpAddr, destination: IpAddr, content: Content) -> Vec<u8> {
    let mut frame = Vec::from([0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2]);
    frame.extend(if source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(ip(source, destination, content));
    frame
}
