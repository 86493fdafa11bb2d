//! A .deb from a folder that is laid out: its control files, and dpkg-deb.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{
    MAINTAINER, Release, filled,
    layout::{self, Entry, Role},
    moment,
};
use crate::run;

/// Adds what only Debian wants to the folder and packs it.
pub(crate) fn write(
    release: &Release,
    entries: &[Entry],
    stage: &Path,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let Release { version, revision, machine, epoch_s } = release;
    changelog(release, stage, folder)?;

    let control = stage.join("DEBIAN");
    let put = |name: &str, text: &str, mode| {
        let path = control.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        layout::set_mode(&path, mode)
    };
    let sums = sums(stage)?;
    let size_kib = size_kib(stage)?;
    fs::create_dir_all(&control).with_context(|| format!("create {}", control.display()))?;
    let values = [
        ("VERSION", version.as_str()),
        ("REVISION", &revision.to_string()),
        ("ARCHITECTURE", machine.debian()),
        ("MAINTAINER", MAINTAINER),
        ("SIZE_KIB", &size_kib.to_string()),
    ];
    put("control", &filled("packaging/deb/control", &values)?, 0o644)?;
    put("md5sums", &sums, 0o644)?;
    let kept = entries.iter().filter(|entry| entry.role == Role::Config);
    put("conffiles", &kept.map(|entry| format!("/{}\n", entry.to)).collect::<String>(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        put(script, &filled(&format!("packaging/deb/{script}"), &[])?, 0o755)?;
    }
    layout::settle(stage, *epoch_s)?;

    let file = folder.join(format!("hostfw_{version}-{revision}_{}.deb", machine.debian()));
    let mut pack = Command::new("dpkg-deb");
    // Several threads would cut the stream by the number of processors.
    pack.env("SOURCE_DATE_EPOCH", epoch_s.to_string()).env("DPKG_DEB_THREADS_MAX", "1");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(stage).arg(&file);
    run::shown(&mut pack)?;
    Ok(file)
}

/// Debian's own changelog, which says where the real one is.
fn changelog(release: &Release, stage: &Path, folder: &Path) -> anyhow::Result<()> {
    let Release { version, revision, epoch_s, .. } = release;
    let date = moment(*epoch_s, "+%a, %d %b %Y %H:%M:%S +0000")?;
    let text = format!(
        "hostfw ({version}-{revision}) unstable; urgency=medium\n\n  \
         * What is new stands in changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
    );
    let plain = folder.join("changelog.Debian");
    fs::write(&plain, text).with_context(|| format!("write {}", plain.display()))?;
    let to = stage.join("usr/share/doc/hostfw/changelog.Debian.gz");
    fs::write(&to, layout::compressed(&plain)?)
        .with_context(|| format!("write {}", to.display()))?;
    layout::set_mode(&to, 0o644)
}

/// Paths and sums of all files, as dpkg verifies them.
fn sums(stage: &Path) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for path in all_files(stage)? {
        let mut md5sum = Command::new("md5sum");
        md5sum.arg(path.strip_prefix(stage).unwrap_or(&path)).current_dir(stage);
        lines.push(run::answer(&mut md5sum).context("run md5sum")? + "\n");
    }
    Ok(lines.concat())
}

/// What the package takes on a disk.
fn size_kib(stage: &Path) -> anyhow::Result<u64> {
    let mut size_kib = 0;
    for path in all_files(stage)? {
        let length = fs::metadata(&path).with_context(|| format!("read {}", path.display()))?.len();
        size_kib += length.div_ceil(1024);
    }
    Ok(size_kib)
}

fn all_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() { found.extend(all_files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}
