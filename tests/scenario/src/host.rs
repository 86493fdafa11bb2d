//! One host of a lab: a network namespace to enter, to configure and to start
//! programs in.
//!
//! Programs are started by entering the namespace directly: `ip netns exec`
//! would hide /sys/fs/bpf from them.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::syscall;

/// A network namespace with a folder and a mount for pinned BPF objects.
pub struct Host {
    name: String,
    namespace: String,
    entry: File,
    folder: PathBuf,
}

impl Host {
    pub(crate) fn new(name: &str, namespace: &str, folder: &Path) -> Self {
        let entry = File::open(Path::new("/run/netns").join(namespace)).expect("the new namespace");
        let bpf = folder.join("bpf");
        fs::create_dir_all(&bpf).expect("a folder for the host");
        let target = syscall::c_path(&bpf).expect("a path without zero bytes");
        syscall::mount(c"bpf", &target).expect("mount a bpffs (needs root)");
        let host =
            Self { name: name.into(), namespace: namespace.into(), entry, folder: folder.into() };
        host.ip("link set lo up");
        // Addresses shall be usable at once, and nobody else has them.
        host.sysctl("net/ipv6/conf/all/accept_dad", "0");
        host.sysctl("net/ipv6/conf/default/accept_dad", "0");
        host
    }

    /// The name the test gave.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the namespace, for `ip -n`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The folder of this host; its file system for pins is `bpf` inside.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs lines of `ip`, as `ip -batch` reads them.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        self.batch("ip", lines);
    }

    /// As [`Self::ip`], and says whether the kernel could do it.
    pub fn try_ip(&self, lines: &str) -> bool {
        self.try_batch("ip", lines).is_ok()
    }

    /// Runs lines of `bridge`, as `bridge -batch` reads them.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn bridge(&self, lines: &str) {
        self.batch("bridge", lines);
    }

    /// Loads a ruleset of nftables.
    ///
    /// # Panics
    /// When it is not taken.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        let mut child = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft (package nftables) is installed");
        let mut input = child.stdin.take().expect("a pipe was asked for");
        input.write_all(rules.as_bytes()).expect("nft reads its input");
        drop(input);
        assert!(child.wait().expect("nft ends").success(), "nft takes the rules\n{rules}");
    }

    /// Packets that a named counter of nftables, `inet beside NAME`, has seen.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn nft_packets(&self, name: &str) -> u64 {
        let output = self.command("nft").args(["list", "counter", "inet", "beside", name]).output();
        let text = output.expect("nft (package nftables) is installed").stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let packets = words.windows(2).find(|words| words[0] == "packets");
        let packets = packets.and_then(|words| words[1].parse().ok());
        packets.unwrap_or_else(|| panic!("{} has no counter {name}: {text}", self.name))
    }

    #[track_caller]
    fn batch(&self, program: &str, lines: &str) {
        if let Err(text) = self.try_batch(program, lines) {
            panic!("{program} on {}: {text}\n{lines}", self.name);
        }
    }

    fn try_batch(&self, program: &str, lines: &str) -> Result<(), String> {
        let mut child = Command::new(program)
            .args(["-n", &self.namespace, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("iproute2 is installed");
        let mut input = child.stdin.take().expect("a pipe was asked for");
        input.write_all(lines.as_bytes()).expect("iproute2 reads its input");
        drop(input);
        let output = child.wait_with_output().expect("iproute2 ends");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// What a line of `ip` prints.
    pub fn ip_output(&self, arguments: &[&str]) -> String {
        let output = Command::new("ip").args(["-n", &self.namespace]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("iproute2 is installed").stdout).into_owned()
    }

    /// Writes a setting of the network stack.
    ///
    /// # Panics
    /// When the kernel does not take it.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys").join(key);
        self.inside(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }

    /// Runs a function on a thread inside the namespace. Sockets that it opens
    /// belong to this host for as long as they live.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let entry = &self.entry;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                syscall::enter_network(entry).expect("enter the namespace (needs root)");
                act()
            });
            match thread.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a function on a thread of its own inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let entry = self.entry.try_clone().expect("a descriptor can be duplicated");
        std::thread::spawn(move || {
            syscall::enter_network(&entry).expect("enter the namespace (needs root)");
            act()
        })
    }

    /// A command that will run inside the namespace and die with the test.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let entry = self.entry.try_clone().expect("a descriptor can be duplicated");
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        // SAFETY: between fork and exec only two system calls are made; nothing
        // is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                syscall::enter_network(&entry)?;
                syscall::die_with_parent()
            });
        }
        command
    }

    /// The number of a device.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn ifindex(&self, device: &str) -> u32 {
        let text = self.ip_output(&["-o", "link", "show", "dev", device]);
        let number = text.split(':').next().and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{} has no device {device}", self.name))
    }
}
