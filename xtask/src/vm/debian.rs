//! Debian's packages of every suite, beside those of this machine: package lists
//! and an empty state of their own, so that nothing is installed and nothing of
//! the machine's apt changes. Needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};

use crate::run;

/// From the oldest suite with a supported kernel to the newest.
const SUITES: [&str; 6] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"];
/// Those that have an archive for security beside.
const SECURED: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];

/// Where a machine gets them that has no Debian mirror of its own.
const MIRROR: &str = "http://deb.debian.org/debian";

/// Proves the lists; Debian has it, Ubuntu has a package of the same name.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lists older than this are fetched again.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A package that can be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The package lists in a folder.
pub(crate) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Fetches the lists unless they are there and from today.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "state"] {
            fs::create_dir_all(folder.join(part)).context("make a folder for package lists")?;
        }
        let debian = Self { folder: folder.to_owned() };
        let sources = sources(&mirror());
        let (list, stamp) = (folder.join("sources.list"), folder.join("fetched"));
        let same = fs::read_to_string(&list).is_ok_and(|old| old == sources);
        let age = fs::metadata(&stamp).and_then(|file| file.modified()).ok();
        let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
        if same && age.is_some_and(|age| age < STALE) {
            return Ok(debian);
        }
        fs::write(&list, sources).context("write the list of suites")?;
        fs::write(folder.join("status"), "").context("write an empty state")?;
        // One suite that is missing leaves the others usable; a kernel that is
        // not found then is an error of its own.
        match run::shown(debian.apt("apt-get").arg("update")) {
            Ok(()) => fs::write(&stamp, "").context("note when lists were fetched")?,
            Err(error) => println!("package lists are old or not complete: {error:#}"),
        }
        Ok(debian)
    }

    /// A command of apt that sees only these lists. What the machine says of
    /// proxies stays in force.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let places = [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::State", "state"),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::Status", "status"),
            ("Dir::Cache", "cache"),
        ];
        for (setting, place) in places {
            command.arg("-o").arg(format!("{setting}={}", self.folder.join(place).display()));
        }
        let settings = [
            "Dir::Etc::SourceParts=/dev/null",
            "Dir::Etc::Preferences=/dev/null",
            "Dir::Etc::PreferencesParts=/dev/null",
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Acquire::PDiffs=false",
            "Acquire::Retries=3",
        ];
        command.args(settings.iter().flat_map(|setting| ["-o", setting])).arg("-q");
        command
    }

    /// Every package whose name begins and ends like this.
    pub(crate) fn named(&self, begin: &str, end: &str) -> anyhow::Result<Vec<Package>> {
        let names = run::answer(self.apt("apt-cache").args(["pkgnames", begin]))
            .context("apt-cache lists no packages")?;
        let names: Vec<&str> = names.lines().filter(|name| name.ends_with(end)).collect();
        self.obtainable(&names)
    }

    /// Packages of the same version that it needs, whose names begin like this
    /// and that are still there: Debian removes parts of old builds.
    pub(crate) fn parts(&self, package: &Package, begins: &[&str]) -> anyhow::Result<Vec<Package>> {
        let Package { name, version } = package;
        let mut show = self.apt("apt-cache");
        let shown = run::answer(show.arg("show").arg(format!("{name}={version}")))
            .with_context(|| format!("apt-cache does not describe {name}"))?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let needed = depends.unwrap_or_default().split([',', '|']).map(str::trim);
        let needed = needed.filter_map(|one| one.split_whitespace().next());
        let ours = needed.filter(|name| begins.iter().any(|begin| name.starts_with(begin)));
        let mut parts = self.obtainable(&ours.collect::<Vec<_>>())?;
        parts.retain(|part| part.version == *version);
        Ok(parts)
    }

    /// Those of these names that can be downloaded.
    fn obtainable(&self, names: &[&str]) -> anyhow::Result<Vec<Package>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let policy = run::answer(self.apt("apt-cache").arg("policy").args(names))
            .context("apt-cache describes no packages")?;
        Ok(candidates(&policy))
    }

    /// Downloads a package into a folder that holds no other.
    pub(crate) fn download(&self, package: &Package, folder: &Path) -> anyhow::Result<PathBuf> {
        let Package { name, version } = package;
        println!("fetching {name} {version}");
        let mut download = self.apt("apt-get");
        download.arg("download").arg(format!("{name}={version}")).current_dir(folder);
        let output = download.output().context("start apt-get")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{name} {version} cannot be downloaded: {}", said.trim());
        }
        let begin = format!("{name}_");
        let entries = fs::read_dir(folder).context("list what was downloaded")?;
        entries
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
            .map(|entry| entry.path())
            .with_context(|| format!("apt-get has not downloaded {name}"))
    }
}

/// The mirror that this machine is set up with, or everybody's.
fn mirror() -> String {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let answer = run::answer(&mut ask).unwrap_or_default();
    let ours = answer.lines().map(|line| line.trim_end_matches('/'));
    ours.filter(|line| line.ends_with("/debian")).map(str::to_owned).next().unwrap_or(MIRROR.into())
}

fn sources(mirror: &str) -> String {
    let line = |archive: &str, suite: &str| {
        // Packages only: neither icons nor lists of files.
        format!("deb [target=Packages signed-by={KEYRING}] {archive} {suite} main\n")
    };
    let security = format!("{mirror}-security");
    let plain = SUITES.iter().map(|suite| line(mirror, suite));
    plain.chain(SECURED.iter().map(|suite| line(&security, suite))).collect()
}

/// Names and candidates in what `apt-cache policy` says.
fn candidates(policy: &str) -> Vec<Package> {
    let mut found = Vec::new();
    let mut name = "";
    for line in policy.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            name = heading;
        }
        let candidate = line.trim().strip_prefix("Candidate: ");
        if let Some(version) = candidate.filter(|version| *version != "(none)") {
            found.push(Package { name: name.to_owned(), version: version.to_owned() });
        }
    }
    found
}

/// True when Debian holds the first version for the newer one.
pub(crate) fn is_newer(version: &str, than: &str) -> bool {
    let mut compare = Command::new("dpkg");
    compare.args(["--compare-versions", version, "gt", than]);
    run::answer(&mut compare).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_read_with_their_names() {
        let policy = "linux-image-a:\n  Installed: (none)\n  Candidate: 6.1.5-1\n  Version table:\n     \
                      6.1.5-1 500\nlinux-image-b:\n  Installed: (none)\n  Candidate: (none)\n";
        let package = Package { name: "linux-image-a".into(), version: "6.1.5-1".into() };
        assert_eq!(candidates(policy), [package]);
    }

    #[test]
    fn security_has_an_archive_beside_the_mirror() {
        let sources = sources("http://mirror.example/debian");
        assert!(sources.contains("] http://mirror.example/debian sid main\n"), "{sources}");
        let security = "] http://mirror.example/debian-security bullseye-security main\n";
        assert!(sources.contains(security), "{sources}");
        assert_eq!(sources.lines().count(), SUITES.len() + SECURED.len());
    }
}
