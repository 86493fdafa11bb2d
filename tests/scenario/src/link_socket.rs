//! Raw frames on one device: sending any bytes, and seeing what got past the
//! firewall.
//!
//! A packet socket for one Ethernet type receives after the ingress hooks, so a
//! frame that it sees is one that passed. (One for all types receives before.)

use std::{
    io,
    ops::Range,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{Host, syscall};

/// A socket on one device for one Ethernet type.
pub struct LinkSocket {
    socket: OwnedFd,
}

/// Frames a system call.
const BATCH: u64 = 512;

/// Ethernet type of 802.2 frames inside Linux (`ETH_P_802_2`).
const LLC: u16 = 4;

impl LinkSocket {
    /// IPv4 frames.
    pub const IPV4: u16 = 0x0800;
    /// IPv6 frames.
    pub const IPV6: u16 = 0x86dd;
    /// Link layer discovery.
    pub const LLDP: u16 = 0x88cc;
    /// Frames with a length in place of a type, such as spanning tree.
    pub const LLC: u16 = LLC;

    /// Opens one on a device of a host.
    ///
    /// # Panics
    /// When the device is not there, or without privilege.
    #[track_caller]
    pub fn open(host: &Host, device: &str, kind: u16) -> Self {
        let ifindex = host.ifindex(device);
        let socket = host
            .inside(|| syscall::socket(libc::AF_PACKET, libc::SOCK_RAW, 0))
            .and_then(|socket| syscall::bind_to_device(&socket, ifindex, kind).map(|()| socket));
        Self { socket: socket.unwrap_or_else(|error| panic!("packet socket on {device}: {error}")) }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = syscall::send(&self.socket, frame);
        assert_eq!(sent.expect("the frame is sent"), frame.len());
    }

    /// Sends one frame, and says whether the device took it.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        syscall::send(&self.socket, frame).map(drop)
    }

    /// Sends so many frames as fast as the device takes them. Each is made by
    /// its number.
    ///
    /// # Panics
    /// When the kernel refuses one.
    #[track_caller]
    pub fn flood(&self, numbers: Range<u64>, mut frame: impl FnMut(u64) -> Vec<u8>) {
        let mut next = numbers.start;
        while next < numbers.end {
            let batch: Vec<Vec<u8>> =
                (next..numbers.end.min(next + BATCH)).map(&mut frame).collect();
            let mut sent = 0;
            while sent < batch.len() {
                match syscall::send_many(&self.socket, &batch[sent..]) {
                    Ok(n) => sent += n,
                    // The device is busy with the last ones.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        std::thread::yield_now();
                    }
                    Err(error) => panic!("the frames are sent: {error}"),
                }
            }
            next += BATCH;
        }
    }

    /// Counts the frames that arrive within the time and satisfy the question.
    pub fn count(&self, time: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> usize {
        let end = Instant::now() + time;
        let mut n_wanted = 0;
        while let Some(frame) = self.receive(end) {
            n_wanted += usize::from(wanted(&frame));
        }
        n_wanted
    }

    /// True as soon as a wanted frame arrives.
    pub fn sees(&self, time: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        let end = Instant::now() + time;
        while let Some(frame) = self.receive(end) {
            if wanted(&frame) {
                return true;
            }
        }
        false
    }

    fn receive(&self, end: Instant) -> Option<Vec<u8>> {
        let mut buffer = [0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match syscall::receive(&self.socket, &mut buffer, left) {
                Ok(received) => return received.map(|n| buffer[..n].to_vec()),
                // The device went down; what was sent before may still be there.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => panic!("receive on a packet socket: {error}"),
            }
        }
    }
}

/// True when the frame contains the bytes.
pub fn contains(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}
