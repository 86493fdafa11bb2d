//! `cargo xtask sbom`: which packages the shipped programs are made of, in the
//! form of CycloneDX 1.5, from what cargo says and nothing else.
//!
//! The same sources give the same bytes: everything is sorted, and the only
//! moment in it is that of the commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter,
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{
    package::{epoch_s, folder, moment},
    run,
};

/// The programs: daemon and command, and the kernel object inside the daemon.
const PROGRAMS: [&str; 3] = ["hostfw-daemon", "hostfw-cli", "hostfw-bpf"];

/// What the programs are built for. One bill is for packages of both machines.
const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "bpfel-unknown-none"];

/// Writes it where packages are made, and says where that is.
pub(crate) fn run() -> anyhow::Result<()> {
    fs::create_dir_all(folder()).context("create the folder of packages")?;
    let file = folder().join("hostfw.cdx.json");
    write(&file, epoch_s()?)?;
    println!("bill of materials: {}", file.display());
    Ok(())
}

/// Writes it into a file.
pub(crate) fn write(file: &Path, epoch_s: u64) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(&bill(epoch_s)?).context("write JSON")?;
    text.push('\n');
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn bill(epoch_s: u64) -> anyhow::Result<Value> {
    let metadata = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let metadata = run::answer(&mut run::cargo(&metadata)).context("run cargo metadata")?;
    let metadata: Value = serde_json::from_str(&metadata).context("read cargo's metadata")?;
    let lock = fs::read_to_string(run::root().join("Cargo.lock")).context("read Cargo.lock")?;
    let checksums = checksums(&lock);
    let shipped = shipped()?;

    let mut references = BTreeMap::new();
    let mut components = BTreeMap::new();
    for package in list(&metadata["packages"])? {
        let (name, version) = (text(&package["name"])?, text(&package["version"])?);
        let key = (name.to_owned(), version.to_owned());
        if shipped.contains(&key) {
            let reference = format!("pkg:cargo/{name}@{version}");
            let checksum = checksums.get(&key);
            components.insert(key, component(package, &reference, checksum)?);
            references.insert(text(&package["id"])?, reference);
        }
    }
    if let Some((name, version)) = shipped.iter().find(|key| !components.contains_key(*key)) {
        bail!("cargo tree names {name} {version}, and cargo metadata does not");
    }

    let mut dependencies = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"])? {
        if let Some(reference) = references.get(text(&node["id"])?) {
            dependencies.insert(reference, imports(node, &references)?);
        }
    }
    let is_program = |reference: &&String| {
        PROGRAMS.iter().any(|name| reference.starts_with(&format!("pkg:cargo/{name}@")))
    };
    let programs: BTreeSet<&String> = references.values().filter(is_program).collect();
    let whole = json!({"ref": "hostfw", "dependsOn": programs});
    let imports =
        dependencies.into_iter().map(|(one, others)| json!({"ref": one, "dependsOn": others}));
    let dependencies: Vec<Value> = iter::once(whole).chain(imports).collect();

    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": moment(epoch_s, "+%Y-%m-%dT%H:%M:%SZ")?,
            "component": {
                "type": "application",
                "bom-ref": "hostfw",
                "name": "hostfw",
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
            },
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

/// Names and versions of what is linked into the programs or writes code for
/// them. `cargo tree` knows which features they are built with; `cargo metadata`
/// knows those of the whole workspace, which are more.
pub(crate) fn shipped() -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut shipped = BTreeSet::new();
    for program in PROGRAMS {
        let mut cargo = run::cargo(&["tree", "--locked", "--offline", "--package", program]);
        cargo.args(["--edges", "normal", "--prefix", "none", "--no-dedupe", "--format", "{p}"]);
        cargo.args(TARGETS.iter().flat_map(|target| ["--target", target]));
        let tree = run::answer(&mut cargo).context("run cargo tree")?;
        // An empty line stands between two targets.
        for line in tree.lines().filter(|line| !line.is_empty()) {
            // Such as `serde_derive v1.0.229 (proc-macro)`.
            let mut words = line.split(' ');
            let version = words.clone().nth(1).and_then(|version| version.strip_prefix('v'));
            let (Some(name), Some(version)) = (words.next(), version) else {
                bail!("`{line}` names no package");
            };
            shipped.insert((name.to_owned(), version.to_owned()));
        }
    }
    Ok(shipped)
}

fn component(package: &Value, reference: &str, checksum: Option<&String>) -> anyhow::Result<Value> {
    let name = text(&package["name"])?;
    let mut component = json!({
        "type": if PROGRAMS.contains(&name) { "application" } else { "library" },
        "bom-ref": reference,
        "name": name,
        "version": text(&package["version"])?,
        "purl": reference,
    });
    let licence = package["license"].as_str().with_context(|| format!("{name} has no licence"))?;
    // The form of before SPDX.
    component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(url) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
    }
    Ok(component)
}

/// What a package is linked with, as far as it is shipped.
fn imports<'r>(
    node: &Value,
    references: &'r BTreeMap<&str, String>,
) -> anyhow::Result<BTreeSet<&'r String>> {
    let mut imports = BTreeSet::new();
    for import in list(&node["deps"])? {
        // Neither while building nor for tests.
        let linked = list(&import["dep_kinds"])?.iter().any(|kind| kind["kind"].is_null());
        imports.extend(references.get(text(&import["pkg"])?).filter(|_| linked));
    }
    Ok(imports)
}

/// The checksums in a lock file, whose entries are blocks of `key = "value"`.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let blocks = lock.split("[[package]]");
    let entry = |block: &str| {
        let value = |key: &str| {
            let start = format!("{key} = \"");
            let line = block.lines().find_map(|line| line.strip_prefix(&start))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    blocks.filter_map(entry).collect()
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().context("cargo's metadata has another form")
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().context("cargo's metadata has another form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_programs_is_listed_once_with_its_licence() {
        let bill = bill(1_700_000_000).expect("cargo answers");
        assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        let components = list(&bill["components"]).expect("a list");
        let mut names = BTreeSet::new();
        for component in components {
            let reference = text(&component["bom-ref"]).expect("a reference");
            let own = reference.starts_with("pkg:cargo/hostfw-");
            assert!(names.insert(reference.to_owned()), "{reference} is listed twice");
            let licence = text(&component["licenses"][0]["expression"]).expect("a licence");
            assert!(!licence.is_empty() && !licence.contains('/'), "{reference}: {licence}");
            let checksum = component["hashes"][0]["content"].as_str().unwrap_or_default();
            assert_eq!(checksum.len(), if own { 0 } else { 64 }, "{reference}");
        }
        // Asked in another way: both programs at once, as a person would.
        let mut cargo = run::cargo(&["tree", "--offline", "-p", "hostfw-daemon", "-p"]);
        cargo.args(["hostfw-cli", "--edges", "normal", "--prefix", "depth"]);
        let tree = run::answer(&mut cargo).expect("cargo answers");
        let mut linked = BTreeSet::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let package = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let package = package.split(" (").next().unwrap_or_default();
            linked.insert(format!("pkg:cargo/{}", package.replacen(" v", "@", 1)));
        }
        assert_eq!(linked.difference(&names).next(), None, "missing");
        // What is left is the kernel object.
        let only_kernel = names.difference(&linked).all(|one| {
            one.starts_with("pkg:cargo/aya-ebpf")
                || one.starts_with("pkg:cargo/hostfw-bpf@")
                || one.starts_with("pkg:cargo/proc-macro2-diagnostics@")
                || one.starts_with("pkg:cargo/syn@2.")
        });
        assert!(only_kernel, "{:?}", names.difference(&linked).collect::<Vec<_>>());
        let whole = "hostfw".to_owned();
        let known =
            |one: &Value| one.as_str().is_some_and(|one| one == whole || names.contains(one));
        for entry in list(&bill["dependencies"]).expect("a list") {
            let imports = list(&entry["dependsOn"]).expect("a list");
            assert!(known(&entry["ref"]) && imports.iter().all(known), "{entry}");
        }
        assert_eq!(bill["dependencies"][0]["dependsOn"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn checksums_are_read_from_a_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
                    checksum = \"00ff\"\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.get(&("a".into(), "1.0.0".into())).map(String::as_str), Some("00ff"));
        assert_eq!(found.len(), 1);
    }
}
