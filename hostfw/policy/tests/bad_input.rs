//! Whatever a file holds, the answer is a complaint with a place: no panic, and
//! no more time or memory than the size of the file deserves.

#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use std::time::{Duration, Instant};

use hostfw_policy::{Complaint, Dialect, Severity, Source, read_policies, read_world};
use proptest::prelude::*;

/// Far above what any of these takes, and far below what they would take
/// without limits.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_ten_mebibyte_alias_bomb_gives_one_complaint_soon() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
    }
    while text.len() < 10 << 20 {
        text += "filling: 0\n".repeat(1000).as_str();
    }
    assert_eq!(only_complaint(text.into_bytes()).code, "yaml-limits");
}

#[test]
fn ten_mebibytes_of_aliases_to_one_list_give_one_complaint_soon() {
    let list = "x, ".repeat(1000);
    let mut text = format!("a: &a [{list}]\nb:\n");
    text += &"- *a\n".repeat((10 << 20) / 5);
    assert_eq!(only_complaint(text.into_bytes()).code, "yaml-limits");
}

#[test]
fn deep_nesting_gives_one_complaint_soon() {
    let indented: String = (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for text in ["[".repeat(1 << 20), "{a: ".repeat(1 << 18), "- ".repeat(1 << 20), indented] {
        assert_eq!(only_complaint(text.into_bytes()).code, "yaml-limits");
    }
}

#[test]
fn garbage_gives_one_complaint_soon() {
    let mut state = 1u32;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    assert_eq!(only_complaint(garbage).code, "not-text");
    assert_eq!(only_complaint(vec![0; 1 << 20]).code, "yaml-syntax");
    assert_eq!(only_complaint(b"\x7fELF\x02\x01\x01\0\0".to_vec()).code, "yaml-syntax");
}

#[test]
fn a_thousand_faults_give_a_hundred_complaints() {
    let head =
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n";
    let text = format!(
        "{head}spec:\n  nodeSelector: {{}}\n  ingress:\n{}",
        "  - nonsense: 1\n".repeat(1000)
    );
    let complaints = complaints(text.into_bytes());
    assert_eq!(complaints.len(), 101);
    assert_eq!(complaints[100].what, "900 more complaints about this file");
    assert_eq!((complaints[0].line, complaints[0].column), (7, 5));
}

#[test]
fn lines_that_are_no_fit_for_a_terminal_are_cut_and_cleaned() {
    let text = format!("kind: \"\\e[31m{}\u{9b}\"\n", "x".repeat(500));
    let complaints = complaints(text.into_bytes());
    for complaint in complaints {
        assert!(complaint.excerpt.chars().count() <= 161, "{}", complaint.excerpt);
        assert!(!complaint.excerpt.chars().any(char::is_control), "{:?}", complaint.excerpt);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        complaints(bytes);
    }

    /// Documents made of the language's own words in the wrong places.
    #[test]
    fn no_words_make_the_readers_panic(words in proptest::collection::vec(word(), 0..60)) {
        let text: String = words.concat();
        for complaint in complaints(text.into_bytes()) {
            prop_assert!(!complaint.what.is_empty() && !complaint.instead.is_empty());
        }
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n",
            "kind: Node\nmetadata: {name: n}\nstatus: {addresses: ",
            "spec:\n  ",
            "  nodeSelector: ",
            "  ingress:\n",
            "  - ",
            "- ",
            "{}",
            "[]",
            "[{}]",
            "\n",
            "\n    ",
            "fromCIDR: ",
            "fromCIDRSet: ",
            "toPorts: ",
            "ports: ",
            "port: ",
            "\"80\"",
            "80",
            "icmps: ",
            "fields: ",
            "type: 8",
            "~",
            "true",
            "10.0.0.0/8",
            "matchLabels: ",
            "a: b",
            ", ",
            "{",
            "}",
            "[",
            "]",
            "\n---\n",
            "&a ",
            "*a",
            "!x ",
            "| \n",
            "\u{feff}",
            "é",
            "\t",
            "<<: ",
        ][..],
    )
}

fn complaints(bytes: Vec<u8>) -> Vec<Complaint> {
    let source = Source::new("p.yaml", bytes);
    let (_, world) = read_world(std::slice::from_ref(&source));
    let (_, policies) = read_policies(&[source], &Dialect::default());
    assert!(world.iter().chain(&policies).all(|one| one.path == "p.yaml"));
    policies
}

fn only_complaint(bytes: Vec<u8>) -> Complaint {
    let start = Instant::now();
    let source = Source::new("p.yaml", bytes);
    let (policies, mut complaints) = read_policies(&[source], &Dialect::default());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(policies.is_empty());
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    let complaint = complaints.remove(0);
    assert_eq!(complaint.severity, Severity::Error);
    complaint
}
