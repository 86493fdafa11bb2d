//! The notices that licences want to see beside a program: those of every
//! package that is linked into what is shipped, each text once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;

use crate::{run, sbom};

/// Beginnings of the names of files with notices, in capitals.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// What cargo does not know of.
const BESIDE: &str = "\
The programs are linked with the standard library of Rust (Apache-2.0 OR MIT,
copyright The Rust Project Developers) and with the GNU C Library
(LGPL-2.1-or-later, copyright The Free Software Foundation and others). Whoever
wants to link them with a changed C library finds everything that this takes in
the sources of hostfw: `cargo xtask package` does it again.
";

/// Writes them into a file.
pub(crate) fn write(file: &Path) -> anyhow::Result<()> {
    let metadata = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let metadata = run::answer(&mut run::cargo(&metadata)).context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("a list of packages")?;
    let shipped = sbom::shipped()?;

    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut silent = BTreeSet::new();
    for package in packages {
        let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version, licence) = (word("name"), word("version"), word("license"));
        // What has no source outside is ours.
        if package["source"].is_null() || !shipped.contains(&(name.clone(), version.clone())) {
            continue;
        }
        let manifest = word("manifest_path");
        let folder = Path::new(&manifest).parent().context("a manifest is in a folder")?;
        let found = notices(folder)?;
        if found.is_empty() {
            silent.insert(format!("{name} {version} ({licence})"));
        }
        for text in found {
            texts.entry(text).or_default().insert(format!("{name} {version} ({licence})"));
        }
    }
    fs::write(file, page(&texts, &silent)).with_context(|| format!("write {}", file.display()))
}

fn notices(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            texts.push(lines.join("\n").trim_matches('\n').to_owned() + "\n");
        }
    }
    Ok(texts)
}

fn page(texts: &BTreeMap<String, BTreeSet<String>>, silent: &BTreeSet<String>) -> String {
    let mut page = format!("What hostfw is made of, and under which terms.\n\n{BESIDE}");
    if !silent.is_empty() {
        page += "\nThese packages bring no notice of their own:\n\n";
        silent.iter().for_each(|name| page += &format!("  {name}\n"));
    }
    for (text, names) in texts {
        page += &format!("\n{}\n", "=".repeat(78));
        names.iter().for_each(|name| page += &format!("{name}\n"));
        page += &format!("{}\n\n{text}", "-".repeat(78));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_once_below_all_that_bring_it() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let texts =
            BTreeMap::from([("do what you like\n".to_owned(), names(&["a 1 (X)", "b 2 (X)"]))]);
        let page = page(&texts, &names(&["c 3 (Y)"]));
        assert_eq!(page.matches("do what you like").count(), 1);
        assert!(page.contains("a 1 (X)\nb 2 (X)\n---") && page.contains("  c 3 (Y)\n"), "{page}");
    }

    #[test]
    fn whatever_is_linked_has_its_notice() {
        let file = run::root().join("target/tmp/notices.txt");
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        write(&file).expect("cargo knows the packages");
        let page = fs::read_to_string(&file).expect("written");
        for name in ["tokio 1.", "aya 0.", "hyper 1.", "clap 4."] {
            assert!(page.contains(name), "{name}");
        }
        let linked = |name: &&(String, String)| !name.0.starts_with("hostfw");
        let shipped = sbom::shipped().expect("cargo knows the packages");
        for (name, version) in shipped.iter().filter(linked) {
            assert!(page.contains(&format!("{name} {version} (")), "{name} {version}");
        }
    }
}
