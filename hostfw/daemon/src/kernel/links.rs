//! Programs on devices: tcx links that are pinned, or clsact filters on kernels
//! before 6.6. Stopping the daemon detaches nothing; detaching is a verb.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, LinkError, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
    sys::SyscallError,
};
use hostfw_datapath::{Direction, packet::Layer};

use super::{
    Feature, Kernel, KernelConfig, KernelError,
    error::Cause,
    filter, object,
    pins::{self, OnDevice, PinKind},
    sys,
};

/// How programs may be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// tcx, and clsact where the kernel has no tcx.
    #[default]
    Auto,
    /// clsact, whatever the kernel offers.
    Clsact,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A tcx link, first in its chain (Linux 6.6).
    Tcx,
    /// A filter on the clsact queue.
    Clsact,
}

impl How {
    /// The kernel's own word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// One hook as the kernel describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// Id of our program on it; `None` when it is not there.
    pub program: Option<u32>,
    /// How many programs and filters of the hook are asked before; `None` where
    /// the kernel does not tell.
    pub position: Option<usize>,
}

/// A device with our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Device index.
    pub ifindex: u32,
    /// How.
    pub how: How,
    /// With or without Ethernet header.
    pub layer: Layer,
    /// The hook of arriving packets.
    pub ingress: Hook,
    /// The hook of leaving packets.
    pub egress: Hook,
}

/// What is kept of an attached device.
#[derive(Clone, Debug)]
pub(super) struct Links {
    name: String,
    pub(super) layer: Layer,
    how: How,
}

const BOTH: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// Before every other filter: cls_bpf runs priorities in ascending order.
const CLSACT_PRIORITY: u16 = 1;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, pins::CLSACT_MINOR);

impl Kernel {
    /// Attaches both programs to a device, egress first, so that what the host
    /// opens is known before anything is judged. Repeating it changes nothing.
    ///
    /// # Errors
    /// A device that has gone, or a kernel that refuses. What was there before
    /// stays and goes on judging; nothing else of ours is on the device then.
    pub fn attach(
        &mut self,
        ifindex: u32,
        name: &str,
        layer: Layer,
    ) -> Result<Attached, KernelError> {
        if self.links.get(&ifindex).is_some_and(|links| links.layer == layer)
            && let Some(attached) = self.attached_device(ifindex)
            && attached.ingress.program.is_some()
            && attached.egress.program.is_some()
        {
            return Ok(attached);
        }
        if sys::device_name(ifindex).is_none() {
            let source = io::Error::from_raw_os_error(libc::ENODEV);
            return Err(KernelError::Gone { device: name.to_owned(), source });
        }
        let mut how = match self.config.attach {
            AttachMode::Auto => How::Tcx,
            AttachMode::Clsact => How::Clsact,
        };
        let before = BOTH.map(|direction| self.hooked(ifindex, layer, direction));
        for direction in BOTH {
            let outcome = match how {
                How::Tcx => self.attach_tcx(ifindex, name, layer, direction),
                How::Clsact => self.attach_clsact(ifindex, name, layer, direction),
            };
            let outcome = match outcome {
                Err(KernelError::Attach { source, .. })
                    if how == How::Tcx
                        && direction == Direction::Egress
                        && is_unsupported(&source)
                        && Feature::Tcx.is_there() != Some(true) =>
                {
                    tracing::debug!(device = name, "{}", Feature::Tcx);
                    how = How::Clsact;
                    self.attach_clsact(ifindex, name, layer, direction)
                }
                other => other,
            };
            if let Err(error) = outcome {
                self.undo(ifindex, name, layer, &before);
                return Err(error);
            }
        }
        self.links.insert(ifindex, Links { name: name.to_owned(), layer, how });
        self.retire_predecessor();
        self.attached_device(ifindex).ok_or_else(|| KernelError::Gone {
            device: name.to_owned(),
            source: io::Error::other("it left while it was attached to"),
        })
    }

    fn attach_tcx(
        &mut self,
        ifindex: u32,
        name: &str,
        layer: Layer,
        direction: Direction,
    ) -> Result<(), KernelError> {
        let pin = self.link_pin(ifindex, layer, direction);
        let program = object::loaded(&mut self.enforcing, direction, layer)?;
        let failed = |source| attach_error(name, direction, How::Tcx, source);
        if pin.exists() {
            if is_attached(&pin, ifindex)? {
                return update(program, &pin);
            }
            remove(&pin)?;
        }
        // Somebody may have taken the folder away while this daemon runs.
        let dir = pins::links_dir(&self.config.bpf_dir);
        fs::create_dir_all(&dir).map_err(|source| KernelError::Folder { path: dir, source })?;
        let link = program.fd().map_err(failed)?.as_fd();
        let link = sys::create_link(link, ifindex, direction == Direction::Egress);
        let call = "bpf_link_create";
        let link = link.map_err(|io_error| failed(SyscallError { call, io_error }.into()))?;
        sys::pin(link.as_fd(), &pin)
            .map_err(|source| KernelError::Pin { path: pin, source: source.into() })?;
        Ok(())
    }

    fn attach_clsact(
        &mut self,
        ifindex: u32,
        name: &str,
        layer: Layer,
        direction: Direction,
    ) -> Result<(), KernelError> {
        let found = sys::ifindex(name)
            .map_err(|source| KernelError::Gone { device: name.to_owned(), source })?;
        if found != ifindex {
            let source = io::Error::other("its index belongs to another device");
            return Err(KernelError::Gone { device: name.to_owned(), source });
        }
        match tc::qdisc_add_clsact(name) {
            Ok(()) => {}
            Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
            }
            Err(tc::TcError::AlreadyAttached) => {}
            Err(source) => {
                return Err(KernelError::Clsact { device: name.to_owned(), source: source.into() });
            }
        }
        // bpffs takes folders: this one tells the next daemon where filters are.
        let mark = self.clsact_mark(ifindex, layer);
        fs::create_dir_all(&mark).map_err(|source| KernelError::Folder { path: mark, source })?;
        let program = object::loaded(&mut self.enforcing, direction, layer)?;
        let options = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
        let failed = |source| attach_error(name, direction, How::Clsact, source);
        let attached = program.attach_with_options(
            name,
            attach_type(direction),
            TcAttachOptions::Netlink(options),
        );
        let id = match attached {
            Ok(id) => id,
            Err(ProgramError::TcError(tc::TcError::NetlinkError(error)))
                if error.raw_os_error() == Some(libc::EEXIST) =>
            {
                // Left by an earlier daemon: exchanged in place, never absent.
                let link = clsact_link(name, direction, CLSACT_HANDLE)
                    .map_err(|source| KernelError::Gone { device: name.to_owned(), source })?;
                program.attach_to_link(link).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let link = program.take_link(id).map_err(failed)?;
        // Dropping the value would remove the filter.
        std::mem::forget(link);
        Ok(())
    }

    /// Takes our programs off a device. A device that has gone needs nothing.
    ///
    /// # Errors
    /// A pin or a filter that cannot be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        if let Some(Links { name, layer, how }) = self.links.remove(&ifindex) {
            self.forget_links(ifindex, &name, layer, how);
        }
        self.take_predecessor_off(ifindex);
        Ok(())
    }

    /// Takes back what an attachment that failed has done to the hooks that had
    /// nothing of ours before.
    fn undo(&self, ifindex: u32, name: &str, layer: Layer, before: &[Hooked; 2]) {
        for (direction, before) in BOTH.into_iter().zip(before) {
            let Hooked { link, filter } = self.hooked(ifindex, layer, direction);
            if link && !before.link {
                self.forget_link(ifindex, name, layer, direction);
            }
            if filter && !before.filter {
                forget_filter(ifindex, name, direction);
            }
        }
        if !before.iter().any(|before| before.filter) {
            self.forget_mark(ifindex, name, layer);
        }
    }

    /// What of ours hangs on a hook.
    fn hooked(&self, ifindex: u32, layer: Layer, direction: Direction) -> Hooked {
        let egress = direction == Direction::Egress;
        let link = sys::link_target(&self.link_pin(ifindex, layer, direction));
        let filter = filter::program(ifindex, egress, CLSACT_PRIORITY, pins::CLSACT_MINOR.into());
        Hooked {
            link: link.is_ok_and(|link| link.ifindex == ifindex),
            // What cannot be asked about may be there, and is left alone.
            filter: !matches!(filter, Ok(None)),
        }
    }

    /// Removes pins and filters as far as they are there.
    fn forget_links(&self, ifindex: u32, name: &str, layer: Layer, how: How) {
        for direction in BOTH {
            self.forget_link(ifindex, name, layer, direction);
            if how == How::Clsact {
                forget_filter(ifindex, name, direction);
            }
        }
        self.forget_mark(ifindex, name, layer);
    }

    fn forget_link(&self, ifindex: u32, name: &str, layer: Layer, direction: Direction) {
        let pin = self.link_pin(ifindex, layer, direction);
        if pin.exists()
            && let Err(error) = remove(&pin)
        {
            tracing::warn!(device = name, error = %error, "a link stays pinned");
        }
    }

    fn forget_mark(&self, ifindex: u32, name: &str, layer: Layer) {
        let mark = self.clsact_mark(ifindex, layer);
        if mark.exists()
            && let Err(error) = fs::remove_dir(&mark)
        {
            tracing::warn!(device = name, %error, "the mark of a filter stays");
        }
    }

    /// What the kernel says of every device of ours.
    pub fn attached(&self) -> Vec<Attached> {
        self.links.keys().filter_map(|ifindex| self.attached_device(*ifindex)).collect()
    }

    pub(super) fn attached_device(&self, ifindex: u32) -> Option<Attached> {
        let Links { layer, how, .. } = self.links.get(&ifindex)?;
        let hook = |direction| match how {
            How::Tcx => self.tcx_hook(ifindex, *layer, direction),
            How::Clsact => self.clsact_hook(ifindex, *layer, direction),
        };
        Some(Attached {
            ifindex,
            how: *how,
            layer: *layer,
            ingress: hook(Direction::Ingress),
            egress: hook(Direction::Egress),
        })
    }

    fn tcx_hook(&self, ifindex: u32, layer: Layer, direction: Direction) -> Hook {
        let target = sys::link_target(&self.link_pin(ifindex, layer, direction)).ok();
        let Some(target) = target.filter(|target| target.ifindex == ifindex) else {
            return Hook::default();
        };
        let position = sys::hook_programs(ifindex, direction == Direction::Egress)
            .ok()
            .and_then(|programs| programs.iter().position(|id| *id == target.program));
        Hook { program: Some(target.program), position }
    }

    fn clsact_hook(&self, ifindex: u32, layer: Layer, direction: Direction) -> Hook {
        let egress = direction == Direction::Egress;
        let there = filter::program(ifindex, egress, CLSACT_PRIORITY, pins::CLSACT_MINOR.into())
            .ok()
            .flatten();
        let ours = self
            .enforcing
            .program(object::name(direction, layer))
            .and_then(|program| program.info().ok())
            .map(|info| info.id());
        // A filter of another program is no proof: attaching again exchanges it.
        let there = there.filter(|there| Some(there.program) == ours);
        Hook {
            program: there.map(|filter| filter.program),
            position: there.map(|filter| filter.position + n_before(ifindex, egress)),
        }
    }

    /// Puts the programs of `enforcing` on every link. A device that has gone is
    /// forgotten; one that refuses stops nobody else, and is tried again before
    /// anything new is loaded.
    ///
    /// # Errors
    /// The first device that refused.
    pub(super) fn replace_programs(&mut self) -> Result<(), KernelError> {
        let mut first = Ok(());
        for (ifindex, Links { layer, how, .. }) in self.links.clone() {
            for direction in BOTH {
                let Some(name) = sys::device_name(ifindex) else { break };
                let outcome = match how {
                    How::Tcx => self.attach_tcx(ifindex, &name, layer, direction),
                    How::Clsact => self.attach_clsact(ifindex, &name, layer, direction),
                };
                if sys::device_name(ifindex).is_some() {
                    first = first.and(outcome);
                }
            }
            if sys::device_name(ifindex).is_none() {
                self.detach(ifindex)?;
            }
        }
        self.links_lag = first.is_err();
        first
    }

    fn link_pin(&self, ifindex: u32, layer: Layer, direction: Direction) -> PathBuf {
        pins::link(&self.config.bpf_dir, ifindex, layer, direction)
    }

    fn clsact_mark(&self, ifindex: u32, layer: Layer) -> PathBuf {
        pins::clsact_mark(&self.config.bpf_dir, ifindex, layer)
    }
}

/// What of ours hangs on a hook of a device.
struct Hooked {
    link: bool,
    filter: bool,
}

fn forget_filter(ifindex: u32, name: &str, direction: Direction) {
    if sys::ifindex(name).ok() == Some(ifindex) {
        remove_filter(name, direction, CLSACT_HANDLE);
    }
}

/// Removes a filter from a device, if it is there: dropping the library's value
/// does.
fn remove_filter(name: &str, direction: Direction, handle: TcHandle) {
    drop(clsact_link(name, direction, handle));
}

/// Finds the links that an earlier daemon has pinned and puts the new programs
/// on them, in place. Links whose device has gone are unpinned.
pub(super) fn adopt(
    enforcing: &mut Ebpf,
    config: &KernelConfig,
) -> Result<BTreeMap<u32, Links>, KernelError> {
    let dir = pins::links_dir(&config.bpf_dir);
    let mut found = BTreeMap::new();
    let entries =
        fs::read_dir(&dir).map_err(|source| KernelError::Folder { path: dir.clone(), source })?;
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some((ifindex, layer, kind)) = file.to_str().and_then(pins::parse) else { continue };
        let name = sys::device_name(ifindex);
        let how = match kind {
            PinKind::Clsact => How::Clsact,
            PinKind::Link(direction) => {
                let program = object::loaded(enforcing, direction, layer)?;
                if !is_attached(&entry.path(), ifindex)? {
                    tracing::info!(ifindex, "a link has lost its device");
                    remove(&entry.path())?;
                    continue;
                }
                update(program, &entry.path())?;
                How::Tcx
            }
        };
        if let Some(name) = name {
            found.insert(ifindex, Links { name, layer, how });
        } else if how == How::Clsact {
            fs::remove_dir(entry.path())
                .map_err(|source| KernelError::Folder { path: entry.path(), source })?;
        }
    }
    Ok(found)
}

/// Takes programs off a device, and removes their pin.
pub(super) fn take_off(programs: &OnDevice) -> Result<(), KernelError> {
    let pin = &programs.pin;
    let removed = match programs.filters {
        None => fs::remove_file(pin),
        Some(minor) => {
            if let Some(name) = sys::device_name(programs.ifindex) {
                for direction in BOTH {
                    remove_filter(&name, direction, TcHandle::new(0, minor));
                }
            }
            fs::remove_dir(pin)
        }
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::Folder { path: pin.clone(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Programs in the tcx chain of a hook, which is asked before every filter.
fn n_before(ifindex: u32, egress: bool) -> usize {
    sys::hook_programs(ifindex, egress).map_or(0, |programs| programs.len())
}

const fn attach_type(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    }
}

/// True while a pinned link is on its device. An error is no answer: a link
/// that cannot be asked is left alone.
fn is_attached(pin: &Path, ifindex: u32) -> Result<bool, KernelError> {
    let target = sys::link_target(pin)
        .map_err(|source| KernelError::Folder { path: pin.to_owned(), source })?;
    Ok(target.ifindex == ifindex)
}

/// Exchanges the program behind a pinned link, in one step. The library's value
/// of the old link is only a descriptor: the pin keeps the link.
fn update(program: &mut SchedClassifier, pin: &Path) -> Result<(), KernelError> {
    let failed = |source: LinkError| KernelError::Link {
        device: pin.display().to_string(),
        source: source.into(),
    };
    let link = FdLink::from(PinnedLink::from_pin(pin).map_err(failed)?);
    let link: SchedClassifierLink = link.try_into().map_err(failed)?;
    let updated = KernelError::program("hostfw");
    let id = program.attach_to_link(link).map_err(updated)?;
    drop(program.take_link(id).map_err(updated)?);
    Ok(())
}

fn remove(pin: &Path) -> Result<(), KernelError> {
    fs::remove_file(pin).map_err(|source| KernelError::Folder { path: pin.to_owned(), source })
}

fn clsact_link(
    name: &str,
    direction: Direction,
    handle: TcHandle,
) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, attach_type(direction), CLSACT_PRIORITY, handle, None)
}

/// True for the answers of a kernel that does not know tcx: `EINVAL` from the
/// unknown attach type before Linux 6.6.
fn is_unsupported(cause: &Cause) -> bool {
    let Some(ProgramError::SyscallError(error)) = cause.downcast_ref() else { return false };
    matches!(error.io_error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}

fn attach_error(name: &str, direction: Direction, how: How, source: ProgramError) -> KernelError {
    let hook = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    KernelError::Attach { device: name.to_owned(), hook, how: how.name(), source: source.into() }
}
