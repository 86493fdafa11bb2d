//! The canonical form of every YAML file of the repository, as it is and with
//! lines changed at random: the documents and comments stay the same, and what
//! is in the form stays as it is.

#![expect(clippy::disallowed_methods, reason = "a test may read files")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use hostfw_policy::{
    Source,
    complaint::Report,
    fmt::format,
    text::{self, Node, Value},
};

/// Changed versions of each file. A search takes more of them.
const VERSIONS: u32 = 40;

#[test]
fn every_file_keeps_its_content_and_comments_in_the_canonical_form() {
    let texts = texts();
    assert!(texts.len() > 100, "{}", texts.len());
    let n_formatted = texts.iter().filter(|(path, text)| is_kept(path, text)).count();
    assert!(n_formatted > 100, "{n_formatted} of {}", texts.len());
}

#[test]
fn a_file_with_lines_changed_keeps_its_content_and_comments() {
    let versions = std::env::var("VERSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(VERSIONS);
    let mut n_formatted = 0;
    for (path, text) in texts().iter().filter(|(_, text)| text.len() < 4000) {
        let mut chance = Chance(1);
        for _ in 0..versions {
            n_formatted += usize::from(is_kept(path, &changed(text, &mut chance)));
        }
    }
    assert!(n_formatted > 1000, "{n_formatted}");
}

#[test]
fn the_examples_are_in_the_canonical_form() {
    let mut files = Vec::new();
    collect(&root().join("etc"), &mut files);
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let path = file.display().to_string();
        let bytes = fs::read(&file).expect("a file of the repository");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(format(&Source::new(path, bytes)).as_deref(), Ok(text.as_str()));
    }
}

/// Formats a text twice where it can be read, and says whether it could.
#[track_caller]
fn is_kept(path: &str, text: &str) -> bool {
    let Some(before) = documents(text) else { return false };
    let source = Source::new(path, text);
    let once = match format(&source) {
        Ok(once) => once,
        Err(complaints) => {
            let is_internal = complaints.iter().any(|one| one.what.contains("internal"));
            assert!(!is_internal, "{complaints:?}\n{text}");
            return false;
        }
    };
    let after = documents(&once).unwrap_or_else(|| panic!("unreadable\n{text}\n---->\n{once}"));
    assert_eq!(before, after, "{path}:\n{text}\n---->\n{once}");
    let again = format(&Source::new(source.path, once.clone()));
    assert_eq!(again.as_deref(), Ok(once.as_str()), "{path}:\n{text}\n---->\n{once}");
    let n_signs = |text: &str| text.matches('#').count();
    assert_eq!(n_signs(text), n_signs(&once), "{path}:\n{text}\n---->\n{once}");
    true
}

/// The documents without places, the keys of each in alphabetical order.
fn documents(text: &str) -> Option<Vec<String>> {
    let source = Source::new("", text);
    let mut report = Report::new(&source);
    let documents = text::documents(&mut report);
    report.finish().is_empty().then(|| documents.iter().map(|node| shown(node, true)).collect())
}

fn shown(node: &Node, is_root: bool) -> String {
    match &node.value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(item, false)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(entries) => {
            let entries = entries.iter();
            let mut entries: Vec<String> = entries
                .map(|entry| format!("{:?}:{}", entry.key, shown(&entry.value, false)))
                .collect();
            if is_root {
                entries.sort();
            }
            format!("{{{}}}", entries.join(","))
        }
        scalar @ (Value::Null | Value::Text(_) | Value::Number(_) | Value::Truth(_)) => {
            format!("{scalar:?}")
        }
    }
}

/// A text with some lines taken away, moved, or given comments.
fn changed(text: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=chance.below(6) {
        let at = chance.below(lines.len() + 1);
        let indent = " ".repeat(chance.below(9));
        match chance.below(12) {
            0..3 => lines.insert(at, format!("{indent}# above {at}")),
            3 => lines.insert(at, String::new()),
            4 => lines.insert(at, "---".to_owned()),
            5 => lines.insert(at, format!("{indent}- x{at}: |+\n{indent}     y\n\n")),
            6 => lines.insert(at, format!("{indent}k{at}:\n{indent}  - {{a: [b, 'c'\n]}}")),
            7 => drop((at < lines.len()).then(|| lines.remove(at))),
            8 => lines.insert(at, format!("{indent}-")),
            choice => {
                let Some(line) = lines.get_mut(at) else { continue };
                *line = match choice {
                    9 => format!("{line} # behind {at}"),
                    10 => line.replacen(": ", ":\n          ", 1),
                    _ => line.replacen("- ", "-   ", 1),
                };
            }
        }
    }
    lines.join("\n")
}

/// Numbers that look random and are the same every time.
struct Chance(u32);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(self.0 >> 8).expect("it fits") % limit.max(1)
    }
}

/// Every YAML text of the repository: files, the corpus of the fuzzer, examples
/// in the documentation.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["tests/policies", "tests/fuzz/corpus", "etc", "docs"] {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let path = file.display().to_string();
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if path.ends_with(".md") {
            let blocks = text.split("```yaml").skip(1);
            let blocks = blocks.filter_map(|block| Some(block.split_once('\n')?.1));
            let blocks = blocks.filter_map(|block| block.split("```").next());
            texts.extend(blocks.map(|block| (path.clone(), block.to_owned())));
        } else if path.ends_with(".yaml") || path.ends_with(".yml") || path.contains("/corpus/") {
            texts.push((path, text));
        }
    }
    texts
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
