//! Every warning is written about and shown: it has a section in the manual,
//! and a case in which it is given.

#![expect(clippy::disallowed_methods, reason = "the manual and the cases are files")]

use std::{collections::BTreeSet, fs, path::Path};

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
