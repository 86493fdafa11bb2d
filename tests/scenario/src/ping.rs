//! Echo requests, asked one at a time.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    Host,
    packet::{icmp, protocol},
    syscall,
};

/// True when the address answers an echo request within the time.
///
/// # Panics
/// Without the privilege to open a raw socket.
#[track_caller]
pub fn ping(from: &Host, to: IpAddr, limit: Duration) -> bool {
    let (domain, number, request, answer) = match to {
        IpAddr::V4(_) => (libc::AF_INET, protocol::ICMP, 8, 0),
        IpAddr::V6(_) => (libc::AF_INET6, protocol::ICMPV6, 128, 129),
    };
    let socket = from
        .inside(|| syscall::socket(domain, libc::SOCK_RAW, i32::from(number)))
        .expect("a raw socket (needs root)");
    // The identifier tells this request from those of other probes.
    let identifier = std::process::id().to_be_bytes();
    let rest = [identifier[2], identifier[3], 0, 1];
    // For IPv6 the kernel writes the checksum over ours.
    let message = icmp(request, 0, rest, b"hostfw");
    if from.inside(|| syscall::send_to(&socket, &message, to)).is_err() {
        return false;
    }
    let end = Instant::now() + limit;
    let mut buffer = [0; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(Some(n)) = syscall::receive(&socket, &mut buffer, left) else { return false };
        // A raw socket for IPv4 delivers the IP header as well.
        let start = if to.is_ipv4() { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        let received = buffer.get(start..n).unwrap_or_default();
        if received.first() == Some(&answer) && received.get(4..8) == Some(&rest) {
            return true;
        }
    }
}
