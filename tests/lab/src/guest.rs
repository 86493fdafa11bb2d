//! A host with an operating system and the kernel of this machine: a folder that
//! systemd-nspawn boots in the network namespace of the host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hostfw_scenario::{Host, Process, eventually};

use crate::{JOURNAL, Said, given};

/// What a boot takes at most.
const BOOT: Duration = Duration::from_secs(60);

/// A host with an operating system.
pub struct Guest<'host> {
    host: &'host Host,
    name: String,
    folder: PathBuf,
    process: Option<Process>,
    leader: u32,
}

impl<'host> Guest<'host> {
    /// A guest that is switched off.
    pub fn new(host: &'host Host) -> Self {
        let folder = host.folder().join("guest");
        fs::create_dir_all(&folder).expect("a folder for the guest");
        Self { host, name: host.namespace().into(), folder, process: None, leader: 0 }
    }

    /// Switches it on and waits until everything is started.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn boot(&mut self) {
        let mut command = self.host.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", include_str!("boot.sh")]);
        command.env("NAME", &self.name).env("FOLDER", &self.folder);
        command.env("BASE", given("HOSTFW_LAB_ROOT")).env("PACKAGES", given("HOSTFW_LAB_PACKAGES"));
        let process = Process::start("boot", self.host.folder(), &mut command);
        let id = process.id();
        self.process = Some(process);
        // The only child of systemd-nspawn is the first process of the guest.
        let children = format!("/proc/{id}/task/{id}/children");
        let up = eventually(BOOT, || {
            let leader = fs::read_to_string(&children).ok()?;
            self.leader = leader.split_whitespace().next()?.parse().ok()?;
            let state = self.run("systemctl is-system-running").text;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        assert!(up.is_some(), "{} does not come up", self.name);
    }

    /// Switches it off in an orderly way.
    ///
    /// # Panics
    /// When it does not go down.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.process.take().expect("it is on").stop();
    }

    /// Runs a line of shell on the guest.
    pub fn run(&self, line: &str) -> Said {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["--root", "--wd", "env", "-i", PATH, "LC_ALL=C", "sh", "-c"]);
        let output = command.arg(format!("exec 2>&1; {line}")).output().expect("nsenter runs");
        let text = [output.stdout, output.stderr].concat();
        Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs a line of shell that must end well, and gives what it wrote.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn does(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.ok, "{line}\n{}\n{}", said.text, self.run(JOURNAL).text);
        said.text
    }

    /// Writes a file on the guest.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap_or_else(|error| panic!("write {path}: {error}"));
    }

    /// Whether there is such a file or folder on the guest.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.leader)).join(path.trim_start_matches('/'))
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.is_some() {
            eprintln!("--- the journal:\n{}---", self.run(JOURNAL).text);
        }
        // The guest ends with its first process, and systemd-nspawn with the
        // guest; what is left then is the empty control group.
        if self.process.is_some() {
            let leader = self.leader.to_string();
            drop(Command::new("kill").args(["-KILL", &leader]).status());
        }
        drop(self.process.take());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups =
            mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [_, place, "cgroup2", ..] => Some(place.to_owned()),
                _ => None,
            });
        let Some(groups) = groups else { return };
        let group = Path::new(&groups).join(&self.name);
        if eventually(Duration::from_secs(5), || remove_groups(&group).ok()).is_none() {
            eprintln!("the control group {} stays", group.display());
        }
    }
}

/// Removes a control group and those below it; the files in it are the kernel's.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(group)?.flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
