//! A lab: its name, its folder, its namespaces, and taking all of it away.
//!
//! Knows nothing about what runs on the hosts.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::{Host, syscall};

/// Everything one test makes.
pub struct Lab {
    name: String,
    folder: PathBuf,
    namespaces: RefCell<Vec<String>>,
}

impl Lab {
    /// Takes away what an earlier run of the same test left, and starts anew.
    ///
    /// # Panics
    /// Without the privilege to make namespaces and mounts: a test that cannot
    /// see real packets has not passed.
    pub fn new(test: &str) -> Self {
        let name = format!("hfw{:08x}", hash(test));
        let folder = std::env::temp_dir().join(&name);
        let lab = Self { name, folder, namespaces: RefCell::default() };
        lab.clean();
        fs::create_dir_all(&lab.folder).expect("a folder for the lab");
        lab
    }

    /// A host of its own: a network namespace with loopback up, a folder, and a
    /// file system for pinned BPF objects.
    pub fn host(&self, name: &str) -> Host {
        let namespace = format!("{}-{name}", self.name);
        self.namespaces.borrow_mut().push(namespace.clone());
        add_namespace(&namespace);
        Host::new(name, &namespace, &self.folder.join(name))
    }

    /// Where the lab keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A cable between two hosts. Device names and hardware addresses are
    /// given, addresses and state are the caller's business.
    pub fn cable(&self, one: (&Host, &str, &str), other: (&Host, &str, &str)) {
        one.0.ip(&format!(
            "link add {} address {} type veth peer name {} address {} netns {}",
            one.1,
            one.2,
            other.1,
            other.2,
            other.0.namespace()
        ));
    }

    fn clean(&self) {
        let prefix = format!("{}-", self.name);
        let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        for entry in names {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                kill_all_in(&entry.path());
                delete_namespace(&name);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        for target in ours.filter(|target| target.starts_with(&self.folder)) {
            if let Err(error) = syscall::unmount(target) {
                eprintln!("unmount {}: {error}", target.display());
            }
        }
        if self.folder.exists()
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            eprintln!("remove {}: {error}", self.folder.display());
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("HOSTFW_KEEP_LAB").is_some() && std::thread::panicking() {
            eprintln!("kept: {} and namespaces {:?}", self.folder.display(), self.namespaces);
        } else {
            self.clean();
        }
    }
}

/// One at a time: iproute2 prepares its folder when the first one is made.
static NAMESPACES: Mutex<()> = Mutex::new(());

fn add_namespace(name: &str) {
    let _one = NAMESPACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let output = Command::new("ip").args(["netns", "add", name]).output().expect("ip is there");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "make a network namespace (needs root): {text}");
}

fn delete_namespace(name: &str) {
    let _one = NAMESPACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let status = Command::new("ip").args(["netns", "delete", name]).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("the namespace {name} could not be deleted");
    }
}

/// Ends every process in a namespace of a lab: only a lab starts them there.
fn kill_all_in(namespace: &Path) {
    use std::os::linux::fs::MetadataExt;
    let Ok(wanted) = fs::metadata(namespace) else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(network) = fs::metadata(entry.path().join("ns/net")) else { continue };
        if (network.st_dev(), network.st_ino()) == (wanted.st_dev(), wanted.st_ino())
            && process != std::process::id()
            && let Err(error) = syscall::signal(process, libc::SIGKILL)
        {
            eprintln!("end process {process} of an earlier run: {error}");
        }
    }
}

/// FNV-1a over the name, folded to 32 bits.
fn hash(name: &str) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash >> 32) as u32 ^ hash as u32
}
