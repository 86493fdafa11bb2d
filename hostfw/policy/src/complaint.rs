//! What is wrong with a text and what to write instead. It knows where in a
//! file something stands, and nothing of what policies mean; how a complaint is
//! shown is the business of whoever shows it.

use std::{collections::BTreeSet, sync::Arc};

use crate::text::Position;

/// One file, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it was read from, as complaints shall name it.
    pub path: String,
    /// The content, whatever it is. Copies share it, and are known to be equal
    /// without a look.
    pub bytes: Arc<Vec<u8>>,
}

impl Source {
    /// A file and what it holds.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: Arc::new(bytes.into()) }
    }
}

/// Whether the directory can be put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The whole directory is refused; the last good set stays in force.
    Error,
    /// Accepted, but probably not what the author means.
    Warning,
}

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file.
    pub path: String,
    /// Line, counted from 1; 0 when the complaint concerns the file as a whole.
    pub line: u32,
    /// Column in characters, counted from 1; 0 together with the line.
    pub column: u32,
    /// Whether it refuses the directory.
    pub severity: Severity,
    /// A stable name of this kind of complaint.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
    /// The line itself.
    pub excerpt: String,
}

/// More complaints than these about one file help nobody.
const MAX_COMPLAINTS: usize = 100;

/// An excerpt is cut after this many characters.
const MAX_EXCERPT: usize = 160;

/// Collects the complaints about one file.
#[derive(Debug)]
pub struct Report<'a> {
    source: &'a Source,
    complaints: Vec<Complaint>,
    n_unsaid: usize,
    has_taken_back: bool,
}

impl<'a> Report<'a> {
    /// Nothing to complain about yet.
    pub fn new(source: &'a Source) -> Self {
        Self { source, complaints: Vec::new(), n_unsaid: 0, has_taken_back: false }
    }

    /// The file in question.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// Adds something that refuses the directory.
    pub fn error(
        &mut self,
        at: Position,
        code: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.add(Severity::Error, at, code, what.into(), instead.into());
    }

    /// Adds something that the author should know.
    pub fn warning(
        &mut self,
        at: Position,
        code: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.add(Severity::Warning, at, code, what.into(), instead.into());
    }

    /// How many complaints there are.
    pub(crate) fn len(&self) -> usize {
        self.complaints.len()
    }

    /// Takes back the warnings of these codes, but none of the first `n`
    /// complaints.
    pub(crate) fn take_back(&mut self, n: usize, codes: &BTreeSet<&str>) {
        let is_off =
            |one: &Complaint| one.severity == Severity::Warning && codes.contains(one.code);
        let n_before = self.complaints.len();
        let mut number = 0;
        self.complaints.retain(|one| {
            number += 1;
            number <= n || !is_off(one)
        });
        self.has_taken_back |= self.complaints.len() < n_before;
    }

    /// Whether there were warnings that are turned off.
    pub(crate) fn has_taken_back(&self) -> bool {
        self.has_taken_back
    }

    /// All complaints, in the order of the file.
    pub fn finish(mut self) -> Vec<Complaint> {
        self.complaints.sort_by_key(|complaint| (complaint.line, complaint.column));
        if self.n_unsaid > 0 {
            self.complaints.push(Complaint {
                path: self.source.path.clone(),
                line: 0,
                column: 0,
                severity: Severity::Error,
                code: "and-more",
                what: format!("{} more complaints about this file", self.n_unsaid),
                instead: "correct those above first".to_owned(),
                excerpt: String::new(),
            });
        }
        self.complaints
    }

    fn add(
        &mut self,
        severity: Severity,
        at: Position,
        code: &'static str,
        what: String,
        instead: String,
    ) {
        if self.complaints.len() >= MAX_COMPLAINTS {
            // A suppressed warning must not refuse the directory.
            self.n_unsaid += usize::from(severity == Severity::Error);
            return;
        }
        self.complaints.push(Complaint {
            path: self.source.path.clone(),
            line: at.line,
            column: at.column,
            severity,
            code,
            what,
            instead,
            excerpt: line_of(&self.source.bytes, at.line),
        });
    }
}

/// A line of a file, fit for a terminal: control characters are replaced, and
/// long lines are cut.
pub fn line_of(bytes: &[u8], line: u32) -> String {
    let Some(index) = line.checked_sub(1).and_then(|line| usize::try_from(line).ok()) else {
        return String::new();
    };
    let line = bytes.split(|byte| *byte == b'\n').nth(index).unwrap_or_default();
    let start = line.get(..MAX_EXCERPT * 4).unwrap_or(line);
    let text = String::from_utf8_lossy(start);
    let mut shown: String = text
        .trim_end()
        .chars()
        .take(MAX_EXCERPT)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if line.len() > start.len() || text.trim_end().chars().count() > MAX_EXCERPT {
        shown.push('…');
    }
    shown
}
