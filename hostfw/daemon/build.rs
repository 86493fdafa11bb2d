//! Embeds the kernel object: `$HOSTFW_BPF_OBJECT`, or what `cargo xtask bpf`
//! has built. Without either the daemon builds, and says at start that it has
//! no data path: checks and lints need no compiler for the kernel.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=HOSTFW_BPF_OBJECT");
    let object = env::var_os("HOSTFW_BPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/hostfw.bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let object = object.canonicalize().unwrap_or_else(|_| {
        println!("cargo::warning=no kernel object: run `cargo xtask bpf` first");
        let out = env::var_os("OUT_DIR").expect("cargo names an output folder");
        let empty = PathBuf::from(out).join("empty.bpf.o");
        fs::write(&empty, []).expect("the output folder is writable");
        empty
    });
    println!("cargo::rustc-env=HOSTFW_BPF_OBJECT_PATH={}", object.display());
}
