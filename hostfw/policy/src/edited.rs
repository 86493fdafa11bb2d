//! A text that was edited, beside what was read from it before. Rules that stand
//! as they stood are not read again: comments take their place in the text, and
//! they take theirs among what is read.
//!
//! That gives what reading the whole gives, because of what YAML is: where an item
//! of a block list begins, all that counts of the text before it is which list it
//! stands in, and which anchors and directives there are. Texts with anchors or
//! directives are read whole. So if an item is read in the same kind of list as
//! before, and the text from there to a later item of the list is what it was, then
//! the items between them are what they were.

mod lines;

use std::{collections::BTreeMap, sync::Arc};

use hostfw_datapath::Direction;
use memchr::memchr3;

use self::lines::{Edit, Lines};
use crate::{
    document::{CLUSTERWIDE, NAMESPACED},
    policy::{Action, Policy, PolicyRule, Spec},
    text::{MAX_FILE_BYTES, Position},
};

/// A text without rules that are known.
#[derive(Debug)]
pub(crate) struct Shortened<'k> {
    /// It has the lines of the whole text, so what is left stands where it stood.
    pub(crate) text: Vec<u8>,
    /// What was left out, by the place of the rule before it.
    left_out: BTreeMap<Position, LeftOut<'k>>,
}

/// Rules that are known, between two of the same list that are read.
#[derive(Debug)]
struct LeftOut<'k> {
    list: List<'k>,
    rules: &'k [PolicyRule],
    /// So many lines further down than they stood, modulo 2³².
    moved: u32,
    /// The line of the first of them.
    first: u32,
    /// The place of the rule behind them.
    end: Position,
}

/// All that counts for a rule beside its own text.
#[derive(Debug, PartialEq, Eq)]
struct List<'k> {
    kind: &'static str,
    namespace: Option<&'k str>,
    for_nodes: bool,
    direction: Direction,
    action: Action,
}

impl<'k> List<'k> {
    fn of(policy: &'k Policy, spec: &Spec, rule: &PolicyRule) -> Self {
        Self {
            kind: policy.kind,
            namespace: policy.namespace.as_deref(),
            for_nodes: spec.subjects.are_of_nodes(),
            direction: rule.direction,
            action: rule.action,
        }
    }
}

impl<'k> Shortened<'k> {
    /// The text `new`, where `known` was read from `old` and nothing was wrong
    /// with it. `None` where nothing can be left out.
    pub(crate) fn new(old: &[u8], new: &[u8], known: &'k [Policy]) -> Option<Self> {
        // Anchors, directives, and an end of a line that is not counted here.
        let is_plain = |text: &[u8]| memchr3(b'&', b'%', b'\r', text).is_none();
        if new.len() > MAX_FILE_BYTES || !is_plain(old) || !is_plain(new) {
            return None;
        }
        let edit = Edit::new(old, new);
        let lines = Lines::new(new);
        let mut left_out = BTreeMap::new();
        for (policy, spec, rules) in lists(known) {
            let n_front = rules.partition_point(|rule| rule.at.line <= edit.n_front);
            let n_read = rules.partition_point(|rule| rule.at.line < edit.back);
            let front = rules.get(..n_front).zip(Some(0));
            let back = rules.get(n_read..).zip(Some(edit.moved));
            for (rules, moved) in front.into_iter().chain(back) {
                let [before, rules @ .., end] = rules else { continue };
                let Some(first) = rules.first() else { continue };
                let [start, first, end] = [before, first, end].map(|rule| rule.at.moved(moved));
                if [start, first, end].into_iter().all(|place| lines.is_item(place)) {
                    let list = List::of(policy, spec, before);
                    left_out.insert(start, LeftOut { list, rules, moved, first: first.line, end });
                }
            }
        }
        let mut text = Vec::new();
        let mut from = 1;
        for LeftOut { first, end, .. } in left_out.values() {
            text.extend(lines.between(from, *first)?);
            text.extend((*first..end.line).flat_map(|_| *b"#\n"));
            from = end.line;
        }
        text.extend(lines.since(from)?);
        (!left_out.is_empty()).then_some(Self { text, left_out })
    }

    /// What the whole text holds, where `read` is what is left of it and nothing is
    /// wrong with that. `None` where rules have no longer the place they had.
    pub(crate) fn completed(mut self, mut read: Vec<Policy>) -> Option<Vec<Policy>> {
        for policy in &mut read {
            let mut specs = std::mem::take(&mut policy.specs);
            for spec in Arc::make_mut(&mut specs) {
                let mut rest = std::mem::take(&mut spec.rules).into_iter().peekable();
                let mut rules = Vec::with_capacity(rest.len());
                while let Some(rule) = rest.next() {
                    let Some(left_out) = self.left_out.remove(&rule.at) else {
                        rules.push(rule);
                        continue;
                    };
                    let next = rest.peek()?;
                    let list = List::of(policy, spec, &rule);
                    if left_out.list != list
                        || next.at != left_out.end
                        || List::of(policy, spec, next) != list
                    {
                        return None;
                    }
                    rules.push(rule);
                    rules.reserve_exact(left_out.rules.len() + rest.len());
                    rules.extend(left_out.rules.iter().map(|rule| rule.moved(left_out.moved)));
                }
                spec.rules = rules;
            }
            policy.specs = specs;
        }
        self.left_out.is_empty().then_some(read)
    }
}

/// Every list whose items are read each by itself, one rule from one item.
fn lists(policies: &[Policy]) -> impl Iterator<Item = (&Policy, &Spec, &[PolicyRule])> {
    let is_read_so = |policy: &&Policy| [CLUSTERWIDE, NAMESPACED].contains(&policy.kind);
    policies.iter().filter(is_read_so).flat_map(|policy| {
        policy.specs.iter().flat_map(move |spec| {
            let list = |rule: &PolicyRule| (rule.direction, rule.action);
            let lists = spec.rules.chunk_by(move |rule, next| list(rule) == list(next));
            lists.map(move |rules| (policy, spec, rules))
        })
    })
}
