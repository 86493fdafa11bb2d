//! Packets as bytes, with every checksum that the receiver will check.
//!
//! Each function puts one layer around what it is given; nothing is decided
//! about what a packet is for.

mod reshape;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use reshape::{fragments, tagged, with_extensions, with_options};

/// A hardware address.
pub type Mac = [u8; 6];

/// Protocol numbers (IANA).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Flag of a TCP header: the first packet of a connection.
pub const SYN: u8 = 0x02;
/// Flag of a TCP header: acknowledges.
pub const ACK: u8 = 0x10;

/// A frame; `kind` is the Ethernet type, or the length of an 802.3 frame.
pub fn ethernet(destination: Mac, source: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(destination);
    frame.extend(source);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IP packet of the family of its addresses, with 64 hops to go.
///
/// # Panics
/// When the families differ.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4(source, destination, protocol, payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6(source, destination, protocol, 64, payload)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of two families")
        }
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = length(20 + payload.len());
    let mut header = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

/// An IPv6 packet with a hop limit of the caller's choice.
pub fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(payload.len()).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram inside its IP packet.
pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(length(8 + payload.len()).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let sum = upper_checksum(source.0, destination.0, protocol::UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, protocol::UDP, &datagram)
}

/// A TCP segment without payload inside its IP packet.
pub fn tcp(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    flags: u8,
    numbers: [u32; 2],
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment.extend(numbers[0].to_be_bytes());
    segment.extend(numbers[1].to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = upper_checksum(source.0, destination.0, protocol::TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, protocol::TCP, &segment)
}

/// An ICMP message for IPv4; `rest` are the four bytes after the checksum.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ICMP message for IPv6, whose checksum covers the addresses.
pub fn icmpv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    rest: [u8; 4],
    payload: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let sum = upper_checksum(source.into(), destination.into(), protocol::ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The checksum over an upper layer and its pseudo header (RFC 768, RFC 8200
/// section 8.1).
fn upper_checksum(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let [high, low] = length(bytes.len()).to_be_bytes();
    let tail = [0, protocol, high, low];
    let sum = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum(&[&source.octets(), &destination.octets(), &tail, bytes])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum(&[&source.octets(), &destination.octets(), &tail, bytes])
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of two families")
        }
    };
    // UDP writes 0 for "no checksum".
    if sum == 0 { 0xffff } else { sum }
}

/// The Internet checksum (RFC 1071); all parts but the last have even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("test packets are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_in_place_sums_up_to_zero() {
        let packet = udp(([192, 0, 2, 1].into(), 7), ([192, 0, 2, 2].into(), 9), b"odd");
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, protocol::UDP, 0, 11];
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
    }
}
