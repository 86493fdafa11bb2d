//! A place where programs can run and nothing of the machine is touched: a
//! network and a mount namespace of the calling thread, with a BPF file system.

use std::{io, path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{AttachMode, Capacity, Kernel, KernelConfig};

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
        let failed = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0;
        if failed {
            return Err(io::Error::last_os_error()).context("make namespaces (root is needed)");
        }
        run("mount", &["--make-rprivate", "/"])?;
        let dir = std::env::temp_dir().join(format!("hostfw-parity-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        run("mount", &["-t", "bpf", "bpf", &dir.display().to_string()])?;
        run("ip", &["link", "set", "lo", "up"])?;
        Ok(Self { dir })
    }

    /// The folder of a set of pins.
    pub fn pins(&self, pins: &str) -> PathBuf {
        self.dir.join(pins)
    }

    /// Loads the programs with pins of their own.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn kernel(&self, pins: &str, show: bool, capacity: Capacity) -> anyhow::Result<Kernel> {
        let config =
            KernelConfig { bpf_dir: self.dir.join(pins), attach: AttachMode::Auto, show, capacity };
        let (kernel, adopted) = Kernel::open(config)?;
        ensure!(adopted.slots.is_empty(), "a fresh folder holds no images");
        Ok(kernel)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let unmounted = run("umount", &["-l", &self.dir.display().to_string()]);
        let removed = std::fs::remove_dir(&self.dir);
        debug_assert!(unmounted.is_ok() && removed.is_ok(), "the sandbox leaves nothing behind");
    }
}

/// Runs a command inside the namespaces.
///
/// # Errors
/// When it cannot run, or fails.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{program} {arguments:?} ended with {status}");
    Ok(())
}
