//! The order of peer classes: those that may use the same ports are neighbours. What
//! packets to one port look up stands together then, and more of it is in a cache.
//! It decides nothing but numbers.

use hostfw_datapath::image::CLASS;
use rustc_hash::FxHashMap;

use crate::{
    parts::Uses,
    peers::PeerClasses,
    rule_set::{Parts, RuleSets, SetId},
    terms::TermId,
};

/// The lowest and the highest list of services, from 1 on; 0 for all services.
type Span = (usize, usize);

/// That of somebody whom no rule names.
const NOTHING: Span = (usize::MAX, 0);

/// Renumbers the classes by the services of the rules that name them, as one subject
/// has them.
pub(crate) fn group(peers: &mut PeerClasses, terms: &RuleSets, uses: &[Uses; 2]) {
    let mut spans: FxHashMap<SetId, Span> = FxHashMap::default();
    let of_term = spans_of_terms(uses);
    let classes = &mut peers.classes;
    let mut order: Vec<(Span, u32)> = classes
        .sets
        .iter()
        .zip(0..)
        .map(|(set, class)| (span(*set, terms, &of_term, &mut spans), class))
        .collect();
    if order.is_sorted() {
        return;
    }
    order.sort_unstable();
    let mut numbers = vec![0; order.len()];
    for ((_, class), number) in order.iter().zip(0..) {
        if let Some(slot) = usize::try_from(*class).ok().and_then(|at| numbers.get_mut(at)) {
            *slot = number;
        }
    }
    let number = |class: u32| {
        usize::try_from(class).ok().and_then(|at| numbers.get(at)).copied().unwrap_or(class)
    };
    classes.renumber(number);
    let words = peers.v4.iter_mut().map(|(_, word)| word);
    for word in words.chain(peers.v6.iter_mut().map(|(_, word)| word)) {
        *word = *word & !CLASS | number(*word & CLASS);
    }
    for (_, class) in &mut peers.placeless {
        *class = number(*class);
    }
}

fn spans_of_terms(uses: &[Uses; 2]) -> FxHashMap<TermId, Span> {
    let mut spans: FxHashMap<TermId, Span> = FxHashMap::default();
    for (term, uses) in uses.iter().flatten() {
        for one in uses {
            let list = one.list.map_or(0, |list| list + 1);
            let known = spans.entry(*term).or_insert(NOTHING);
            *known = join(*known, (list, list));
        }
    }
    spans
}

/// Of all terms of a set. Sets share most of what they consist of.
fn span(
    set: SetId,
    terms: &RuleSets,
    of_term: &FxHashMap<TermId, Span>,
    known: &mut FxHashMap<SetId, Span>,
) -> Span {
    match terms.parts(set) {
        Parts::Empty => NOTHING,
        Parts::One(term) => of_term.get(&term).copied().unwrap_or(NOTHING),
        Parts::Two { low, high, .. } => {
            if let Some(span) = known.get(&set) {
                return *span;
            }
            let both = join(span(low, terms, of_term, known), span(high, terms, of_term, known));
            known.insert(set, both);
            both
        }
    }
}

fn join(one: Span, other: Span) -> Span {
    (one.0.min(other.0), one.1.max(other.1))
}
