//! What each ICMP message type is for, as far as a host firewall must know.

use crate::parse::{Upper, protocol};

/// How a message is treated before policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Policy decides, like any other packet.
    Ordinary,
    /// Asks for an answer that carries the same identifier.
    EchoRequest,
    /// Answers an echo request.
    EchoReply,
    /// Quotes a packet: matched by the flow of the quoted one.
    Error,
    /// Neighbour discovery: valid with hop limit 255 only (RFC 4861 section 7.1).
    Neighbour,
    /// Group membership and the like: IPv6 does not work without.
    Essential,
    /// Not for a host (RFC 4890 section 4.4; host-behaviour clause A8.1).
    Forbidden,
}

/// The kind of an ICMP or ICMPv6 message; `Ordinary` for every other protocol.
#[inline(always)]
pub fn kind(upper: &Upper) -> Kind {
    match upper.protocol {
        protocol::ICMP => match upper.port {
            0 => Kind::EchoReply,
            8 => Kind::EchoRequest,
            3 | 11 | 12 => Kind::Error,
            _ => Kind::Ordinary,
        },
        protocol::ICMPV6 => match upper.port {
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
