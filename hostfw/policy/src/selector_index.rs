//! Finds the selectors that select given labels without asking every one of
//! them: each selector waits at the rarest label that it cannot do without. It
//! does not know whose labels they are.

use rustc_hash::FxHashMap;

use crate::{
    label::Labels,
    selector::{Operator, Selector},
};

/// Many selectors, each standing for a number.
#[derive(Debug, Default)]
pub(crate) struct SelectorIndex {
    selectors: Vec<(Selector, u32)>,
    /// By a key and a value that must be there.
    by_value: FxHashMap<String, FxHashMap<String, Vec<usize>>>,
    /// By a key that must be there.
    by_key: FxHashMap<String, Vec<usize>>,
    /// Those that require nothing to be there.
    anywhere: Vec<usize>,
}

impl SelectorIndex {
    /// An index of selectors and their numbers; several may have one number.
    pub(crate) fn new(selectors: Vec<(Selector, u32)>) -> Self {
        let mut uses: FxHashMap<(&str, &str), u32> = FxHashMap::default();
        for (selector, _) in &selectors {
            for (key, values) in required(selector) {
                for value in values {
                    *uses.entry((key, value)).or_default() += 1;
                }
            }
        }
        let mut index = Self::default();
        for (at, (selector, _)) in selectors.iter().enumerate() {
            let cost = |key: &str, values: &[String]| -> u32 {
                values.iter().filter_map(|value| uses.get(&(key, value.as_str()))).sum()
            };
            let rarest = required(selector).min_by_key(|(key, values)| cost(key, values));
            let present = selector
                .requirements
                .iter()
                .find(|requirement| requirement.operator == Operator::Exists);
            if let Some((key, values)) = rarest {
                let of_key = index.by_value.entry(key.to_owned()).or_default();
                for value in values {
                    of_key.entry(value.clone()).or_default().push(at);
                }
            } else if let Some(requirement) = present {
                index.by_key.entry(requirement.key.clone()).or_default().push(at);
            } else {
                index.anywhere.push(at);
            }
        }
        index.selectors = selectors;
        index
    }

    /// The numbers of all selectors that select the labels, in no order; one
    /// may come several times.
    pub(crate) fn selecting(&self, labels: &Labels, found: &mut Vec<u32>) {
        let mut ask = |waiting: Option<&Vec<usize>>| {
            for at in waiting.into_iter().flatten() {
                if let Some((selector, number)) = self.selectors.get(*at)
                    && selector.selects(labels)
                {
                    found.push(*number);
                }
            }
        };
        ask(Some(&self.anywhere));
        for (key, value) in labels.iter() {
            ask(self.by_value.get(key).and_then(|of_key| of_key.get(value)));
        }
        for key in labels.keys() {
            ask(self.by_key.get(key));
        }
    }
}

/// The keys of a selector that must have one of some values.
fn required(selector: &Selector) -> impl Iterator<Item = (&str, &[String])> {
    selector.requirements.iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((requirement.key.as_str(), values.as_slice())),
        Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::Requirement;

    fn requirement() -> impl Strategy<Value = Requirement> {
        let values = || proptest::collection::vec("[a-c]", 1..3);
        let operator = prop_oneof![
            values().prop_map(Operator::In),
            values().prop_map(Operator::NotIn),
            Just(Operator::Exists),
            Just(Operator::DoesNotExist),
        ];
        (proptest::option::of("k8s|reserved"), "[x-z]", operator)
            .prop_map(|(source, key, operator)| Requirement { source, key, operator })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_every_selector_finds(
            selectors in proptest::collection::vec(
                proptest::collection::vec(requirement(), 0..3)
                    .prop_map(|requirements| Selector { requirements }),
                0..12,
            ),
            labels in proptest::collection::vec(("k8s|reserved", "[x-z]", "[a-c]"), 0..5),
        ) {
            let mut all = Labels::default();
            for (source, key, value) in &labels {
                all.insert(source, key, value);
            }
            let numbered: Vec<_> = selectors.into_iter().zip(0u32..).collect();
            let index = SelectorIndex::new(numbered.clone());
            let mut found = Vec::new();
            index.selecting(&all, &mut found);
            found.sort_unstable();
            found.dedup();
            let asked: Vec<u32> = numbered
                .iter()
                .filter(|(selector, _)| selector.selects(&all))
                .map(|(_, number)| *number)
                .collect();
            prop_assert_eq!(found, asked);
        }
    }
}
