//! What is said about a run: a line for every file, the first cases that differ
//! in full, and the sum.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Cases of one file that are shown in full.
const SHOWN: usize = 8;

/// What became of the cases of one file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Differences that are meant, by their number.
    intended: BTreeMap<String, u64>,
    /// Ids that differ as intended, with the number.
    pub(crate) used: BTreeSet<(String, String)>,
    /// The first cases that differ, in words.
    pub(crate) shown: Vec<String>,
}

impl Tally {
    /// A case as the reference has it.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// A case that differs, and is meant to.
    pub(crate) fn intend(&mut self, id: &str, number: &str) {
        self.passed += 1;
        *self.intended.entry(number.to_owned()).or_default() += 1;
        self.used.insert((id.to_owned(), number.to_owned()));
    }

    /// A case that differs and is not meant to.
    pub(crate) fn fail(&mut self, words: impl FnOnce() -> String) {
        self.failed += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(words());
        }
    }

    /// Another part of the same file.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        for (number, count) in other.intended {
            *self.intended.entry(number).or_default() += count;
        }
        self.used.extend(other.used);
        let room = SHOWN.saturating_sub(self.shown.len());
        self.shown.extend(other.shown.into_iter().take(room));
    }

    /// The line of a file.
    pub(crate) fn line(&self, name: &str) -> String {
        let mut line = format!("{name}: {} passed, {} failed", self.passed, self.failed);
        for (number, count) in &self.intended {
            write!(line, ", {count} intended ({number})").unwrap_or_default();
        }
        line
    }
}
