//! What a package contains: one table of what comes from where, goes where and
//! has which mode, laid out into a folder that both kinds of packages are made
//! from.
//!
//! Does not know how a package is written.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;

use super::Kind;
use crate::run;

/// What was built for the package.
pub(crate) struct Made {
    pub(crate) hostfwd: PathBuf,
    pub(crate) hostfw: PathBuf,
    /// What the programs are made of.
    pub(crate) sbom: PathBuf,
    /// What the licences of the packages in them want to see.
    pub(crate) notices: PathBuf,
    /// The configuration that a host begins with.
    pub(crate) config: PathBuf,
    /// A folder of manual pages and completions.
    pub(crate) manual: PathBuf,
}

/// A file or folder of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without one it is a folder that the package owns.
    pub(crate) from: Option<PathBuf>,
    /// From the root on, without the first slash.
    pub(crate) to: String,
    pub(crate) mode: u32,
    pub(crate) role: Role,
}

/// What a package manager should know about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Edited by the administrator, and kept.
    Config,
    Documentation,
    Licence,
    /// Compressed on its way.
    Compressed,
}

/// Everything in the package, in the order of the table.
pub(crate) fn entries(kind: Kind, made: &Made) -> anyhow::Result<Vec<Entry>> {
    let root = run::root();
    let file = |from: PathBuf, to: &str, mode| Entry {
        from: Some(from),
        to: to.to_owned(),
        mode,
        role: Role::Plain,
    };
    let plain = |from: &str, to: &str| file(root.join(from), to, 0o644);
    let folder = |to: &str| Entry { from: None, to: to.into(), mode: 0o755, role: Role::Plain };
    let mut entries = vec![
        file(made.hostfwd.clone(), "usr/sbin/hostfwd", 0o755),
        file(made.hostfw.clone(), "usr/bin/hostfw", 0o755),
        file(made.sbom.clone(), "usr/share/hostfw/hostfw.cdx.json", 0o644),
        folder("etc/hostfw"),
        folder("etc/hostfw/policies.d"),
        folder("etc/hostfw/cluster.d"),
        Entry { role: Role::Config, ..file(made.config.clone(), "etc/hostfw/hostfw.yaml", 0o644) },
        plain("systemd/hostfw.service", "usr/lib/systemd/system/hostfw.service"),
        plain("systemd/hostfw.sysusers.conf", "usr/lib/sysusers.d/hostfw.conf"),
        plain("systemd/hostfw.tmpfiles.conf", "usr/lib/tmpfiles.d/hostfw.conf"),
    ];

    let zsh = match kind {
        Kind::Deb => "usr/share/zsh/vendor-completions/_hostfw",
        Kind::Rpm => "usr/share/zsh/site-functions/_hostfw",
    };
    for (name, to) in [
        ("hostfw.bash", "usr/share/bash-completion/completions/hostfw"),
        ("_hostfw", zsh),
        ("hostfw.fish", "usr/share/fish/vendor_completions.d/hostfw.fish"),
    ] {
        entries.push(file(made.manual.join(name), to, 0o644));
    }
    for page in files(&made.manual, &["1", "8"])? {
        let section = page.extension().unwrap_or_default().to_string_lossy().into_owned();
        let to = format!("usr/share/man/man{section}/{}.gz", name_of(&page));
        entries.push(Entry { role: Role::Compressed, ..file(page, &to, 0o644) });
    }

    for (from, to, ending) in [
        ("docs/schema", "usr/share/hostfw/schema", "json"),
        ("etc/dashboards", "usr/share/hostfw/dashboards", "json"),
        ("docs", "usr/share/doc/hostfw", "md"),
        ("docs/decisions", "usr/share/doc/hostfw/decisions", "md"),
        ("etc/demo/policies.d", "usr/share/doc/hostfw/examples/policies.d", "yaml"),
        ("etc/demo/cluster.d", "usr/share/doc/hostfw/examples/cluster.d", "yaml"),
    ] {
        let role = if ending == "json" { Role::Plain } else { Role::Documentation };
        entries.push(folder(to));
        for path in files(&root.join(from), &[ending])? {
            let to = format!("{to}/{}", name_of(&path));
            entries.push(Entry { role, ..file(path, &to, 0o644) });
        }
    }

    let doc = |name: &str| format!("usr/share/doc/hostfw/{name}");
    match kind {
        Kind::Deb => {
            entries.push(plain("packaging/deb/copyright", &doc("copyright")));
            let changes = plain("CHANGELOG.md", &doc("changelog.gz"));
            entries.push(Entry { role: Role::Compressed, ..changes });
            let notices = file(made.notices.clone(), &doc("notices.txt.gz"), 0o644);
            entries.push(Entry { role: Role::Compressed, ..notices });
            let overrides = "usr/share/lintian/overrides/hostfw";
            entries.push(plain("packaging/deb/lintian-overrides", overrides));
        }
        Kind::Rpm => {
            let changes = plain("CHANGELOG.md", &doc("CHANGELOG.md"));
            entries.push(Entry { role: Role::Documentation, ..changes });
            entries.push(folder("usr/share/licenses/hostfw"));
            for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
                let licence = plain(name, &format!("usr/share/licenses/hostfw/{name}"));
                entries.push(Entry { role: Role::Licence, ..licence });
            }
            let to = "usr/share/licenses/hostfw/notices.txt";
            let notices = file(made.notices.clone(), to, 0o644);
            entries.push(Entry { role: Role::Licence, ..notices });
        }
    }
    Ok(entries)
}

/// Lays the entries out below a folder, each with its mode and one moment.
pub(crate) fn stage(entries: &[Entry], stage: &Path, epoch_s: u64) -> anyhow::Result<()> {
    for entry in entries {
        let to = stage.join(&entry.to);
        let place = if entry.from.is_some() { to.parent().unwrap_or(stage) } else { &to };
        fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
        if let Some(from) = &entry.from {
            let bytes = match entry.role {
                Role::Compressed => compressed(from)?,
                Role::Plain | Role::Config | Role::Documentation | Role::Licence => {
                    fs::read(from).with_context(|| format!("read {}", from.display()))?
                }
            };
            fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
            set_mode(&to, entry.mode)?;
        }
    }
    settle(stage, epoch_s)
}

/// What `gzip` makes of a file, without its name and its moment.
pub(crate) fn compressed(from: &Path) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("gzip").args(["-9nc"]).arg(from).output().context("run gzip")?;
    if !output.status.success() {
        anyhow::bail!("gzip {}: {}", from.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Gives every folder its mode, whatever the umask, and everything its moment.
pub(crate) fn settle(path: &Path, epoch_s: u64) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            settle(&entry.with_context(|| format!("list {}", path.display()))?.path(), epoch_s)?;
        }
        set_mode(path, 0o755)?;
    }
    let moment = UNIX_EPOCH + Duration::from_secs(epoch_s);
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.set_modified(moment).with_context(|| format!("date {}", path.display()))?;
    Ok(())
}

/// Sets the mode of a file or folder.
pub(crate) fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

/// The files of a folder with one of the endings, sorted.
fn files(folder: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_file() && endings.contains(&ending.as_ref()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
