//! What systemd itself says about the unit: that it can be read, and how much
//! it leaves to whoever takes the daemon over.
//!
//! Whether the daemon runs under it is shown where it runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Tenths of systemd's measure, where ten is the worst.
const MOST_EXPOSED: u32 = 19;

#[test]
fn the_unit_is_read_without_a_complaint() {
    let folder = std::env::temp_dir().join(format!("hostfw-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    // The programs need not be installed; they must be where they are.
    let mut unit = fs::read_to_string(unit()).expect("the unit");
    for program in ["/usr/sbin/hostfwd", "/usr/bin/hostfw"] {
        assert!(unit.contains(program), "{program} is not started");
        let stand_in = folder.join(Path::new(program).file_name().expect("a name"));
        fs::write(&stand_in, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("executable");
        unit = unit.replace(&format!("={program} "), &format!("={} ", stand_in.display()));
    }
    let file = folder.join("hostfw.service");
    fs::write(&file, unit).expect("written");
    let output = analyze(&["verify", "--man=no"], &file);
    fs::remove_dir_all(&folder).expect("the folder is ours");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn the_unit_leaves_little_to_whoever_takes_the_daemon_over() {
    let threshold = format!("--threshold={MOST_EXPOSED}");
    let output = analyze(&["security", "--offline=true", "--no-pager", &threshold], &unit());
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_directive_of_the_unit_has_its_reason() {
    let unit = fs::read_to_string(unit()).expect("the unit");
    let mut reason = false;
    let mut without = Vec::new();
    for line in unit.lines() {
        if line.starts_with('#') {
            reason = true;
        } else if line.is_empty() || line.starts_with('[') {
            reason = false;
        } else if !reason && !SELF_EVIDENT.iter().any(|name| line.starts_with(name)) {
            without.push(line);
        }
    }
    assert!(without.is_empty(), "no comment above\n{}", without.join("\n"));
}

/// What says what it is for.
const SELF_EVIDENT: &[&str] = &["Description=", "Documentation="];

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    output.expect("systemd-analyze runs; `cargo xtask setup` installs it")
}

fn text(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn unit() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder");
    root.join("systemd/hostfw.service")
}
