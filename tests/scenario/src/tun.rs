//! A device whose other end is the test: packets without Ethernet headers.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use crate::{Host, syscall};

/// The test's end of a tun device.
pub struct Tun {
    device: File,
}

impl Tun {
    /// Makes the device on a host; it is gone when this is dropped.
    ///
    /// # Panics
    /// Without `/dev/net/tun` or privilege.
    #[track_caller]
    pub fn open(host: &Host, name: &str) -> Self {
        let device = host.inside(|| {
            let device = File::options().read(true).write(true).open("/dev/net/tun")?;
            syscall::name_tun(&device, name).map(|()| device)
        });
        Self { device: device.unwrap_or_else(|error| panic!("tun device {name}: {error}")) }
    }

    /// Lets the host receive an IP packet.
    ///
    /// # Panics
    /// When the device is down.
    #[track_caller]
    pub fn deliver(&mut self, packet: &[u8]) {
        self.device.write_all(packet).expect("the device is up");
    }

    /// The next packet the host sends that satisfies the question.
    pub fn receive(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if !syscall::readable(self.device.as_fd(), left).expect("an open device") {
                return None;
            }
            let n = self.device.read(&mut buffer).expect("the device is up");
            if wanted(&buffer[..n]) {
                return Some(buffer[..n].to_vec());
            }
        }
    }
}
