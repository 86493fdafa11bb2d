//! Builds `bpf/programs` for the kernel into `target/bpf/hostfw.bpf.o`.
//!
//! The kernel's compiler is not the host's: it must ship (or be able to build)
//! `core` for the BPF target, and the linker must speak its LLVM version.
//! Nothing here knows what the programs contain.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{run, setup};

const TARGET: &str = "bpfel-unknown-none";

/// The generation with 32-bit operations, known to every kernel since 5.1.
const CPU: &str = "-Ctarget-cpu=v3";

/// Installs what is missing, then builds the object.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::run(false)?;
    let object = build()?;
    println!("kernel object: {}", object.display());
    Ok(())
}

/// A compiler that can produce kernel programs.
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    /// Major version of the LLVM inside; the linker's must match.
    pub(crate) llvm: u32,
    core: Core,
}

/// Where `core` for the BPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    /// The compiler's package ships it.
    Shipped,
    /// Cargo builds it from the compiler's `rust-src` component.
    FromSource,
}

impl Compiler {
    /// The first of: the one named in the environment, the system's, a nightly.
    pub(crate) fn find() -> Option<Self> {
        if let Some(named) = std::env::var_os("HOSTFW_BPF_RUSTC") {
            return Self::at(PathBuf::from(named));
        }
        Self::at(PathBuf::from("/usr/bin/rustc"))
            .filter(|system| system.core == Core::Shipped)
            .or_else(|| {
                let nightly = ["which", "--toolchain", "nightly", "rustc"];
                let rustc = run::answer(Command::new("rustup").args(nightly))?;
                Self::at(PathBuf::from(rustc))
            })
    }

    fn at(rustc: PathBuf) -> Option<Self> {
        let llvm = llvm_major(&run::answer(Command::new(&rustc).arg("-vV"))?)?;
        let ask = ["--print", "target-libdir", "--target", TARGET];
        let libraries = PathBuf::from(run::answer(Command::new(&rustc).args(ask))?);
        let sysroot =
            PathBuf::from(run::answer(Command::new(&rustc).args(["--print", "sysroot"]))?);
        let core = if ships_core(&libraries) {
            Core::Shipped
        } else if sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            Core::FromSource
        } else {
            return None;
        };
        Some(Self { rustc, llvm, core })
    }
}

fn ships_core(libraries: &Path) -> bool {
    fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// Reads `LLVM version: 22.1.2` out of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let number = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    number.split('.').next()?.parse().ok()
}

/// Builds the object; a second call without changes costs a second.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let compiler = Compiler::find().context(
        "no compiler for the BPF target: `cargo xtask setup` installs one, \
         or name one in HOSTFW_BPF_RUSTC",
    )?;
    let folder = run::root().join("target/bpf");
    let mut cargo = run::cargo(&["build", "--quiet", "--release", "--package", "hostfw-bpf"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&folder);
    if compiler.core == Core::FromSource {
        cargo.arg("-Zbuild-std=core");
    }
    let flags =
        ["-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2", "-Clinker-plugin-lto", CPU];
    let hidden = run::hidden_folders()?;
    let flags: Vec<&str> = flags.into_iter().chain(hidden.iter().map(String::as_str)).collect();
    // The encoded form wins over a RUSTFLAGS that is meant for the host, and a
    // wrapper of the host's compiler must not see this one.
    cargo
        .env("RUSTC", &compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    println!("compiler for the kernel: {}", compiler.rustc.display());
    run::shown(&mut cargo)?;

    let built = folder.join(TARGET).join("release/hostfw-bpf");
    let object = folder.join("hostfw.bpf.o");
    let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    if !bytes.starts_with(b"\x7fELF") {
        bail!("{} is not an object file", built.display());
    }
    // An unchanged object keeps its time, so that its users are not rebuilt.
    if fs::read(&object).ok().as_ref() != Some(&bytes) {
        fs::write(&object, bytes).with_context(|| format!("write {}", object.display()))?;
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_the_compilers_own_answer() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.2\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\n"), None);
    }
}
