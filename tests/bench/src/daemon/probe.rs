//! Knocks once a millisecond and knows of every knock whether it was let in, so
//! that a change of the verdict has a moment.
//!
//! A packet over a virtual cable is judged while it is sent; the moment of
//! sending is the moment of the verdict.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::node::{Pair, target};

const PAUSE: Duration = Duration::from_micros(900);
/// So many knocks in a row with one answer are a state.
const STEADY: usize = 50;
/// A daemon that needs longer is broken, not slow.
const LIMIT: Duration = Duration::from_secs(30);

/// A knocker, and somebody who counts.
pub(crate) struct Probe {
    from: UdpSocket,
    to: UdpSocket,
    number: u64,
}

impl Probe {
    /// Takes its sockets on both hosts.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn new(pair: &Pair) -> anyhow::Result<Self> {
        let to = pair.node.inside(|| UdpSocket::bind(target())).context("listen")?;
        to.set_nonblocking(true).context("do not wait")?;
        let from = pair.peer.inside(|| UdpSocket::bind("0.0.0.0:0")).context("take a port")?;
        Ok(Self { from, to, number: 0 })
    }

    /// Knocks once; true when it was let in.
    fn knock(&mut self) -> anyhow::Result<bool> {
        self.number += 1;
        self.from.send_to(&self.number.to_be_bytes(), target()).context("knock")?;
        let mut buffer = [0; 8];
        let mut heard = false;
        loop {
            match self.to.recv(&mut buffer) {
                Ok(_) => heard |= u64::from_be_bytes(buffer) == self.number,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) => return Err(error).context("listen"),
            }
        }
    }

    /// Knocks until the answer has been the same for a while.
    ///
    /// # Errors
    /// The wanted answer does not come.
    pub(crate) fn await_state(&mut self, open: bool) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        let mut in_a_row = 0;
        while in_a_row < STEADY {
            ensure!(Instant::now() < end, "{} within {LIMIT:?}", word(!open));
            in_a_row = if self.knock()? == open { in_a_row + 1 } else { 0 };
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Milliseconds from a moment until the first knock with the other answer.
    /// From then on every knock must have it.
    ///
    /// # Errors
    /// The answer does not change, or not once for all.
    pub(crate) fn turns(&mut self, to_open: bool, since: Instant) -> anyhow::Result<f64> {
        loop {
            let sent = Instant::now();
            if self.knock()? == to_open {
                for _ in 0..STEADY {
                    std::thread::sleep(PAUSE);
                    if self.knock()? != to_open {
                        bail!("{} for a moment only", word(to_open));
                    }
                }
                return Ok(sent.saturating_duration_since(since).as_secs_f64() * 1e3);
            }
            ensure!(sent.duration_since(since) < LIMIT, "{} within {LIMIT:?}", word(!to_open));
            std::thread::sleep(PAUSE);
        }
    }
}

fn word(open: bool) -> &'static str {
    if open { "open" } else { "closed" }
}
