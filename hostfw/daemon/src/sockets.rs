//! What this host has open, from the kernel's socket lists: text in, sockets
//! out. It decides nothing about them.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hostfw_daemon::kernel::{Socket, SocketState};

/// Every TCP and UDP socket of this network namespace.
///
/// # Errors
/// A list that cannot be read. A family or protocol that the kernel does not
/// have is no error.
pub(crate) fn list() -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for (name, protocol) in [("tcp", TCP), ("tcp6", TCP), ("udp", UDP), ("udp6", UDP)] {
        match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Ok(text) => sockets.extend(parse(&text, protocol)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The sockets of one list; lines that are none are skipped.
fn parse(text: &str, protocol: u8) -> impl Iterator<Item = Socket> {
    text.lines().skip(1).filter_map(move |line| parse_line(line, protocol))
}

/// `sl local_address rem_address st ...`, numbers in hexadecimal.
fn parse_line(line: &str, protocol: u8) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, local_port) = parse_end(words.next()?)?;
    let (remote, remote_port) = parse_end(words.next()?)?;
    let state = match (protocol, u8::from_str_radix(words.next()?, 16).ok()?) {
        (TCP, TCP_LISTEN) => SocketState::Listening,
        (TCP, _) => SocketState::Connected,
        (_, TCP_ESTABLISHED) => SocketState::Connected,
        (_, _) => SocketState::Unconnected,
    };
    Some(Socket { protocol, local, local_port, remote, remote_port, state })
}

/// An address as 32-bit words in the byte order of this machine, and a port.
fn parse_end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            // A socket of both families shows IPv4 peers in mapped form.
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

const TCP: u8 = 6;
const UDP: u8 = 17;
// States of include/net/tcp_states.h; UDP uses the first for "connected".
const TCP_ESTABLISHED: u8 = 1;
const TCP_LISTEN: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_and_connections_of_both_families_are_told_apart() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20  0: 0100007F:0016 00000000:0000 0A 00000000:00000000\n\
            \x20  1: 010200C0:C350 076433C6:01BB 01 00000000:00000000\n";
        let sockets: Vec<_> = parse(text, TCP).collect();
        assert_eq!(sockets[0].state, SocketState::Listening);
        assert_eq!((sockets[0].local, sockets[0].local_port), (ip("127.0.0.1"), 22));
        assert_eq!(sockets[1].state, SocketState::Connected);
        assert_eq!((sockets[1].local, sockets[1].local_port), (ip("192.0.2.1"), 50_000));
        assert_eq!((sockets[1].remote, sockets[1].remote_port), (ip("198.51.100.7"), 443));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let text = "header\n 0: 0000000000000000FFFF0000010200C0:0016 \
            B80D0120000000000000000001000000:0050 01\n";
        let sockets: Vec<_> = parse(text, TCP).collect();
        assert_eq!(sockets[0].local, ip("192.0.2.1"));
        assert_eq!(sockets[0].remote, ip("2001:db8::1"));
    }

    #[test]
    fn an_unconnected_udp_socket_may_have_sent_to_anyone() {
        let text =
            "header\n 0: 00000000:0044 00000000:0000 07\n 1: 0100007F:0035 0100007F:9999 01\n";
        let states: Vec<_> = parse(text, UDP).map(|socket| socket.state).collect();
        assert_eq!(states, [SocketState::Unconnected, SocketState::Connected]);
    }

    #[test]
    fn lines_that_are_no_sockets_are_skipped() {
        let text = "header\n\n 0:\n 1: xyz 00000000:0000 0A\n 2: 0100007F:0016 00000000:0000\n \
            3: 00000000:FFFFF 00000000:0000 0A\n 4: ééééé:0016 00000000:0000 0A\n";
        assert_eq!(parse(text, TCP).count(), 0);
    }

    #[test]
    fn the_lists_of_this_machine_can_be_read() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert!(list().expect("readable").iter().any(|one| one.state == SocketState::Listening));
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("literal")
    }
}
