//! A YAML file as a tree in which every node knows its line and column and
//! whether a scalar was written as text or as a number. It bounds what a file
//! may cost, and knows nothing of policies; the daemon reads its configuration
//! with it too.

mod build;
pub(crate) mod edit;
mod scalar;

use crate::complaint::{Report, Source};

/// A place in a file, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The file as a whole.
    pub const WHOLE_FILE: Self = Self { line: 0, column: 0 };

    /// So many lines further down, modulo 2³².
    pub(crate) fn moved(self, n_lines: u32) -> Self {
        Self { line: self.line.wrapping_add(n_lines), ..self }
    }
}

/// One YAML node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it starts; an alias stands where it is used.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text: quoted, or plain and nothing else.
    Text(String),
    /// A plain scalar that reads as a number, as it was written.
    Number(String),
    /// A plain scalar that reads as a truth value.
    Truth(bool),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the key starts.
    pub at: Position,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Names the kind of the node in a complaint.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "empty",
            Value::Text(_) => "text",
            Value::Number(_) => "a number",
            Value::Truth(_) => "a truth value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A fingerprint of the content, positions left out (FNV-1a, 64 bits).
    pub fn fingerprint(&self, so_far: u64) -> u64 {
        match &self.value {
            Value::Null => fingerprint(so_far, b"~"),
            Value::Text(text) => fingerprint(fingerprint(so_far, b"t"), text.as_bytes()),
            Value::Number(text) => fingerprint(fingerprint(so_far, b"n"), text.as_bytes()),
            Value::Truth(true) => fingerprint(so_far, b"y"),
            Value::Truth(false) => fingerprint(so_far, b"f"),
            Value::List(items) => {
                let sum =
                    items.iter().fold(fingerprint(so_far, b"["), |sum, item| item.fingerprint(sum));
                fingerprint(sum, b"]")
            }
            Value::Map(entries) => {
                let sum = entries.iter().fold(fingerprint(so_far, b"{"), |sum, entry| {
                    entry.value.fingerprint(fingerprint(sum, entry.key.as_bytes()))
                });
                fingerprint(sum, b"}")
            }
        }
    }
}

/// Where a fingerprint starts (FNV-1a offset basis).
pub const FINGERPRINT_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds bytes, and their end, to a fingerprint.
pub fn fingerprint(so_far: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .chain(std::iter::once(&0))
        .fold(so_far, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A file larger than this is refused unread.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// A file with more nodes than this is refused; a hundred thousand rules have
/// some 1.4 million. It bounds the memory of reading to less than 1 GiB.
pub(crate) const MAX_NODES: usize = 2_000_000;

/// The documents of a file, empty ones left out. When the file cannot be read
/// as YAML there is one complaint and no document.
pub fn documents(report: &mut Report<'_>) -> Vec<Node> {
    counted_documents(report).0
}

/// As [`documents`], and how many nodes were read.
pub(crate) fn counted_documents(report: &mut Report<'_>) -> (Vec<Node>, usize) {
    let source = report.source();
    let Some(text) = as_text(source, report) else {
        return (Vec::new(), 0);
    };
    match build::documents(text) {
        Ok((mut documents, n_nodes)) => {
            documents.retain(|document| document.value != Value::Null);
            (documents, n_nodes)
        }
        Err(fault) => {
            complain(fault, report);
            (Vec::new(), 0)
        }
    }
}

fn as_text<'a>(source: &'a Source, report: &mut Report<'_>) -> Option<&'a str> {
    if source.bytes.len() > MAX_FILE_BYTES {
        let what = format!("the file has {} bytes", source.bytes.len());
        let instead = format!("split it: a file may have {} MiB", MAX_FILE_BYTES >> 20);
        report.error(Position::WHOLE_FILE, "file-too-large", what, instead);
        return None;
    }
    match std::str::from_utf8(&source.bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let before = source.bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            let at = Position { line: number(line), column: 1 };
            let what = format!("the file is not text (byte {})", error.valid_up_to());
            report.error(at, "not-text", what, "YAML in UTF-8");
            None
        }
    }
}

fn complain(fault: build::Fault, report: &mut Report<'_>) {
    let at = fault.at;
    match fault.kind {
        build::FaultKind::Limit(what) => {
            let what = format!("the file asks for too much: {what}");
            let instead = "fewer aliases and less nesting; the file was not read to its end";
            report.error(at, "yaml-limits", what, instead);
        }
        build::FaultKind::Duplicate(key) => {
            let what = format!("the key `{key}` stands twice in one mapping");
            report.error(at, "duplicate-key", what, "one key with both contents");
        }
        build::FaultKind::Syntax(what) => {
            let what = format!("not readable as YAML: {what}");
            let instead = "correct the YAML: indentation, brackets, quotes";
            report.error(at, "yaml-syntax", what, instead);
        }
    }
}

pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Node>, Vec<crate::Complaint>) {
        read_bytes(text.as_bytes().to_vec())
    }

    fn read_bytes(bytes: Vec<u8>) -> (Vec<Node>, Vec<crate::Complaint>) {
        let source = Source::new("p.yaml", bytes);
        let mut report = Report::new(&source);
        let documents = documents(&mut report);
        (documents, report.finish())
    }

    #[test]
    fn every_node_knows_its_place_and_how_it_was_written() {
        let (documents, complaints) = read("a: 080\nb:\n  - \"80\"\n  - yes\n  - .nan\n  - ~\n");
        assert_eq!(complaints, []);
        let [Node { value: Value::Map(entries), .. }] = documents.as_slice() else {
            panic!("one mapping, not {documents:?}");
        };
        assert_eq!(entries[0].value.value, Value::Number("080".to_owned()));
        assert_eq!(entries[0].value.at, Position { line: 1, column: 4 });
        assert_eq!(entries[1].at, Position { line: 2, column: 1 });
        let Value::List(items) = &entries[1].value.value else { panic!("a list") };
        let values: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        assert_eq!(values[0], Value::Text("80".to_owned()));
        assert_eq!(values[1], Value::Truth(true));
        assert_eq!(values[2], Value::Number(".nan".to_owned()));
        assert_eq!(values[3], Value::Null);
        assert_eq!(items[1].at, Position { line: 4, column: 5 });
    }

    #[test]
    fn empty_documents_are_no_documents() {
        for text in ["", "\n", "# only a comment\n", "---\n---\n", "--- ~\n"] {
            assert_eq!(read(text), (vec![], vec![]), "{text:?}");
        }
        let (documents, _) = read("---\na: é\n---\n---\nb: 080\n");
        assert_eq!(documents.len(), 2);
        let Value::Map(entries) = &documents[1].value else { panic!("a mapping") };
        assert_eq!(entries[0].value.value, Value::Number("080".to_owned()));
        assert_eq!(entries[0].at, Position { line: 5, column: 1 });
    }

    #[test]
    fn any_number_of_comments_may_stand_in_a_row() {
        let comments = "  # out of force\n".repeat(1000);
        for text in [
            format!("a:\n{comments}b: 1\n"),
            format!("a:\n{comments}  - 1\n{comments}  - 2\n"),
            format!("a: [\n{comments}1,\n{comments}]\n"),
        ] {
            let (documents, complaints) = read(&text);
            assert_eq!((documents.len(), complaints), (1, vec![]));
        }
    }

    #[test]
    fn what_is_no_yaml_gives_one_complaint_with_a_place() {
        for (text, line) in
            [("a: [b\n", 2), ("a: 1\na: 2\n", 2), ("a: b\n c: d\n", 2), ("? [x]\n: y\n", 1)]
        {
            let (documents, complaints) = read(text);
            assert_eq!((documents.len(), complaints.len()), (0, 1), "{text:?} {complaints:?}");
            assert!(
                ["yaml-syntax", "duplicate-key"].contains(&complaints[0].code),
                "{complaints:?}"
            );
            assert!(complaints[0].line <= line && complaints[0].line > 0, "{complaints:?}");
        }
    }

    #[test]
    fn garbage_is_refused_as_not_text() {
        let (documents, complaints) = read_bytes(b"kind: x\n\xff\xfe\x00\x01".to_vec());
        assert_eq!((documents.len(), complaints.len()), (0, 1));
        assert_eq!((complaints[0].code, complaints[0].line), ("not-text", 2));
    }

    #[test]
    fn the_fingerprint_follows_the_content_and_not_the_place() {
        let print = |text: &str| read(text).0[0].fingerprint(FINGERPRINT_SEED);
        assert_eq!(print("a: [x, y]\n"), print("# moved\n\na:\n- x\n- y\n"));
        assert_ne!(print("a: [x, y]\n"), print("a: [xy]\n"));
        assert_ne!(print("a: \"1\"\n"), print("a: 1\n"));
    }
}
