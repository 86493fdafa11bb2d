//! Invariants of the repository that no compiler checks.
//!
//! Arrows between packages, file heads, file sizes, calls that the core must
//! not make, and words that names must not contain. Knows nothing about what
//! the code does.

#![allow(clippy::print_stdout, reason = "a warning is worth showing")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a package may import: packages of this workspace, packages from
/// outside. A new line here is a decision about the design, not a formality.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("hostfw-datapath", &[], &["zerocopy"]),
    ("hostfw-bpf", &["hostfw-datapath"], &["aya-ebpf", "zerocopy"]),
    (
        "hostfw-policy",
        &["hostfw-datapath"],
        &[
            "granit-parser",
            "indexmap",
            "ipnet",
            "memchr",
            "regex-syntax",
            "rustc-hash",
            "thiserror",
        ],
    ),
    ("hostfw-control", &["hostfw-policy", "hostfw-datapath"], &["thiserror"]),
    ("hostfw-api", &[], &["serde", "serde_json"]),
    (
        "hostfw-daemon",
        &["hostfw-api", "hostfw-control", "hostfw-datapath", "hostfw-policy"],
        &[
            "anyhow",
            "aya",
            "clap",
            "http-body-util",
            "hyper",
            "hyper-util",
            "libc",
            "notify",
            "rtnetlink",
            "sd-notify",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
            "tracing-subscriber",
            "zerocopy",
        ],
    ),
    (
        "hostfw-cli",
        &["hostfw-api", "hostfw-datapath", "hostfw-policy"],
        &["anyhow", "clap", "libc", "serde", "serde_json", "terminal_size"],
    ),
    (
        "hostfw-bench",
        &["hostfw-daemon", "hostfw-datapath", "hostfw-parity", "hostfw-policy", "hostfw-scenario"],
        &["anyhow", "libc"],
    ),
    (
        "hostfw-conformance",
        &["hostfw-datapath", "hostfw-policy"],
        &["anyhow", "flate2", "ipnet", "serde", "serde_json"],
    ),
    ("hostfw-lab", &["hostfw-scenario"], &[]),
    ("hostfw-fuzz", &["hostfw-daemon", "hostfw-datapath", "hostfw-policy"], &["tokio"]),
    (
        "hostfw-parity",
        &["hostfw-datapath", "hostfw-policy", "hostfw-daemon"],
        &["anyhow", "libc", "netlink-packet-route", "proptest", "rtnetlink", "tokio"],
    ),
    ("hostfw-scenario", &["hostfw-api"], &["anyhow", "libc", "serde", "serde_json"]),
    ("hostfw-vm", &["hostfw-daemon", "hostfw-datapath", "hostfw-parity"], &["anyhow", "libc"]),
    ("xtask", &[], &["anyhow", "clap", "serde_json"]),
];

/// What tests, benchmarks and examples may use in addition.
const FOR_TESTS: &[&str] =
    &["clap_complete", "clap_mangen", "criterion", "expect-test", "proptest", "serde_json"];

/// The packages whose every answer follows from their arguments alone.
const CORE: &[&str] = &["bpf/datapath", "hostfw/policy", "hostfw/control"];

/// What the core must not name, and why.
const CORE_MUST_NOT: &[(&str, &str)] = &[
    ("std::fs", "files are the shell's"),
    ("std::env", "the environment is the shell's"),
    ("std::process", "processes are the shell's"),
    ("std::thread", "threads are the shell's"),
    ("TcpStream", "sockets are the shell's"),
    ("TcpListener", "sockets are the shell's"),
    ("UdpSocket", "sockets are the shell's"),
    ("UnixStream", "sockets are the shell's"),
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("tokio", "the core does not wait"),
    ("aya", "the kernel is the shell's"),
];

/// Words that say nothing about a firewall. Split, so that this file passes.
const EMPTY_WORDS: &[&str] =
    &["Manager", "Handler", "Helper", "Util", "Utils", "Common", "Data", "Info"];

const WARN_LINES: usize = 600;
const MAX_LINES: usize = 1000;

#[test]
fn packages_import_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for package in packages() {
        let Some((_, inside, outside)) = ARROWS.iter().find(|(name, ..)| *name == package.name)
        else {
            wrong.push(format!("{}: no arrows are written down for it", package.name));
            continue;
        };
        for import in &package.imports {
            let ours = import.starts_with("hostfw-");
            let allowed = if ours { inside } else { outside };
            if !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} must not import {import}", package.name));
            }
        }
        for import in &package.test_imports {
            let known = FOR_TESTS.contains(&import.as_str());
            if !known && !inside.contains(&import.as_str()) && !outside.contains(&import.as_str()) {
                wrong.push(format!("{} must not import {import}, even for tests", package.name));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_file_says_what_it_is_responsible_for() {
    let without = sources().filter(|source| !source.text.starts_with("//!"));
    assert_none(
        &without.map(|source| format!("{}: no `//!` head", source.path)).collect::<Vec<_>>(),
    );
}

#[test]
fn files_stay_small_enough_to_be_read() {
    let mut wrong = Vec::new();
    for source in sources() {
        let n_lines = source.own_lines().count();
        if n_lines > MAX_LINES {
            wrong.push(format!("{}: {n_lines} lines without tests", source.path));
        } else if n_lines > WARN_LINES {
            println!("warning: {}: {n_lines} lines without tests", source.path);
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_core_touches_nothing_outside_itself() {
    let mut wrong = Vec::new();
    for folder in CORE {
        let inside = format!("{folder}/src/");
        let mut forbids_unsafe = false;
        for source in sources().filter(|source| source.path.starts_with(&inside)) {
            forbids_unsafe |= source.text.contains("#![forbid(unsafe_code)]");
            for (number, line) in source.own_lines() {
                let code = line.split("//").next().unwrap_or_default();
                for (name, why) in CORE_MUST_NOT.iter().filter(|(name, _)| has_word(code, name)) {
                    wrong.push(format!("{}:{number}: {name}: {why}", source.path));
                }
            }
        }
        if !forbids_unsafe {
            wrong.push(format!("{folder}: no #![forbid(unsafe_code)]"));
        }
        let lints = fs::read_to_string(root().join(folder).join("clippy.toml")).unwrap_or_default();
        if !lints.contains("std::time::Instant::now") {
            wrong.push(format!("{folder}/clippy.toml: no disallowed-methods"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn names_are_words_of_the_domain() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let Some(name) = defined_name(line) else { continue };
            // Constants in capitals may be named by the kernel or a standard.
            if !name.contains(char::is_lowercase) {
                continue;
            }
            let empty = words(name).find(|word| EMPTY_WORDS.contains(&word.as_str()));
            let verb = ["get_", "do_"].iter().find(|prefix| name.starts_with(**prefix));
            if empty.is_some() || verb.is_some() {
                wrong.push(format!("{}:{}: `{name}` says nothing", source.path, number + 1));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_file_carries_trailing_blanks_or_a_path_of_one_machine() {
    // Written in two halves, so that this file passes its own test.
    let machine = [["/wo", "rk/"].concat(), ["/tmp/tar", "get"].concat(), ["/ro", "ot/."].concat()];
    let mut wrong = Vec::new();
    for file in files(&["rs", "toml", "md", "yaml", "yml", "service", "json", "lock", "run"]) {
        // Golden files and hostile policies hold whatever their test needs.
        let is_material = file.path.contains("/tests/policies/");
        for (number, line) in file.text.lines().enumerate() {
            if !is_material && line.ends_with([' ', '\t']) {
                wrong.push(format!("{}:{}: trailing blank", file.path, number + 1));
            }
            if let Some(path) = machine.iter().find(|path| line.contains(path.as_str())) {
                wrong.push(format!(
                    "{}:{}: {path} is a path of one machine",
                    file.path,
                    number + 1
                ));
            }
        }
        if !is_material && !file.text.is_empty() && !file.text.ends_with('\n') {
            wrong.push(format!("{}: no line end at the end", file.path));
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_guarantee_that_cites_a_test_cites_one_that_exists() {
    let tests: String = sources().map(|source| source.text).collect();
    let mut wrong = Vec::new();
    for page in ["guarantees", "operations", "coexistence", "security"] {
        let text = fs::read_to_string(root().join(format!("docs/{page}.md"))).unwrap_or_default();
        let quoted = || text.split('`').skip(1).step_by(2);
        // A test is cited as a sentence in snake case; shorter words are names.
        let cited = quoted()
            .filter(|name| name.matches('_').count() >= 3 && !name.contains(['/', '.', ' ']));
        let missing = cited.filter(|name| !tests.contains(&format!("fn {name}(")));
        let cases = quoted().filter(|name| name.starts_with("policies/") && !name.ends_with("..."));
        let missing = missing.chain(cases.filter(|name| !root().join("tests").join(name).is_dir()));
        wrong.extend(missing.map(|name| format!("{page}: no test is named {name}")));
        if !quoted().any(|name| tests.contains(&format!("fn {name}("))) {
            wrong.push(format!("{page}: no test is cited"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn words_are_found_in_names_of_any_case() {
    let split = |name: &str| words(name).collect::<Vec<_>>();
    assert_eq!(split("PeerTable"), ["Peer", "Table"]);
    assert_eq!(split("peer_table"), ["Peer", "Table"]);
    assert_eq!(split("MAX_LINES"), ["Max", "Lines"]);
    assert_eq!(defined_name("    pub(crate) fn load_all(x: u32) {"), Some("load_all"));
    assert_eq!(defined_name("let fnord = 1;"), None);
    assert!(has_word("use std::fs;", "std::fs") && !has_word("use x::ayatollah;", "aya"));
}

struct Package {
    name: String,
    imports: Vec<String>,
    test_imports: Vec<String>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = report["packages"].as_array().expect("a list of packages");
    packages.iter().map(package).collect()
}

fn package(report: &serde_json::Value) -> Package {
    let mut by_kind: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    for import in report["dependencies"].as_array().expect("a list of dependencies") {
        // A renamed package is known by the name that the code uses.
        let name = import["rename"].as_str().or(import["name"].as_str()).expect("a name");
        let for_tests = import["kind"].as_str() == Some("dev");
        by_kind.entry(for_tests).or_default().push(name.to_owned());
    }
    Package {
        name: report["name"].as_str().expect("a name").to_owned(),
        imports: by_kind.remove(&false).unwrap_or_default(),
        test_imports: by_kind.remove(&true).unwrap_or_default(),
    }
}

struct Text {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

impl Text {
    /// Numbered lines up to the inline tests, which stand last in a file.
    fn own_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        let end = match self.text.find("\n#[cfg(test)]\nmod tests {") {
            _ if is_test => 0,
            Some(end) => end,
            None => self.text.len(),
        };
        (1..).zip(self.text[..end].lines())
    }
}

/// The Rust files of the workspace.
fn sources() -> impl Iterator<Item = Text> {
    files(&["rs"]).into_iter()
}

/// The text files with one of these endings, build results left out.
fn files(endings: &[&str]) -> Vec<Text> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if name != ".git" && name != "target" {
                    folders.push(path);
                }
            } else if endings.contains(&name.rsplit('.').next().unwrap_or_default())
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path =
                    path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
                found.push(Text { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The name that a line defines, if it defines one.
fn defined_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let keyword = words
        .find(|word| !(word.starts_with("pub") || ["async", "unsafe", "extern"].contains(word)))?;
    let defines = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];
    let mut name = defines.contains(&keyword).then(|| words.next())??;
    if ["fn", "mut"].contains(&name) {
        name = words.next()?;
    }
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// The words of a name in CamelCase or with underscores, each capitalised.
fn words(name: &str) -> impl Iterator<Item = String> {
    let constant = !name.contains(char::is_lowercase);
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for letter in name.chars() {
        if letter == '_' {
            begins = true;
        } else if begins || (letter.is_uppercase() && !constant) {
            words.push(letter.to_uppercase().collect());
            begins = false;
        } else if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words.into_iter()
}

fn has_word(code: &str, name: &str) -> bool {
    let part_of_name =
        |letter: Option<char>| letter.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(name).any(|(start, _)| {
        !part_of_name(code[..start].chars().next_back())
            && !part_of_name(code[start + name.len()..].chars().next())
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder").to_owned()
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
