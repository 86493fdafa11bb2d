//! A place where programs can run and nothing of the machine is touched: a
//! network and a mount namespace of the calling thread, with a BPF file system.
//! Needs no other program, so that it works as the only process of a machine.

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr,
};

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{AttachMode, Capacity, Kernel, KernelConfig};

use crate::network::Network;

/// The namespaces of one test; they end with its thread.
pub struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    /// Moves the calling thread into namespaces of its own, named after the
    /// test.
    ///
    /// # Errors
    /// Without root, or without a BPF file system.
    pub fn enter(name: &str) -> anyhow::Result<Self> {
        // SAFETY: the call changes only the namespaces of this thread.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })
            .context("make namespaces (root is needed)")?;
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: the target is a C string; the others may be null for these
        // flags (mount(2)).
        let private =
            unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) };
        check(private).context("keep mounts to this thread")?;
        let dir = std::env::temp_dir().join(format!("hostfw-parity-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        mount(c"bpf", &dir).context("mount a BPF file system")?;
        Network::here()?.up("lo")?;
        Ok(Self { dir })
    }

    /// The folder of a set of pins.
    pub fn pins(&self, pins: &str) -> PathBuf {
        self.dir.join(pins)
    }

    /// What programs with those pins are loaded by.
    pub fn config(&self, pins: &str, capacity: Capacity) -> KernelConfig {
        KernelConfig {
            bpf_dir: self.pins(pins),
            attach: AttachMode::Auto,
            capacity,
            reports_per_s: KernelConfig::REPORTS_PER_S,
        }
    }

    /// Loads the programs with pins of their own.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn kernel(&self, pins: &str, capacity: Capacity) -> anyhow::Result<Kernel> {
        let (kernel, adopted) = Kernel::open(self.config(pins, capacity))?;
        ensure!(adopted.slots.is_empty(), "a fresh folder holds no images");
        Ok(kernel)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let target = CString::new(self.dir.as_os_str().as_bytes()).expect("a path without zeros");
        // SAFETY: the target is a C string.
        let unmounted = check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) });
        let removed = std::fs::remove_dir(&self.dir);
        debug_assert!(unmounted.is_ok() && removed.is_ok(), "the sandbox leaves nothing behind");
    }
}

/// Mounts a fresh file system that needs no device.
///
/// # Errors
/// What the kernel said.
pub fn mount(kind: &CStr, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: all three strings are C strings; no further settings are passed.
    check(unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, ptr::null()) })
}

fn check(answer: i32) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
