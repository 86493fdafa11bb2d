//! Every warning is written about and shown: it has a section in the manual,
//! and a case in which it is given.

#![expect(clippy::disallowed_methods, reason = "the manual and the cases are files")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use hostfw_policy::WARNINGS;

#[test]
fn every_warning_has_a_section_in_the_manual_and_every_section_a_warning() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/warnings.md");
    let manual = fs::read_to_string(manual).expect("the manual is part of the repository");
    let sections: BTreeSet<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let codes: BTreeSet<&str> = WARNINGS.iter().copied().collect();
    assert_eq!(sections, codes);
}

#[test]
fn every_code_that_the_sources_warn_with_is_listed() {
    let mut codes = BTreeSet::new();
    for (path, text) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let literal =
            |text: &str| Some(text.trim().strip_prefix('"')?.split_once('"')?.0.to_owned());
        for call in text.split("report.warning(").skip(1) {
            // The place comes first, the code behind it.
            let code = call.split(',').nth(1).and_then(literal);
            // One call shows what was found with the codes that stand above.
            assert!(code.is_some() || path.ends_with("lint.rs"), "{}: no code", path.display());
            codes.extend(code);
        }
        let is_lint = path.parent().is_some_and(|folder| folder.ends_with("lint"));
        let constants = text.lines().filter_map(|line| line.strip_prefix("pub(super) const "));
        let constants = constants.filter_map(|line| line.split_once(": &str = "));
        codes.extend(constants.filter(|_| is_lint).filter_map(|(_, value)| literal(value)));
    }
    assert!(codes.len() > 25, "{codes:?}");
    let unlisted: Vec<_> = codes.iter().filter(|code| !WARNINGS.contains(&code.as_str())).collect();
    assert!(unlisted.is_empty(), "not in `WARNINGS`: {unlisted:?}");
}

/// The files of a folder and of those in it.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = fs::read_to_string(&path).expect("a file of the repository");
            found.push((path, text));
        }
    }
    found
}

#[test]
fn every_warning_is_given_in_some_case() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/policies");
    let mut given = String::new();
    for case in fs::read_dir(cases).expect("the cases are part of the repository") {
        let expected = case.expect("readable").path().join("expected.txt");
        given.push_str(&fs::read_to_string(expected).unwrap_or_default());
    }
    let missing: Vec<_> =
        WARNINGS.iter().filter(|code| !given.contains(&format!("warning[{code}]"))).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}
