//! Sets of rule ids, each stored once and sharing their parts, so that a
//! hundred thousand cells that differ in one rule cost little more than that
//! rule. They are binary tries over the bits of the ids (Okasaki and Gill,
//! "Fast mergeable integer maps"): the form of a set does not depend on the
//! order in which it grew, so equal sets have equal numbers.

use std::collections::HashMap;

/// The number of a set within its [`RuleSets`].
pub(crate) type SetId = u32;

/// The set without rules.
pub(crate) const EMPTY: SetId = 0;

/// All sets of one compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSets {
    nodes: Vec<Parts>,
    known: HashMap<Parts, SetId>,
}

/// What a set consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Parts {
    /// Nothing.
    Empty,
    /// One id.
    One(u32),
    /// Ids that agree above `bit`, split by it: clear in `low`, set in `high`.
    Two { prefix: u32, bit: u32, low: SetId, high: SetId },
}

impl Default for RuleSets {
    fn default() -> Self {
        Self { nodes: vec![Parts::Empty], known: HashMap::from([(Parts::Empty, EMPTY)]) }
    }
}

impl RuleSets {
    /// Number of stored parts, which is what memory follows.
    pub(crate) fn n_parts(&self) -> usize {
        self.nodes.len()
    }

    /// What a set consists of.
    pub(crate) fn parts(&self, set: SetId) -> Parts {
        usize::try_from(set).ok().and_then(|at| self.nodes.get(at)).copied().unwrap_or(Parts::Empty)
    }

    /// The set with one more rule.
    pub(crate) fn with(&mut self, set: SetId, rule: u32) -> SetId {
        match self.parts(set) {
            Parts::Empty => self.intern(Parts::One(rule)),
            Parts::One(known) if known == rule => set,
            Parts::One(known) => self.join(set, known, rule),
            Parts::Two { prefix, bit, low, high } => {
                if above(rule, bit) != prefix {
                    self.join(set, prefix, rule)
                } else if rule & bit == 0 {
                    let low = self.with(low, rule);
                    self.intern(Parts::Two { prefix, bit, low, high })
                } else {
                    let high = self.with(high, rule);
                    self.intern(Parts::Two { prefix, bit, low, high })
                }
            }
        }
    }

    /// The set with one rule less.
    pub(crate) fn without(&mut self, set: SetId, rule: u32) -> SetId {
        match self.parts(set) {
            Parts::One(known) if known == rule => EMPTY,
            Parts::Two { prefix, bit, low, high } if above(rule, bit) == prefix => {
                let (low, high) = if rule & bit == 0 {
                    (self.without(low, rule), high)
                } else {
                    (low, self.without(high, rule))
                };
                match (low, high) {
                    (EMPTY, rest) | (rest, EMPTY) => rest,
                    (low, high) => self.intern(Parts::Two { prefix, bit, low, high }),
                }
            }
            Parts::Empty | Parts::One(_) | Parts::Two { .. } => set,
        }
    }

    /// The ids of a set, ascending.
    pub(crate) fn ids(&self, set: SetId) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut open = vec![set];
        while let Some(set) = open.pop() {
            match self.parts(set) {
                Parts::Empty => {}
                Parts::One(rule) => ids.push(rule),
                Parts::Two { low, high, .. } => open.extend([high, low]),
            }
        }
        ids
    }

    /// The set of one new rule beside a set whose ids start like `sample`.
    fn join(&mut self, set: SetId, sample: u32, rule: u32) -> SetId {
        let bit = 1 << (31 - (sample ^ rule).leading_zeros());
        let one = self.intern(Parts::One(rule));
        let (low, high) = if rule & bit == 0 { (one, set) } else { (set, one) };
        self.intern(Parts::Two { prefix: above(rule, bit), bit, low, high })
    }

    fn intern(&mut self, parts: Parts) -> SetId {
        if let Some(set) = self.known.get(&parts) {
            return *set;
        }
        let set = u32::try_from(self.nodes.len()).unwrap_or(EMPTY);
        self.nodes.push(parts);
        self.known.insert(parts, set);
        set
    }
}

/// The bits of an id above a single bit.
fn above(id: u32, bit: u32) -> u32 {
    id & !(bit | (bit - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_are_numbered_by_their_content(
            changes in proptest::collection::vec((any::<bool>(), 0u32..40), 0..60),
        ) {
            let mut sets = RuleSets::default();
            let mut set = EMPTY;
            let mut expected = BTreeSet::new();
            for (add, rule) in changes {
                if add {
                    set = sets.with(set, rule);
                    expected.insert(rule);
                } else {
                    set = sets.without(set, rule);
                    expected.remove(&rule);
                }
                prop_assert_eq!(sets.ids(set), expected.iter().copied().collect::<Vec<_>>());
                let again = expected.iter().rev().fold(EMPTY, |set, rule| sets.with(set, *rule));
                prop_assert_eq!(again, set);
            }
        }
    }
}
