//! Sets of numbers (of rules, of what peers are named by), each stored once and
//! sharing their parts, so that a hundred thousand cells that differ in one rule
//! cost little more than that rule. They are binary tries over the bits of the ids (Okasaki and Gill,
//! "Fast mergeable integer maps"): the form of a set does not depend on the
//! order in which it grew, so equal sets have equal numbers.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

/// The number of a set within its [`RuleSets`].
pub(crate) type SetId = u32;

/// The set without rules.
pub(crate) const EMPTY: SetId = 0;

/// All sets of one compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSets {
    /// By their numbers.
    all: IndexSet<Parts, FxBuildHasher>,
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
        Self { all: IndexSet::from_iter([Parts::Empty]) }
    }
}

impl RuleSets {
    /// Makes room for so many more parts at once.
    pub(crate) fn reserve(&mut self, n_parts: usize) {
        self.all.reserve(n_parts);
    }

    /// Number of stored parts, which is what memory follows.
    pub(crate) fn n_parts(&self) -> usize {
        self.all.len()
    }

    /// What a set consists of.
    pub(crate) fn parts(&self, set: SetId) -> Parts {
        usize::try_from(set)
            .ok()
            .and_then(|at| self.all.get_index(at))
            .copied()
            .unwrap_or(Parts::Empty)
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

    /// The ids of either set.
    pub(crate) fn union(&mut self, one: SetId, other: SetId) -> SetId {
        if one == other {
            return one;
        }
        match (self.parts(one), self.parts(other)) {
            (Parts::Empty, _) => other,
            (_, Parts::Empty) => one,
            (Parts::One(rule), _) => self.with(other, rule),
            (_, Parts::One(rule)) => self.with(one, rule),
            (
                parts @ Parts::Two { prefix, bit, low, high },
                beside @ Parts::Two { prefix: prefix_2, bit: bit_2, low: low_2, high: high_2 },
            ) => {
                if (prefix, bit) == (prefix_2, bit_2) {
                    let low = self.union(low, low_2);
                    let high = self.union(high, high_2);
                    self.intern(Parts::Two { prefix, bit, low, high })
                } else if bit > bit_2 && above(prefix_2, bit) == prefix {
                    self.union_below(parts, other, prefix_2)
                } else if bit_2 > bit && above(prefix, bit_2) == prefix_2 {
                    self.union_below(beside, one, prefix)
                } else {
                    self.join_sets((one, prefix), (other, prefix_2))
                }
            }
        }
    }

    /// A split set with another one that lies on one of its sides.
    fn union_below(&mut self, parts: Parts, set: SetId, sample: u32) -> SetId {
        let Parts::Two { prefix, bit, low, high } = parts else { return set };
        let (low, high) = if sample & bit == 0 {
            (self.union(low, set), high)
        } else {
            (low, self.union(high, set))
        };
        self.intern(Parts::Two { prefix, bit, low, high })
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
        let one = self.intern(Parts::One(rule));
        self.join_sets((set, sample), (one, rule))
    }

    /// Two sets whose ids start differently; each with a sample of them.
    fn join_sets(&mut self, one: (SetId, u32), other: (SetId, u32)) -> SetId {
        let bit = 1 << (31 - (one.1 ^ other.1).leading_zeros());
        let (low, high) = if one.1 & bit == 0 { (one.0, other.0) } else { (other.0, one.0) };
        self.intern(Parts::Two { prefix: above(one.1, bit), bit, low, high })
    }

    fn intern(&mut self, parts: Parts) -> SetId {
        u32::try_from(self.all.insert_full(parts).0).unwrap_or(EMPTY)
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
                let (even, odd): (Vec<u32>, Vec<u32>) =
                    expected.iter().partition(|rule| *rule % 3 == 0);
                let even = even.iter().fold(EMPTY, |set, rule| sets.with(set, *rule));
                let odd = odd.iter().fold(EMPTY, |set, rule| sets.with(set, *rule));
                prop_assert_eq!(sets.union(even, odd), set);
                prop_assert_eq!(sets.union(set, odd), set);
                let again = expected.iter().rev().fold(EMPTY, |set, rule| sets.with(set, *rule));
                prop_assert_eq!(again, set);
            }
        }
    }
}
