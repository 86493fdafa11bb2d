//! A kernel of Debian's for virtual machines: chosen, downloaded, unpacked to
//! what is needed of it, and booted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{
    archive::Archive,
    console::Verdict,
    debian::{self, Debian, Package},
    machine,
};

/// The kernel of a package, unpacked.
pub(crate) struct Kernel {
    package: Package,
    folder: PathBuf,
}

const BEGIN: &str = "linux-image-";
/// Built for virtual machines: small, and with the console built in.
const END: &str = "-cloud-amd64";

/// Begins of the packages that newer kernels are spread over.
const PARTS: [&str; 3] = ["linux-base-", "linux-binary-", "linux-modules-"];

/// Files of an unpacked kernel: its image, and a folder for each set of modules.
const IMAGE: &str = "vmlinuz";
/// What the tests of the programs use.
const TESTED: &str = "modules";
/// What a whole machine finds its disk with,
const DISK: &str = "disk";
/// and what it loads by itself later on.
const LATER: &str = "later";

/// What is kept of all that Debian builds as modules.
const SETS: [(&str, &[&str]); 3] = [
    (TESTED, &["veth", "sch_ingress", "cls_bpf"]),
    (DISK, &["virtio_pci", "virtio_blk", "ext4"]),
    (LATER, &["virtio_net", "virtio_rng", "autofs4", "sch_ingress", "cls_bpf"]),
];

impl Kernel {
    /// The newest build of a series such as `6.12`, or of all.
    pub(crate) fn fetch(debian: &Debian, asked: &str, folder: &Path) -> anyhow::Result<Self> {
        let packages = debian.named(BEGIN, END)?;
        let package = choose(packages, asked, debian::is_newer).with_context(|| {
            format!(
                "Debian has no kernel {asked} (asked for {BEGIN}{asked}*{END} in all suites); \
                 without a network, package lists of an earlier run are used"
            )
        })?;
        let Package { name, version } = &package;
        let kernel = folder.join("kernels").join(format!("{name}_{version}"));
        // One that an earlier version has kept may lack a set.
        if !SETS.iter().all(|(set, _)| kernel.join(set).is_dir()) {
            unpack(debian, &package, &kernel).with_context(|| format!("get kernel {asked}"))?;
        }
        Ok(Self { package, folder: kernel })
    }

    /// Boots it with the test program and reads what that says.
    pub(crate) fn boot(
        &self,
        asked: &str,
        program: &Path,
        folder: &Path,
    ) -> anyhow::Result<Verdict> {
        let archive = folder.join(format!("{asked}.cpio"));
        fs::write(&archive, self.archive(program)?).context("write the archive")?;
        let image = self.folder.join(IMAGE);
        let said = machine::boot(asked, &image, &archive)?;
        let log = folder.join(format!("{asked}.log"));
        fs::write(&log, said.lines.join("\n")).context("keep the console")?;
        let Package { name, version } = &self.package;
        Verdict::read(&said, &format!("{name} {version}"))
    }

    fn archive(&self, program: &Path) -> anyhow::Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "tmp"] {
            archive.folder(folder);
        }
        archive.device("dev/console", [5, 1]);
        archive.program("init", &fs::read(program).context("read the test program")?);
        self.add_modules(TESTED, &mut archive)?;
        Ok(archive.finish())
    }

    /// Writes what a whole machine is started with: the kernel, an archive that
    /// finds the disk and hands over to it, and modules as they lie on that disk.
    pub(crate) fn keep_for_a_disk(&self, busybox: &Path, folder: &Path) -> anyhow::Result<()> {
        let release = self.package.name.strip_prefix("linux-image-").unwrap_or_default();
        let modules = folder.join("root/usr/lib/modules").join(release);
        fs::create_dir_all(&modules).context("make a folder for modules")?;
        fs::copy(self.folder.join(IMAGE), folder.join(IMAGE)).context("copy the kernel")?;
        for (name, bytes) in self.modules(LATER)? {
            // The number before the name is of no use to a system with an index.
            let name = name.split_once('-').map_or(name.as_str(), |(_, name)| name);
            fs::write(modules.join(name), bytes).context("write a module")?;
        }
        let mut archive = Archive::default();
        for place in ["dev", "proc", "sys", "disk"] {
            archive.folder(place);
        }
        archive.device("dev/console", [5, 1]);
        archive.program("busybox", &fs::read(busybox).context("read busybox")?);
        archive.program("init", include_bytes!("init.sh"));
        self.add_modules(DISK, &mut archive)?;
        fs::write(folder.join("initrd"), archive.finish()).context("write the archive")
    }

    /// Packs a set of modules into the folder `modules`.
    fn add_modules(&self, set: &str, archive: &mut Archive) -> anyhow::Result<()> {
        archive.folder("modules");
        for (name, bytes) in self.modules(set)? {
            archive.file(&format!("modules/{name}"), &bytes);
        }
        Ok(())
    }

    /// The modules of a set, by file name.
    fn modules(&self, set: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let files = fs::read_dir(self.folder.join(set)).context("list modules")?.flatten();
        let read = |entry: fs::DirEntry| {
            let bytes = fs::read(entry.path()).context("read a module")?;
            Ok((entry.file_name().to_string_lossy().into_owned(), bytes))
        };
        files.map(read).collect()
    }
}

/// The newest package of a series, or of all for `newest`.
fn choose(
    packages: Vec<Package>,
    asked: &str,
    is_newer: impl Fn(&str, &str) -> bool,
) -> Option<Package> {
    let fits = |package: &Package| {
        let release = package.name.strip_prefix(BEGIN)?;
        // Packages that only depend on the newest build carry no third number.
        let is_build = release.split(['.', '+', '-']).nth(2)?.parse::<u32>().is_ok();
        let rest = if asked == "newest" { Some(".") } else { release.strip_prefix(asked) };
        Some(is_build && rest?.starts_with(['.', '+', '-']))
    };
    packages
        .into_iter()
        .filter(|package| fits(package) == Some(true))
        .reduce(|best, next| if is_newer(&next.version, &best.version) { next } else { best })
}

/// Downloads a kernel and keeps its image and a few modules.
fn unpack(debian: &Debian, package: &Package, kernel: &Path) -> anyhow::Result<()> {
    let beside = kernel.with_file_name(format!("unpacking-{}", package.name));
    if beside.exists() {
        fs::remove_dir_all(&beside).context("remove what an earlier run has left")?;
    }
    let (tree, kept) = (beside.join("tree"), beside.join("kept"));
    fs::create_dir_all(&kept).context("make a folder")?;
    let mut packages = vec![package.clone()];
    packages.extend(debian.parts(package, &PARTS)?);
    for package in &packages {
        let file = debian.download(package, &beside)?;
        let mut extract = Command::new("dpkg-deb");
        let status = extract.arg("-x").arg(file).arg(&tree).status().context("start dpkg-deb")?;
        ensure!(status.success(), "dpkg-deb cannot unpack {}", package.name);
    }
    let files = files(&tree)?;
    let image = files.iter().find(|file| name(file).starts_with(IMAGE));
    let image = image.with_context(|| {
        format!("{} holds no image, and the package that does has left Debian", package.name)
    })?;
    fs::copy(image, kept.join(IMAGE)).context("keep the image")?;
    for (set, wanted) in SETS {
        fs::create_dir(kept.join(set)).context("make a folder for modules")?;
        for (number, (name, bytes)) in modules(&files, wanted)?.into_iter().enumerate() {
            // Loaded in the order of their names.
            let file = kept.join(set).join(format!("{number:02}-{name}.ko"));
            fs::write(file, bytes).context("keep a module")?;
        }
    }
    if kernel.exists() {
        fs::remove_dir_all(kernel).context("remove what an earlier version has kept")?;
    }
    fs::rename(&kept, kernel).context("keep the kernel")?;
    fs::remove_dir_all(&beside).context("remove what is not needed of the kernel")
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All files below a folder; links are not followed.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).context("list what was unpacked")?.flatten() {
            let kind = entry.file_type().context("look at what was unpacked")?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The modules that are wanted and those that they need, each after what it
/// needs, without those that are built in.
fn modules(files: &[PathBuf], wanted: &[&str]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let by_name: BTreeMap<String, &PathBuf> =
        files.iter().filter_map(|file| Some((module_name(&name(file))?, file))).collect();
    // Of some old builds only the list is gone; what is not found then is an
    // error all the same.
    let builtin = files.iter().find(|file| name(file) == "modules.builtin");
    let builtin = builtin.map_or_else(|| Ok(String::new()), fs::read_to_string);
    let builtin = builtin.context("read the list of built-in modules")?;
    let builtin: Vec<String> =
        builtin.lines().filter_map(|line| module_name(line.rsplit('/').next()?)).collect();
    let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
    let mut wanted: Vec<String> = wanted.iter().rev().map(|name| (*name).to_owned()).collect();
    while let Some(name) = wanted.last().cloned() {
        let is_done = builtin.contains(&name) || loaded.iter().any(|(known, _)| *known == name);
        if is_done {
            wanted.pop();
            continue;
        }
        let file = by_name.get(&name).with_context(|| {
            format!("module {name} is in none of the packages that Debian still has")
        })?;
        let bytes = plain(file)?;
        let needs = needs(&bytes).into_iter().filter(|need| {
            !builtin.contains(need) && !loaded.iter().any(|(known, _)| known == need)
        });
        let needs: Vec<String> = needs.collect();
        if needs.is_empty() {
            loaded.push((name, bytes));
            wanted.pop();
        } else {
            ensure!(wanted.len() < 64, "module {name} needs itself");
            wanted.extend(needs);
        }
    }
    Ok(loaded)
}

/// `cls_bpf` for `cls-bpf.ko` and `cls_bpf.ko.xz`.
fn module_name(file: &str) -> Option<String> {
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// A module as the kernel takes it.
fn plain(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.extension().is_none_or(|end| end != "xz") {
        return fs::read(file).context("read a module");
    }
    let output = Command::new("xz").arg("-dc").arg(file).output().context("start xz")?;
    ensure!(output.status.success(), "xz cannot read {}", file.display());
    Ok(output.stdout)
}

/// The modules named in a module's own description, `depends=a,b`.
fn needs(module: &[u8]) -> Vec<String> {
    let fields = module.split(|byte| *byte == 0);
    let depends = fields.filter_map(|field| field.strip_prefix(b"depends=")).next();
    let depends = String::from_utf8_lossy(depends.unwrap_or_default()).replace('-', "_");
    depends.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into() }
    }

    #[test]
    fn the_newest_build_of_a_series_is_chosen() {
        let packages = vec![
            package("linux-image-6.1-cloud-amd64", "6.1.99-1"),
            package("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1"),
            package("linux-image-6.1.0-10-cloud-amd64", "6.1.10-1"),
            package("linux-image-6.12.5+deb13-cloud-amd64", "6.12.5-1"),
            package("linux-image-cloud-amd64", "9"),
        ];
        let chosen = |asked| {
            let number = |version: &str| -> Vec<u32> {
                version.split(['.', '-']).filter_map(|part| part.parse().ok()).collect()
            };
            let newest = |one: &str, other: &str| number(one) > number(other);
            choose(packages.clone(), asked, newest).map(|package| package.version)
        };
        assert_eq!(chosen("6.1").as_deref(), Some("6.1.10-1"));
        assert_eq!(chosen("6.12").as_deref(), Some("6.12.5-1"));
        assert_eq!(chosen("newest").as_deref(), Some("6.12.5-1"));
        assert_eq!(chosen("6.1.0-9").as_deref(), Some("6.1.9-1"));
        assert_eq!(chosen("4.19"), None);
        assert_eq!(chosen("6").as_deref(), Some("6.12.5-1"));
    }

    #[test]
    fn a_module_names_what_it_needs() {
        assert_eq!(needs(b"\x7fELF\0\0license=GPL\0depends=a,b-c\0x"), ["a", "b_c"]);
        assert_eq!(needs(b"depends=\0"), [""; 0]);
        assert_eq!(module_name("cls_bpf.ko.xz").as_deref(), Some("cls_bpf"));
        assert_eq!(module_name("modules.order"), None);
    }
}
