//! A .rpm from a folder that is laid out: a spec, and rpmbuild.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{
    MAINTAINER, Release, epoch_s, filled,
    layout::{Entry, Role},
    moment,
};
use crate::run;

/// Describes the folder in a spec and packs it.
pub(crate) fn write(
    release: &Release,
    entries: &[Entry],
    stage: &Path,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let Release { version, revision, machine, epoch_s } = release;
    let files: String = entries.iter().map(|entry| line(entry) + "\n").collect();
    let values = [
        ("VERSION", version.as_str()),
        ("REVISION", &revision.to_string()),
        ("MAINTAINER", MAINTAINER),
        ("STAGE", &stage.to_string_lossy()),
        ("FILES", files.trim_end()),
        ("DAY", &moment(*epoch_s, "+%a %b %d %Y")?),
    ];
    let spec = folder.join("hostfw.spec");
    fs::write(&spec, filled("packaging/rpm/hostfw.spec", &values)?)
        .with_context(|| format!("write {}", spec.display()))?;

    let cpu = machine.cpu();
    pack(&spec, folder, cpu, *epoch_s)?;
    Ok(folder.join(format!("RPMS/{cpu}/hostfw-{version}-{revision}.{cpu}.rpm")))
}

/// What a host that lives by dnf has from the start, on one that does not.
pub(crate) fn base(folder: &Path) -> anyhow::Result<PathBuf> {
    pack(&run::root().join("tests/lab/base.spec"), folder, "noarch", epoch_s()?)?;
    Ok(folder.join("RPMS/noarch/base-1-1.noarch.rpm"))
}

fn pack(spec: &Path, folder: &Path, cpu: &str, epoch_s: u64) -> anyhow::Result<()> {
    let mut pack = Command::new("rpmbuild");
    pack.env("SOURCE_DATE_EPOCH", epoch_s.to_string());
    pack.arg("-bb").arg("--quiet").args(["--target", &format!("{cpu}-linux")]);
    pack.arg("--define").arg(format!("_topdir {}", folder.display())).arg(spec);
    run::shown(&mut pack)
}

/// The entry as a spec lists it.
fn line(Entry { from, to, mode, role }: &Entry) -> String {
    let role = match (from, role) {
        (None, _) => "%dir ",
        (Some(_), Role::Config) => "%config(noreplace) ",
        (Some(_), Role::Documentation) => "%doc ",
        (Some(_), Role::Licence) => "%license ",
        (Some(_), Role::Plain | Role::Compressed) => "",
    };
    format!("{role}%attr({mode:04o},root,root) /{to}")
}
