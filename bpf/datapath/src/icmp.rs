//! What each ICMP message type is for, as far as a host firewall must know.

use crate::parse::protocol;

/// How a message is treated before policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Policy decides, like any other packet.
    Ordinary = 0,
    /// Asks for an answer that carries the same identifier.
    EchoRequest = 1,
    /// Answers an echo request.
    EchoReply = 2,
    /// Quotes a packet: matched by the flow of the quoted one.
    Error = 3,
    /// Neighbour discovery: valid with hop limit 255 only (RFC 4861 section 7.1).
    Neighbour = 4,
    /// Group membership and the like: IPv6 does not work without.
    Essential = 5,
    /// Not for a host (RFC 4890 section 4.4; host-behaviour clause A8.1).
    Forbidden = 6,
}

impl Kind {
    /// The kind of a number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ordinary,
            1 => Self::EchoRequest,
            2 => Self::EchoReply,
            3 => Self::Error,
            4 => Self::Neighbour,
            5 => Self::Essential,
            _ => Self::Forbidden,
        }
    }
}

/// The kind of an ICMP or ICMPv6 message; `Ordinary` for every other protocol.
#[inline(always)]
pub const fn kind(protocol: u8, message_type: u16) -> Kind {
    match protocol {
        protocol::ICMP => match message_type {
            0 => Kind::EchoReply,
            8 => Kind::EchoRequest,
            3 | 11 | 12 => Kind::Error,
            _ => Kind::Ordinary,
        },
        protocol::ICMPV6 => match message_type {
            1..=4 => Kind::Error,
            128 => Kind::EchoRequest,
            129 => Kind::EchoReply,
            // Solicitations and advertisements, also inverse ones (RFC 3122)
            // and secured ones (RFC 3971).
            133..=136 | 141 | 142 | 148 | 149 => Kind::Neighbour,
            // Multicast listeners, router renumbering, multicast routers.
            130..=132 | 138 | 143 | 151..=153 => Kind::Essential,
            _ => Kind::Forbidden,
        },
        _ => Kind::Ordinary,
    }
}
