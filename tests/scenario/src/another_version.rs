//! What a stopped daemon has left, made to look like that of a daemon whose maps
//! and images have another layout. Nothing stops judging meanwhile: pins are renamed,
//! and filters get another handle. Knows how versions name what they leave.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{Host, syscall};

/// Turns everything below a BPF folder, and the filters of a device, into those of
/// the version before.
///
/// # Panics
/// When there is nothing, or it cannot be renamed.
#[track_caller]
pub fn as_of_another_version(host: &Host, bpf: &Path, device: &str) {
    let mut version = 0;
    for kind in ["maps", "links"] {
        let name = folder(bpf, kind);
        version = name[kind.len()..].parse::<u32>().expect("a folder has a version");
        let other = bpf.join(format!("{kind}{}", version - 1));
        fs::rename(bpf.join(name), other).expect("pins can be renamed");
    }
    for way in ["ingress", "egress"] {
        exchange_filter(host, device, way, 0x6800 + version, 0x6800 + version - 1);
    }
}

#[track_caller]
fn folder(bpf: &Path, kind: &str) -> String {
    let names = fs::read_dir(bpf).expect("a BPF folder").flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with(kind)).unwrap_or_else(|| panic!("no {kind} in {bpf:?}"))
}

/// Gives a filter of ours another handle, where there is one: the other one is there
/// before it goes.
#[track_caller]
fn exchange_filter(host: &Host, device: &str, way: &str, handle: u32, other: u32) {
    let output = host.command("tc").args(["-j", "filter", "show", "dev", device, way]).output();
    let output = output.expect("iproute2 is installed");
    let filters: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let ours = |filter: &&Value| filter["options"]["handle"] == format!("{handle:#x}");
    let Some(filter) = filters.iter().find(ours) else { return };
    let id = filter["options"]["prog"]["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let program = syscall::program_by_id(id.expect("the kernel names it")).expect("it is loaded");
    let pin = host.folder().join("bpf").join(format!("{way}{other}"));
    syscall::pin(&program, &pin).expect("a name that nobody has");
    let tc = |verb: &str, handle: u32| {
        let mut tc = host.command("tc");
        tc.args(["filter", verb, "dev", device, way, "protocol", "all", "pref", "1"]);
        tc.args(["handle", &format!("{handle:#x}"), "bpf"]);
        tc
    };
    let mut add = tc("add", other);
    add.args(["direct-action", "object-pinned"]).arg(&pin);
    for mut command in [add, tc("delete", handle)] {
        let output = command.output().expect("iproute2 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_file(&pin).expect("a pin of the lab");
}
