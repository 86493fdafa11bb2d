//! Installs what is missing to build and to test, and says exactly what it does.
//!
//! What is missing is decided by looking for programs and files, so that a
//! machine that was prepared by other means is left alone. Knows Debian's and
//! Ubuntu's packages; elsewhere it prints what to install.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{bpf::Compiler, deny, run, vm::KEYRING};

const LINKER: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built for.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Something that must be there, how to see it, and the packages that bring it
/// (the first one that the system's archives know is taken).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    what: &'static str,
    proof: Proof,
    packages: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Program(&'static str),
    File(PathBuf),
}

impl Need {
    fn program(what: &'static str, name: &'static str, packages: &[&str]) -> Self {
        let packages = packages.iter().map(|&package| package.to_owned()).collect();
        Self { what, proof: Proof::Program(name), packages }
    }

    fn file(what: &'static str, path: impl Into<PathBuf>, package: String) -> Self {
        Self { what, proof: Proof::File(path.into()), packages: vec![package] }
    }

    fn is_met(&self) -> bool {
        match &self.proof {
            Proof::Program(name) => run::find_program(name).is_some(),
            Proof::File(path) => path.exists(),
        }
    }
}

/// The servers and tools that scenarios and the demo use.
fn test_tools() -> Vec<Need> {
    vec![
        Need::program("ssh server", "sshd", &["openssh-server"]),
        Need::program("ssh client", "ssh", &["openssh-client"]),
        Need::program("etcd server", "etcd", &["etcd-server", "etcd"]),
        Need::program("web server", "nginx", &["nginx-light", "nginx"]),
        Need::program("network set-up", "ip", &["iproute2"]),
        Need::program("BPF inspection", "bpftool", &["bpftool", "linux-tools-common"]),
        Need::program("packet filter to compare with", "nft", &["nftables"]),
        Need::program("DHCP server", "dnsmasq", &["dnsmasq-base"]),
        Need::program("DHCP client", "udhcpc", &["udhcpc"]),
        Need::program("DHCPv6 client", "dhcpcd", &["dhcpcd-base", "dhcpcd5"]),
        Need::program("WireGuard set-up", "wg", &["wireguard-tools"]),
        Need::program("packet capture", "tcpdump", &["tcpdump"]),
        Need::program("process tools", "sysctl", &["procps"]),
    ]
}

/// What benchmarks compare with.
fn benchmark_tools() -> Vec<Need> {
    vec![
        Need::program("emptying of netfilter's connections", "conntrack", &["conntrack"]),
        Need::program("iptables over nftables", "iptables-nft-restore", &["iptables"]),
    ]
}

/// What other kernels are fetched and emulated with.
fn machine_tools() -> Vec<Need> {
    vec![
        Need::program("emulator for other kernels", "qemu-system-x86_64", &["qemu-system-x86"]),
        Need::program("unpacking of kernel packages", "dpkg-deb", &["dpkg"]),
        Need::program("unpacking of kernel modules", "xz", &["xz-utils"]),
        Need::file("Debian's keys", KEYRING, "debian-archive-keyring".into()),
    ]
}

/// What packages are built and judged with.
fn package_tools() -> Vec<Need> {
    vec![
        Need::program("building of .deb packages", "dpkg-deb", &["dpkg"]),
        Need::program("building of .rpm packages", "rpmbuild", &["rpm"]),
        Need::program("judge of .deb packages", "lintian", &["lintian"]),
        Need::program("judge of .rpm packages", "rpmlint", &["rpmlint"]),
        Need::program("linker for arm64", "aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu"]),
        Need::file(
            "C library for arm64",
            "/usr/aarch64-linux-gnu/lib/libc.a",
            "libc6-dev-arm64-cross".into(),
        ),
        Need::program("running of arm64 programs", "qemu-aarch64", &["qemu-user"]),
        Need::program("judge of units", "systemd-analyze", &["systemd"]),
    ]
}

/// What judges and carries out what others roll out with.
fn rollout_tools() -> Vec<Need> {
    vec![
        Need::program("judge of scripts", "shellcheck", &["shellcheck"]),
        Need::program("judge of the Vagrantfile", "vagrant", &["vagrant"]),
        Need::program("roll-out to many hosts", "ansible-playbook", &["ansible-core"]),
        Need::program("containers without an engine", "bwrap", &["bubblewrap"]),
    ]
}

/// What a host that is made for a test is built from and booted with.
fn laboratory_tools() -> Vec<Need> {
    vec![
        Need::program("boot of a host in a folder", "systemd-nspawn", &["systemd-container"]),
        Need::program("install of a host into a folder", "mmdebstrap", &["mmdebstrap"]),
        Need::program("index of .deb packages", "dpkg-scanpackages", &["dpkg-dev"]),
        Need::program("index of .rpm packages", "createrepo_c", &["createrepo-c"]),
        Need::program("disk from a folder", "mke2fs", &["e2fsprogs"]),
    ]
}

/// What bpf-linker is built against.
fn linker_libraries(llvm: u32) -> Vec<Need> {
    let home = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    vec![
        Need::file("LLVM for the linker", home.join("lib/libLLVM.so"), format!("llvm-{llvm}-dev")),
        Need::file(
            "LLVM's loop library",
            home.join("lib/libPolly.a"),
            format!("libpolly-{llvm}-dev"),
        ),
        Need::file("zlib", "/usr/include/zlib.h", "zlib1g-dev".into()),
        Need::file("zstd library", "/usr/include/zstd.h", "libzstd-dev".into()),
    ]
}

/// Debian's compiler that ships `core` for the BPF target.
const SYSTEM_COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum System {
    Apt,
    Other(String),
}

/// Installs what is missing; does nothing, quickly, when nothing is.
pub(crate) fn run(with_deny: bool) -> anyhow::Result<()> {
    let system = system_of(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    install_packages(&system, test_tools())?;
    let compiler = match Compiler::find() {
        Some(compiler) => compiler,
        None => install_compiler(&system)?,
    };
    if !linker_matches(compiler.llvm) {
        install_linker(&system, compiler.llvm)?;
    }
    if with_deny && !deny::is_installed() {
        run::shown(&mut deny::install())?;
    }
    Ok(())
}

/// Installs what emulated machines need, as far as it is missing.
pub(crate) fn machines() -> anyhow::Result<()> {
    let system = system_of(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    install_packages(&system, machine_tools())
}

/// Installs what benchmarks compare with, as far as it is missing.
pub(crate) fn benchmarks() -> anyhow::Result<()> {
    let system = system_of(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    install_packages(&system, benchmark_tools())
}

/// Installs what packages are built and tried out with, as far as it is missing.
pub(crate) fn packages() -> anyhow::Result<()> {
    let system = system_of(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    install_packages(&system, [package_tools(), laboratory_tools(), rollout_tools()].concat())
}

/// Debian 12 and later and every Ubuntu that is still supported.
fn system_of(os_release: &str) -> System {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let (id, version) = (value("ID"), value("VERSION_ID"));
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    match (id.as_str(), major) {
        // Testing and unstable carry no version.
        ("debian", None | Some(12..)) | ("ubuntu", Some(22..)) => System::Apt,
        _ => System::Other(format!("{id} {version}").trim().to_owned()),
    }
}

fn install_packages(system: &System, needs: Vec<Need>) -> anyhow::Result<()> {
    let missing: Vec<Need> = needs.into_iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        println!("missing: {} ({})", need.what, need.packages.join(" or "));
    }
    if let System::Other(name) = system {
        bail!(
            "setup knows the packages of Debian 12+ and Ubuntu, not of `{name}`: \
               install the programs and files named above, then run it again"
        );
    }
    update_package_lists()?;
    let chosen = choose(&missing, in_archives)?;
    let _quiet = ServicesStayDown::begin()?;
    run::shown(as_root("apt-get").args(["install", "-y", "--no-install-recommends"]).args(&chosen))
}

/// The first package of each need that the archives know.
fn choose(missing: &[Need], known: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut chosen = Vec::new();
    for need in missing {
        let package = need.packages.iter().find(|package| known(package)).with_context(|| {
            format!(
                "no package for {}: the archives of this system know none of {}; \
                 LLVM for other releases comes from https://apt.llvm.org \
                 (download llvm.sh there, run `sudo bash llvm.sh <version> all`, \
                 then run this again)",
                need.what,
                need.packages.join(", ")
            )
        })?;
        chosen.push(package.clone());
    }
    Ok(chosen)
}

fn install_compiler(system: &System) -> anyhow::Result<Compiler> {
    println!("missing: a compiler for the BPF target");
    if *system == System::Apt {
        update_package_lists()?;
        if SYSTEM_COMPILER.iter().all(|package| in_archives(package)) {
            run::shown(
                as_root("apt-get")
                    .args(["install", "-y", "--no-install-recommends"])
                    .args(SYSTEM_COMPILER),
            )?;
        }
    }
    if Compiler::find().is_none() {
        if run::find_program("rustup").is_none() {
            bail!(
                "install rustup (https://rustup.rs) for a nightly compiler, \
                 or name a compiler for the BPF target in HOSTFW_BPF_RUSTC"
            );
        }
        let nightly = ["toolchain", "install", "nightly", "--profile", "minimal"];
        run::shown(Command::new("rustup").args(nightly).args(["--component", "rust-src"]))?;
    }
    Compiler::find().context("the installed compiler cannot produce BPF objects")
}

fn linker_matches(llvm: u32) -> bool {
    let Some(linker) = run::find_program("bpf-linker") else { return false };
    let version = run::answer(Command::new(&linker).arg("--version")).unwrap_or_default();
    let libraries = run::answer(Command::new("ldd").arg(&linker)).unwrap_or_default();
    // Linked statically, it cannot be asked; a mismatch shows when it is used.
    let speaks = libraries.lines().find_map(|line| line.trim().strip_prefix("libLLVM.so."));
    version == format!("bpf-linker {LINKER}")
        && speaks.is_none_or(|rest| rest.starts_with(&llvm.to_string()))
}

fn install_linker(system: &System, llvm: u32) -> anyhow::Result<()> {
    println!("missing: bpf-linker {LINKER} for LLVM {llvm}");
    if !LINKER_LLVM.contains(&llvm) {
        bail!("the compiler has LLVM {llvm}, and bpf-linker {LINKER} speaks {LINKER_LLVM:?} only");
    }
    install_packages(system, linker_libraries(llvm))?;
    let feature = format!("llvm-{llvm}");
    let mut cargo = run::cargo(&["install", "bpf-linker", "--locked", "--force"]);
    cargo
        .args(["--version", LINKER, "--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", format!("/usr/lib/{feature}"));
    run::shown(&mut cargo)
}

fn update_package_lists() -> anyhow::Result<()> {
    run::shown(as_root("apt-get").arg("update"))
}

/// Whether apt could install the package.
fn in_archives(package: &str) -> bool {
    let policy = run::answer(Command::new("apt-cache").args(["policy", package]));
    let candidate = policy.as_deref().and_then(candidate_of).map(str::to_owned);
    candidate.is_some()
}

fn candidate_of(policy: &str) -> Option<&str> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then_some(line)
}

/// A command that needs root, through sudo where we are not.
fn as_root(program: &str) -> Command {
    let is_root = run::answer(Command::new("id").arg("-u")).as_deref() == Some("0");
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

/// While this lives, packages that are installed do not start their services:
/// an ssh or etcd server is wanted as a program, not as a service of the host.
struct ServicesStayDown {
    written: bool,
}

impl ServicesStayDown {
    const FILE: &'static str = "/usr/sbin/policy-rc.d";

    fn begin() -> anyhow::Result<Self> {
        // One that is there belongs to somebody else and decides.
        if Path::new(Self::FILE).exists() {
            return Ok(Self { written: false });
        }
        println!("services of installed packages are not started ({})", Self::FILE);
        let refuse =
            std::env::temp_dir().join(format!("hostfw-policy-rc.d-{}", std::process::id()));
        fs::write(&refuse, "#!/bin/sh\nexit 101\n").context("write the service policy")?;
        fs::set_permissions(&refuse, fs::Permissions::from_mode(0o755))
            .context("make the service policy executable")?;
        let guard = Self { written: true };
        let installed = run::shown(as_root("install").arg("-m755").arg(&refuse).arg(Self::FILE));
        fs::remove_file(&refuse).context("remove the copy of the service policy")?;
        installed?;
        Ok(guard)
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = run::shown(as_root("rm").args(["-f", Self::FILE]))
        {
            println!("remove {} by hand: {error:#}", Self::FILE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_twelve_and_ubuntu_are_known_and_others_are_not() {
        let system = |text: &str| system_of(text);
        assert_eq!(system("ID=debian\nVERSION_ID=\"12\"\n"), System::Apt);
        assert_eq!(system("PRETTY_NAME=\"Debian sid\"\nID=debian\n"), System::Apt);
        assert_eq!(system("ID=ubuntu\nVERSION_ID=\"24.04\"\n"), System::Apt);
        assert_eq!(system("ID=debian\nVERSION_ID=\"11\"\n"), System::Other("debian 11".into()));
        assert_eq!(
            system("ID=\"alpine\"\nVERSION_ID=3.22.1\n"),
            System::Other("alpine 3.22.1".into())
        );
        assert_eq!(system(""), System::Other(String::new()));
    }

    #[test]
    fn the_first_package_that_the_archives_know_is_taken() {
        let etcd = Need::program("etcd server", "etcd", &["etcd-server", "etcd"]);
        let chosen = choose(std::slice::from_ref(&etcd), |package| package == "etcd");
        assert_eq!(chosen.expect("etcd is known"), ["etcd"]);
        let chosen = choose(std::slice::from_ref(&etcd), |_| true);
        assert_eq!(chosen.expect("both are known"), ["etcd-server"]);
        let refused = choose(&[etcd], |_| false).expect_err("nothing is known");
        assert!(refused.to_string().contains("etcd-server, etcd"), "{refused}");
    }

    #[test]
    fn the_linkers_libraries_carry_the_compilers_llvm_version() {
        let packages: Vec<String> =
            linker_libraries(22).into_iter().flat_map(|need| need.packages).collect();
        assert_eq!(packages, ["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev"]);
    }

    #[test]
    fn a_need_is_met_by_what_is_there_whoever_installed_it() {
        assert!(Need::program("shell", "sh", &["no-such-package"]).is_met());
        assert!(!Need::program("nothing", "no-such-program", &["bash"]).is_met());
        assert!(!Need::file("nothing", "/no/such/file", "bash".into()).is_met());
    }

    #[test]
    fn a_package_without_a_candidate_cannot_be_installed() {
        assert_eq!(candidate_of("etcd:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_of("x:\n  Installed: (none)\n  Candidate: 1.2\n"), Some("1.2"));
        assert_eq!(candidate_of(""), None);
    }
}
