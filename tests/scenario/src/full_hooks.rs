//! A device to which nothing more can be attached: its tcx hooks are full, and
//! its queueing discipline is of the kind that has no egress filters.

use std::{io, os::fd::OwnedFd};

use crate::{Host, foreign::Place, syscall};

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
    /// When the kernel refuses for another reason than that the hooks are full
    /// or not there.
    #[track_caller]
    pub fn occupy(host: &'host Host, device: &str) -> Self {
        let ifindex = host.ifindex(device);
        let links = host.inside(|| -> io::Result<Vec<OwnedFd>> {
            let mut links = Vec::new();
            for egress in [false, true] {
                // A hook takes each program once.
                while let Some(link) = attach_if_room(ifindex, egress)? {
                    links.push(link);
                }
            }
            Ok(links)
        });
        let links = links.unwrap_or_else(|error| panic!("fill the hooks of {device}: {error}"));
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

/// One more program on a hook; nothing when it is full, or when the kernel has
/// no such hook (before Linux 6.6).
fn attach_if_room(ifindex: u32, egress: bool) -> io::Result<Option<OwnedFd>> {
    let program = syscall::load_next_program()?;
    match syscall::attach_tcx(&program, ifindex, egress, Place::Last) {
        Ok(link) => Ok(Some(link)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ERANGE | libc::EINVAL) => Ok(None),
            Some(_) | None => Err(error),
        },
    }
}
