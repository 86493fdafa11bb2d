//! Prepares what the lab needs and runs its tests: the packages, built from
//! development binaries, a Debian in a folder to install them on, and kernels
//! that start it on a machine of its own. The last two are fetched.
//!
//! What is tested is known to the tests.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context;

use crate::{bpf, package, run, setup, vm};

/// The oldest release that packages are for, so the oldest systemd.
const SUITE: &str = "bookworm";

/// What the hosts of the lab consist of: an operating system, with what finds
/// its devices, the services of a cluster, what installs the other kind of
/// packages, and what Ansible needs.
const SYSTEM: &str = "systemd,systemd-sysv,udev,kmod,iproute2,openssh-server,etcd-server,chrony,\
                      nginx-light,socat,dnf,rpm,python3-apt";

/// The kernels that whole machines run: one without tcx and one with it.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// None of them is started before a test wants it.
const ASLEEP: &str = "chroot \"$1\" systemctl disable ssh etcd chrony nginx";

/// Installs what is missing, then prepares and runs the tests.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::run(false)?;
    setup::packages()?;
    bpf::build()?;
    packages()?;
    fetch()?;
    let mut cargo = run::cargo(&["test", "--no-fail-fast", "--package", "hostfw-lab"]);
    run::shown(cargo.envs(places()))
}

/// Fetches the kernels and the Debian that machines run, and builds nothing.
pub(crate) fn fetch() -> anyhow::Result<()> {
    vm::for_disks(&KERNELS, &folder().join("kernels"))?;
    system()
}

/// Builds the packages that hosts of the lab install.
pub(crate) fn packages() -> anyhow::Result<()> {
    package::write_repository(&folder().join("packages"))
}

/// Where the tests find what is prepared for them.
pub(crate) fn places() -> [(&'static str, PathBuf); 3] {
    let place = |variable, name| (variable, folder().join(name));
    [
        place("HOSTFW_LAB_ROOT", SUITE),
        place("HOSTFW_LAB_PACKAGES", "packages"),
        place("HOSTFW_LAB_KERNELS", "kernels"),
    ]
}

fn folder() -> PathBuf {
    run::root().join("target/lab")
}

/// A Debian in a folder, installed once.
fn system() -> anyhow::Result<()> {
    let folder = folder();
    let whole = folder.join(SUITE);
    let list = folder.join(format!("{SUITE}.list"));
    if whole.exists() && fs::read_to_string(&list).is_ok_and(|made_of| made_of == SYSTEM) {
        return Ok(());
    }
    if whole.exists() {
        fs::remove_dir_all(&whole).with_context(|| format!("remove {}", whole.display()))?;
    }
    // Under another name until it is whole.
    let part = folder.join(format!("{SUITE}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    let mut install = Command::new("mmdebstrap");
    install.args(["--variant=minbase", &format!("--include={SYSTEM}")]);
    install.arg(format!("--customize-hook={ASLEEP}"));
    install.arg("--aptopt=APT::Install-Recommends \"false\"");
    for unread in ["man", "locale", "doc"] {
        install.arg(format!("--dpkgopt=path-exclude=/usr/share/{unread}/*"));
    }
    run::shown(&mut run::tied(install.arg(SUITE).arg(&part)))?;
    fs::rename(&part, &whole).with_context(|| format!("write {}", whole.display()))?;
    fs::write(&list, SYSTEM).with_context(|| format!("write {}", list.display()))
}
