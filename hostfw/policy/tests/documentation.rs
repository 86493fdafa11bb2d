//! The examples in the documentation: every YAML block is read by the reader
//! that it is meant for, and nothing in it is complained about. A block whose
//! first line is `yaml,not-enforced` is one that is read and may not be put in
//! force.

#![expect(clippy::disallowed_methods, reason = "the examples stand in files")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use hostfw_policy::{
    Complaint, Dialect, Severity, Source, ThisNode, World, cases::read_cases,
    guardrails::read_guardrails, read_enforceable, read_policies, read_world,
};

const POLICIES: [&str; 4] = [
    "CiliumClusterwideNetworkPolicy",
    "CiliumNetworkPolicy",
    "NetworkPolicy",
    "ClusterNetworkPolicy",
];
const OBJECTS: [&str; 7] =
    ["Node", "Pod", "Namespace", "CiliumCIDRGroup", "Service", "Endpoints", "EndpointSlice"];

#[test]
fn every_example_in_the_documentation_is_read_as_it_says() {
    let mut n_read = [0; 5];
    for Example { place, text, is_enforced } in examples() {
        let kind = text.lines().find_map(|line| line.strip_prefix("kind: ")).map(str::trim);
        let (number, name) = match kind {
            Some(kind) if POLICIES.contains(&kind) => (usize::from(!is_enforced), "p.yaml"),
            Some(kind) if OBJECTS.contains(&kind) => (2, "w.yaml"),
            Some(kind) => panic!("{place}: an example of kind {kind}"),
            None if has_key(&text, "guardrails") => (3, "p.guardrails.yaml"),
            None if has_key(&text, "tests") => (4, "p.test.yaml"),
            None => continue,
        };
        n_read[number] += 1;
        let source = [Source::new(name, text)];
        let complaints = match number {
            0 => read_enforceable(&source).1,
            1 => {
                let refused = read_enforceable(&source).1;
                let is_refused = refused.iter().any(|one| one.severity == Severity::Error);
                assert!(is_refused, "{place}: this can be put in force");
                read_policies(&source, &Dialect::default()).1
            }
            2 => read_world(&source).1,
            3 => read_guardrails(&source).1,
            _ => of_cases(&source),
        };
        assert!(complaints.is_empty(), "{place}: {complaints:#?}");
    }
    assert!(n_read.iter().all(|n_read| *n_read > 0), "{n_read:?}");
}

/// The nodes and pods of an example are nobody's, and everything else is right.
fn of_cases(source: &[Source]) -> Vec<Complaint> {
    let mut complaints = read_cases(source, &World::default(), &ThisNode::default()).1;
    complaints.retain(|one| one.code != "test-unknown");
    complaints
}

fn has_key(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
}

struct Example {
    /// The file and the line of its first line.
    place: String,
    text: String,
    is_enforced: bool,
}

/// The YAML blocks of the manual.
fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_dir(root.join("docs")).expect("a folder of the repository");
    let mut files: Vec<PathBuf> = docs.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "md"));
    files.push(root.join("README.md"));
    files.sort();
    let mut examples = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file of the repository");
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            let is_enforced = match line.strip_prefix("```yaml") {
                Some("") => true,
                Some(",not-enforced") => false,
                Some(other) => panic!("{}:{number}: `{other}`", file.display()),
                None => continue,
            };
            let block = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = block.fold(String::new(), |text, line| text + line + "\n");
            examples.push(Example {
                place: format!("{}:{number}", file.display()),
                text,
                is_enforced,
            });
        }
    }
    examples
}
