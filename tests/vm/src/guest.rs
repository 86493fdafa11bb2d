//! What a machine needs whose only process we are: file systems, modules, and an
//! end.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use hostfw_parity::sandbox::mount;

/// Modules that the archive holds, in the order of their names.
const MODULES: &str = "/modules";

/// True when we are the first process of a machine that was made for us.
pub(crate) fn is_alone() -> bool {
    std::process::id() == 1
}

/// Mounts what the tests read and loads the modules that were packed.
pub(crate) fn prepare() -> anyhow::Result<()> {
    for (kind, folder) in [(c"proc", "/proc"), (c"sysfs", "/sys"), (c"tmpfs", "/tmp")] {
        fs::create_dir_all(folder).context("make a folder")?;
        mount(kind, Path::new(folder)).with_context(|| format!("mount {folder}"))?;
    }
    let entries = fs::read_dir(MODULES).context("list the modules")?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for module in modules {
        load(&module).with_context(|| format!("load {}", module.display()))?;
    }
    Ok(())
}

fn load(module: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(module)?;
    // SAFETY: a live buffer of that length, and a C string without settings.
    let answer =
        unsafe { libc::syscall(libc::SYS_init_module, bytes.as_ptr(), bytes.len(), c"".as_ptr()) };
    if answer < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Ends the machine.
pub(crate) fn power_off() {
    // SAFETY: the calls take numbers only; nothing is written that could be lost.
    unsafe {
        libc::sync();
        libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF);
    }
}
