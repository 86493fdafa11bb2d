//! One packet as bytes: the smallest that a peer or this node could really
//! send. The trace hands it to the code that judges packets in the kernel, so
//! nothing here may know what that code will make of it.

use std::net::IpAddr;

/// What the packet is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Who sends it. Of the same family as the destination.
    pub(crate) source: IpAddr,
    /// Whom it is for.
    pub(crate) destination: IpAddr,
    /// Number of the IP protocol.
    pub(crate) protocol: u8,
    /// Destination port or ICMP type; 0 for protocols without either.
    pub(crate) port: u16,
    /// Byte 13 of a TCP header.
    pub(crate) tcp_flags: u8,
}

/// Where clients send from: any port that is nobody's service.
const EPHEMERAL_PORT: u16 = 40_000;

/// The packet from its IP header on, or `None` for ends of two families.
pub(crate) fn build(wanted: &Wanted) -> Option<Vec<u8>> {
    let payload = payload(wanted);
    let length = u16::try_from(payload.len()).ok()?;
    let mut packet = match (wanted.source, wanted.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, wanted.protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([wanted.protocol, hop_limit(wanted)]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    packet.extend(payload);
    Some(packet)
}

/// Neighbour discovery is only genuine with 255 (RFC 4861 section 7.1).
fn hop_limit(wanted: &Wanted) -> u8 {
    if wanted.protocol == 58 && matches!(wanted.port, 133..=137) { 255 } else { 64 }
}

fn payload(wanted: &Wanted) -> Vec<u8> {
    let [source_port, port] = [EPHEMERAL_PORT, wanted.port].map(u16::to_be_bytes);
    let ports = [source_port[0], source_port[1], port[0], port[1]];
    let mut payload = Vec::new();
    match wanted.protocol {
        6 => {
            payload.extend(ports);
            payload.extend([0; 8]);
            payload.extend([5 << 4, wanted.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        17 => {
            payload.extend(ports);
            payload.extend([0, 8, 0, 0]);
        }
        132 => {
            payload.extend(ports);
            payload.extend([0; 8]);
        }
        1 | 58 => {
            payload.push(port[1]);
            payload.extend([0; 7]);
        }
        _ => payload.extend([0; 8]),
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(source: &str, destination: &str, protocol: u8, port: u16) -> Wanted {
        let address = |text: &str| text.parse().expect("an address");
        let (source, destination) = (address(source), address(destination));
        Wanted { source, destination, protocol, port, tcp_flags: 2 }
    }

    #[test]
    fn lengths_in_headers_are_those_of_the_packet() {
        for (protocol, length) in [(6, 20), (17, 8), (132, 12), (1, 8), (112, 8)] {
            let v4 = build(&wanted("192.0.2.7", "192.0.2.1", protocol, 22)).expect("one family");
            assert_eq!(v4.len(), 20 + length);
            assert_eq!(v4[2..4], u16::try_from(v4.len()).expect("short").to_be_bytes());
            let v6 =
                build(&wanted("2001:db8::7", "2001:db8::1", protocol, 22)).expect("one family");
            assert_eq!(v6.len(), 40 + length);
            assert_eq!(v6[4..6], u16::try_from(length).expect("short").to_be_bytes());
        }
    }

    #[test]
    fn a_packet_has_one_family() {
        assert_eq!(build(&wanted("192.0.2.7", "2001:db8::1", 6, 22)), None);
    }

    #[test]
    fn ports_and_types_stand_where_receivers_look_for_them() {
        let tcp = build(&wanted("192.0.2.7", "192.0.2.1", 6, 0x1234)).expect("one family");
        assert_eq!(tcp[22..24], [0x12, 0x34]);
        assert_eq!(tcp[33], 2);
        let echo = build(&wanted("2001:db8::7", "2001:db8::1", 58, 128)).expect("one family");
        assert_eq!(echo[40], 128);
    }
}
