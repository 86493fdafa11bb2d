//! A device to which nothing more can be attached: its tcx hooks are full, and
//! its queueing discipline is of the kind that has no egress filters.

use std::{io, os::fd::OwnedFd};

use crate::{Host, syscall};

/// Programs per hook (`BPF_MPROG_MAX` of Linux).
const MAX_PROGRAMS: usize = 64;

/// Keeps the hooks of a device occupied until it is dropped.
pub struct FullHooks<'host> {
    host: &'host Host,
    device: String,
    links: Vec<OwnedFd>,
}

impl<'host> FullHooks<'host> {
    /// Fills them.
    ///
    /// # Panics
    /// When the kernel refuses for another reason than that it has no tcx.
    #[track_caller]
    pub fn occupy(host: &'host Host, device: &str) -> Self {
        let ifindex = host.ifindex(device);
        let links = host.inside(|| -> io::Result<Vec<OwnedFd>> {
            let program = syscall::load_next_program()?;
            let hooks = [false, true].into_iter().flat_map(|hook| [hook; MAX_PROGRAMS]);
            hooks.map(|egress| syscall::attach_tcx(&program, ifindex, egress)).collect()
        });
        let links = match links {
            Ok(links) => links,
            // Linux before 6.6 knows no such hook.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
            Err(error) => panic!("fill the hooks of {device}: {error}"),
        };
        let full = Self { host, device: device.to_owned(), links };
        full.tc("add");
        full
    }

    #[track_caller]
    fn tc(&self, verb: &str) {
        let mut tc = self.host.command("tc");
        let status = tc.args(["qdisc", verb, "dev", &self.device, "ingress"]).status();
        assert!(status.expect("iproute2 is installed").success(), "tc qdisc {verb}");
    }
}

impl Drop for FullHooks<'_> {
    fn drop(&mut self) {
        self.links.clear();
        if !std::thread::panicking() {
            self.tc("delete");
        }
    }
}
