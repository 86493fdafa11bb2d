//! A directory that is read again and again. Of a hundred files one has changed;
//! what the others hold is known. The result is what reading everything anew
//! gives, to the last complaint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    complaint::{Complaint, Source},
    document::{Names, PolicyFile, read_file},
    edited::Shortened,
    enforceable::{read_enforceable, unenforceable},
    node::Dialect,
    policy::Policy,
    text::MAX_NODES,
};

/// A shorter text is read whole: that takes less than five milliseconds.
const SHORT: usize = 64 << 10;

/// What the files of a directory held when they were read last.
#[derive(Debug, Default)]
pub struct Readings {
    files: BTreeMap<String, Reading>,
}

/// What one file holds, and what is wrong with it by itself.
#[derive(Debug)]
struct Reading {
    file: PolicyFile,
    unenforceable: Vec<Complaint>,
}

impl Reading {
    fn new(source: &Source) -> Self {
        let file = read_file(source, &Dialect::default(), &mut Names::new());
        let unenforceable = unenforceable(source, &file.policies);
        Self { file, unenforceable }
    }

    /// What the file holds now, where this is what `old` held; `None` where all of
    /// it has to be read.
    fn after_edit(&self, old: &[u8], source: &Source) -> Option<Self> {
        if !self.is_faultless() {
            return None;
        }
        let mut shortened = Shortened::new(old, &source.bytes, &self.file.policies)?;
        let text = std::mem::take(&mut shortened.text);
        let mut read = Self::new(&Source::new(source.path.as_str(), text));
        // At most: what was edited away is counted still.
        let n_nodes = self.file.n_nodes.saturating_add(read.file.n_nodes);
        if !read.is_faultless() || n_nodes > MAX_NODES {
            return None;
        }
        read.file.policies = shortened.completed(read.file.policies)?;
        read.file.n_nodes = n_nodes;
        Some(read)
    }

    /// Whether there is nothing to say about the file, whatever is edited
    /// elsewhere in it: an edit may turn a warning on again.
    fn is_faultless(&self) -> bool {
        let PolicyFile { complaints, has_taken_back, .. } = &self.file;
        complaints.is_empty() && !has_taken_back && self.unenforceable.is_empty()
    }
}

impl Readings {
    /// As [`read_enforceable`], where `before` are the files of the last call;
    /// nothing of it is believed when there are none.
    pub fn read_enforceable(
        &mut self,
        sources: &[Source],
        before: &[Source],
    ) -> (Vec<Policy>, Vec<Complaint>) {
        let before: BTreeMap<&str, &Arc<Vec<u8>>> =
            before.iter().map(|source| (source.path.as_str(), &source.bytes)).collect();
        let mut known = std::mem::take(&mut self.files);
        for source in sources {
            let before = before.get(source.path.as_str()).zip(known.remove(&source.path));
            let reading = match before {
                Some((old, reading)) if **old == source.bytes => Some(reading),
                Some((old, reading)) if old.len() > SHORT => reading.after_edit(old, source),
                Some(_) | None => None,
            };
            let reading = reading.unwrap_or_else(|| Reading::new(source));
            self.files.insert(source.path.clone(), reading);
        }
        // Whether a name is taken is not seen in one file.
        let mut names = BTreeSet::new();
        let policies = self.files.values().flat_map(|reading| &reading.file.policies);
        let are_unique =
            policies.clone().all(|policy| names.insert((policy.kind, policy.name.as_str())));
        if !are_unique || self.files.len() != sources.len() {
            return read_enforceable(sources);
        }
        let policies = policies.cloned().collect();
        let misread = self.files.values().flat_map(|reading| &reading.file.complaints);
        let of_sources = sources.iter().filter_map(|source| self.files.get(&source.path));
        let unenforceable = of_sources.flat_map(|reading| &reading.unenforceable);
        (policies, misread.chain(unenforceable).cloned().collect())
    }
}

#[cfg(test)]
mod tests;
