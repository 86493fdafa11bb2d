//! A program of somebody else on the hooks of a device: it has a word about
//! frames of one length and leaves all others to whoever comes next. Knows the
//! two ways of attaching, not what hostfw does on the same hook.

use std::{os::fd::OwnedFd, path::PathBuf};

use crate::{Host, syscall};

/// A loaded program, not yet on any hook.
pub struct ForeignProgram {
    program: OwnedFd,
}

impl ForeignProgram {
    /// One that drops frames of this length (`TCX_DROP`, `TC_ACT_SHOT`).
    ///
    /// # Panics
    /// When the kernel does not take it.
    #[track_caller]
    pub fn drops(frame_bytes: u32) -> Self {
        Self::load(frame_bytes, 2)
    }

    /// One that lets frames of this length pass and has nobody behind it asked
    /// (`TCX_PASS`, `TC_ACT_OK`).
    ///
    /// # Panics
    /// When the kernel does not take it.
    #[track_caller]
    pub fn passes(frame_bytes: u32) -> Self {
        Self::load(frame_bytes, 0)
    }

    #[track_caller]
    fn load(frame_bytes: u32, verdict: u8) -> Self {
        let length = frame_bytes.to_le_bytes();
        let program = syscall::load_program(&[
            // r2 = skb->len; if r2 == length skip two
            [0x61, 0x12, 0, 0, 0, 0, 0, 0],
            [0x15, 0x02, 2, 0, length[0], length[1], length[2], length[3]],
            // r0 = -1 (next); exit
            [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
            // r0 = verdict; exit
            [0xb7, 0, 0, 0, verdict, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ]);
        Self { program: program.expect("a loaded program (needs root)") }
    }

    /// Puts it before or behind everybody in the tcx chain of arriving packets,
    /// until the link is dropped.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn chain(&self, host: &Host, device: &str, place: Place) -> OwnedFd {
        self.link(host, device, false, place)
    }

    /// As [`Self::chain`], for departing packets.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn chain_departing(&self, host: &Host, device: &str, place: Place) -> OwnedFd {
        self.link(host, device, true, place)
    }

    #[track_caller]
    fn link(&self, host: &Host, device: &str, departing: bool, place: Place) -> OwnedFd {
        let ifindex = host.ifindex(device);
        let link = host.inside(|| syscall::attach_tcx(&self.program, ifindex, departing, place));
        link.unwrap_or_else(|error| panic!("a link on {device}: {error}"))
    }

    /// Makes it a filter of arriving packets with this priority, as `tc` does;
    /// it stays until it is deleted.
    ///
    /// # Panics
    /// When the kernel or `tc` refuses.
    #[track_caller]
    pub fn filter(&self, host: &Host, device: &str, priority: &str) {
        let pin = self.pin(host, priority);
        let mut tc = host.command("tc");
        tc.args(["filter", "add", "dev", device, "ingress", "prio", priority]);
        let output = tc.args(["bpf", "direct-action", "object-pinned"]).arg(pin).output();
        let output = output.expect("iproute2 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn pin(&self, host: &Host, name: &str) -> PathBuf {
        let pin = host.folder().join("bpf").join(format!("foreign{name}"));
        syscall::pin(&self.program, &pin).unwrap_or_else(|error| panic!("{pin:?}: {error}"));
        pin
    }
}

/// A place in a tcx chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before everybody who is there.
    First,
    /// Behind everybody who is there.
    Last,
}
