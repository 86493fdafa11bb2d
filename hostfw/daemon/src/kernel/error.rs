//! What can go wrong at the kernel, and what to do about it.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::Feature;

/// What the kernel, or the library in front of it, said.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A refused operation. Nothing that was in force has changed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Built without `cargo xtask bpf`.
    #[error("this build has no data path; run `cargo xtask bpf` and build again")]
    NoObject,
    /// The pin folder is not on a BPF file system.
    #[error("{path} is not on a BPF file system; mount one: mount -t bpf bpf /sys/fs/bpf")]
    NoBpfFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder cannot be made or removed.
    #[error("use folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not take the object.
    #[error("load the data path")]
    Object {
        /// Why.
        source: Cause,
    },
    /// The kernel does not take a program.
    #[error("load program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        source: Cause,
    },
    /// The kernel lacks what nothing works without.
    #[error("{feature}")]
    Lacking {
        /// What it lacks.
        feature: Feature,
        /// What the kernel refused because of it.
        source: Box<KernelError>,
    },
    /// A program or map is not in the object.
    #[error("the data path has no {what}")]
    Missing {
        /// Its name.
        what: &'static str,
    },
    /// A map refuses.
    #[error("use map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: Cause,
    },
    /// Nothing can be pinned.
    #[error("pin {path}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// An image without its magic, of another version, or with a wrong sum.
    #[error("the image is damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The kernel holds other words than were written.
    #[error("slot {slot} does not hold what was written")]
    ReadBack {
        /// The slot.
        slot: u32,
    },
    /// The kernel judged a rehearsal packet otherwise than this program.
    #[error(
        "rehearsal of slot {slot}: packet {packet} was judged {kernel} by the kernel and {native} here"
    )]
    Rehearsal {
        /// The slot.
        slot: u32,
        /// The packet in words.
        packet: String,
        /// The kernel's verdict.
        kernel: String,
        /// Our own.
        native: String,
    },
    /// A slot without an image was to be put in force.
    #[error("slot {slot} holds no image")]
    EmptySlot {
        /// The slot.
        slot: u32,
    },
    /// The image in force is damaged or has lost its pin.
    #[error(
        "the image in force (slot {slot}) cannot be taken over; it stays in force as it is. \
         To start anew, open to the network for a moment: hostfwd --cleanup"
    )]
    LostImage {
        /// The slot.
        slot: u32,
    },
    /// A device does not take a program.
    #[error("attach to {device} ({hook}, {how})")]
    Attach {
        /// The device's name.
        device: String,
        /// Ingress or egress.
        hook: &'static str,
        /// tcx or clsact.
        how: &'static str,
        /// Why.
        source: Cause,
    },
    /// A link cannot be kept.
    #[error("keep the link of {device}")]
    Link {
        /// The device's name.
        device: String,
        /// Why.
        source: Cause,
    },
    /// A device does not take the classifier queue.
    #[error("prepare {device} for clsact")]
    Clsact {
        /// The device's name.
        device: String,
        /// Why.
        source: Cause,
    },
    /// The device has gone.
    #[error("device {device} has gone")]
    Gone {
        /// The device's name.
        device: String,
        /// Why.
        source: io::Error,
    },
}

impl KernelError {
    /// For `map_err` beside a map.
    pub(super) fn map<E: Into<Cause>>(map: &'static str) -> impl Fn(E) -> Self + Copy {
        move |source| Self::Map { map, source: source.into() }
    }

    /// For `map_err` beside a program.
    pub(super) fn program<E: Into<Cause>>(program: &'static str) -> impl Fn(E) -> Self + Copy {
        move |source| Self::Program { program, source: source.into() }
    }

    /// True when a capability is missing.
    pub fn is_permission(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.kind() == io::ErrorKind::PermissionDenied;
            }
            cause = error.source();
        }
        false
    }

    /// True when the device has gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Refuses a folder whose nearest existing parent is not on a BPF file system.
pub(super) fn check_bpf_folder(path: &Path) -> Result<(), KernelError> {
    let refused = || KernelError::NoBpfFolder { path: path.to_owned() };
    let existing = path.ancestors().find(|parent| parent.exists()).ok_or_else(refused)?;
    let name = std::ffi::CString::new(existing.as_os_str().as_bytes()).map_err(|_nul| refused())?;
    // SAFETY: an all-zero answer is valid and the kernel fills it.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid string with its end, and a live answer.
    let failed = unsafe { libc::statfs(name.as_ptr(), &raw mut answer) } != 0;
    if failed || answer.f_type != BPF_FS_MAGIC { Err(refused()) } else { Ok(()) }
}
