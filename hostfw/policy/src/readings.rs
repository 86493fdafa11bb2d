//! A directory that is read again and again. Of a hundred files one has changed;
//! what the others hold is known. The result is what reading everything anew
//! gives, to the last complaint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    complaint::{Complaint, Source},
    document::read_policies,
    enforceable::{read_enforceable, unenforceable},
    node::Dialect,
    policy::Policy,
};

/// What the files of a directory held when they were read last.
#[derive(Debug, Default)]
pub struct Readings {
    files: BTreeMap<String, Reading>,
}

/// What one file holds, and what is wrong with it by itself.
#[derive(Debug)]
struct Reading {
    policies: Vec<Policy>,
    misread: Vec<Complaint>,
    unenforceable: Vec<Complaint>,
}

impl Reading {
    fn new(source: &Source) -> Self {
        let (policies, misread) = read_policies(std::slice::from_ref(source), &Dialect::default());
        let unenforceable = unenforceable(source, &policies);
        Self { policies, misread, unenforceable }
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
            let is_same = before.get(source.path.as_str()) == Some(&&source.bytes);
            let reading = known.remove(&source.path).filter(|_| is_same);
            let reading = reading.unwrap_or_else(|| Reading::new(source));
            self.files.insert(source.path.clone(), reading);
        }
        // Whether a name is taken is not seen in one file.
        let mut names = BTreeSet::new();
        let policies = self.files.values().flat_map(|reading| &reading.policies);
        let are_unique =
            policies.clone().all(|policy| names.insert((policy.kind, policy.name.as_str())));
        if !are_unique || self.files.len() != sources.len() {
            return read_enforceable(sources);
        }
        let policies = policies.cloned().collect();
        let misread = self.files.values().flat_map(|reading| &reading.misread);
        let of_sources = sources.iter().filter_map(|source| self.files.get(&source.path));
        let unenforceable = of_sources.flat_map(|reading| &reading.unenforceable);
        (policies, misread.chain(unenforceable).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_again_is_reading_anew(edits in prop::collection::vec((0..4_usize, 0..9_usize), 1..20)) {
            let mut readings = Readings::default();
            let mut files: BTreeMap<usize, usize> = BTreeMap::new();
            let mut before = Vec::new();
            for (file, text) in edits {
                // The last text is that of a file that is not there.
                if text == 8 { files.remove(&file) } else { files.insert(file, text) };
                let now: Vec<Source> = files.iter().map(|(file, text)| source(*file, *text)).collect();
                let again = readings.read_enforceable(&now, &before);
                prop_assert_eq!(again, read_enforceable(&now));
                before = now;
            }
        }
    }

    #[test]
    fn what_is_not_said_to_be_as_before_is_read() {
        let mut readings = Readings::default();
        let (one, other) = ([source(0, 0)], [source(0, 1)]);
        readings.read_enforceable(&one, &[]);
        assert_eq!(readings.read_enforceable(&other, &[]), read_enforceable(&other));
        assert_eq!(readings.read_enforceable(&other, &other), read_enforceable(&other));
    }

    /// Files that are clean, share a name, cannot be read, or cannot be enforced.
    fn source(file: usize, text: usize) -> Source {
        let policy = |name: &str, rule: &str| {
            format!(
                "---\napiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
                 metadata: {{name: {name}}}\nspec:\n  nodeSelector: {{}}\n  ingress:\n  - {rule}\n"
            )
        };
        let prefix = "fromCIDR: [192.0.2.0/24]";
        let text = match text {
            0 => policy(&format!("own-{file}"), prefix),
            1 => policy(&format!("own-{file}"), "fromCIDR: [198.51.100.0/24]"),
            2 => policy("shared", prefix),
            3 => policy("twice", prefix) + &policy("twice", prefix),
            4 => policy("named", "toPorts: [{ports: [{port: http, protocol: TCP}]}]"),
            5 => policy("unknown", "fromNowhere: []"),
            6 => "no: [end".to_owned(),
            _ => String::new(),
        };
        let ending = if file == 3 { "test.yaml" } else { "yaml" };
        Source::new(format!("{file}.{ending}"), text)
    }
}
