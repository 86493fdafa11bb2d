//! Differences that are meant. Those of the vectors of this repository stand in
//! a list, each by its id with the number of the difference and why; and for
//! every number there is what such a difference looks like, so that in vectors
//! that nobody listed it is told apart from a mistake.

use std::{collections::BTreeSet, path::Path};

use hostfw_policy::Complaint;
use serde::Deserialize;

use crate::vectors;

/// Which differences are meant.
#[derive(Debug, Default)]
pub(crate) struct Intended {
    /// Ids and numbers; `None` for vectors that nobody listed.
    listed: Option<BTreeSet<(String, String)>>,
}

/// One line of the list.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    id: String,
    v: String,
    /// For people; a line without it is not read.
    #[serde(rename = "why")]
    _why: String,
}

impl Intended {
    /// Those of a list.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let entries: Vec<Entry> = vectors::lines(path)?;
        let listed = entries.into_iter().map(|Entry { id, v, .. }| (id, v));
        Ok(Self { listed: Some(listed.collect()) })
    }

    /// Those that look like one.
    pub(crate) fn by_looks() -> Self {
        Self { listed: None }
    }

    /// True when a vector may differ in this way.
    pub(crate) fn takes(&self, id: &str, v: &str) -> bool {
        let pair = (id.to_owned(), v.to_owned());
        self.listed.as_ref().is_none_or(|listed| listed.contains(&pair))
    }

    /// What is listed and did not differ.
    pub(crate) fn unused(&self, used: &BTreeSet<(String, String)>) -> Vec<&(String, String)> {
        self.listed.iter().flatten().filter(|pair| !used.contains(pair)).collect()
    }
}

/// The number of the difference that explains why we refuse a document that the
/// reference takes; none when nothing does.
pub(crate) fn refusal(text: &str, errors: &[Complaint]) -> Option<&'static str> {
    let each: Option<Vec<&str>> = errors.iter().map(|error| refused_by(text, error)).collect();
    each?.into_iter().next()
}

fn refused_by(text: &str, error: &Complaint) -> Option<&'static str> {
    match error.code {
        // Dropped silently by the reference.
        "unknown-field" | "duplicate-key" | "wrong-version" | "not-supported"
        | "bad-authentication" | "bad-action" => Some("V1"),
        // Octal and other spellings, and ranges that are cut to 16 bits.
        "bad-port" | "bad-icmp" => Some("V4"),
        "empty-names" => Some("V5"),
        // Without the misspelt selector or list nothing is left.
        "missing-field" if text.contains("Selector") || text.contains("ngress") => Some("V1"),
        _ => None,
    }
}

/// True when a policy names ICMPv4's type 0, which the reference takes for
/// every type (V3).
pub(crate) fn names_echo_reply(documents: &[String]) -> bool {
    documents.iter().any(|text| {
        text.contains("EchoReply")
            || text.split("type:").skip(1).any(|rest| is_zero(rest.trim_start()))
    })
}

fn is_zero(rest: &str) -> bool {
    let word = rest.split([',', '}', '\n', ' ']).next().unwrap_or_default();
    matches!(word.trim_matches(['"', '\'']), "0")
}
