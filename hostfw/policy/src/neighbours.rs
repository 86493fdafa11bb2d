//! The order of peer classes: those that may use the same ports are neighbours. What
//! packets to one port look up stands together then, and more of it is in a cache.
//! It decides nothing but numbers.

use hostfw_datapath::image::CLASS;

use crate::{
    parts::Uses,
    peers::PeerClasses,
    rows::RowId,
    rule_set::{Parts, RuleSets, SetId},
};

/// The lowest and the highest list of services, from 1 on; 0 for all services.
type Span = (u32, u32);

/// That of somebody whom no rule names.
const NOTHING: Span = (u32::MAX, 0);

/// Classes in the order in which they were found, which is that of their sets: whoever
/// goes through all sets goes through memory in a line.
pub(crate) struct Found {
    pub(crate) sets: Vec<SetId>,
    /// The number of each.
    numbers: Vec<u32>,
}

impl Found {
    /// The rows of all classes, by their numbers.
    pub(crate) fn by_number(&self, rows: &[RowId]) -> Vec<RowId> {
        let mut all = vec![0; rows.len()];
        for (row, number) in rows.iter().zip(&self.numbers) {
            if let Some(slot) = at_mut(&mut all, *number) {
                *slot = *row;
            }
        }
        all
    }
}

/// Renumbers the classes by the services of the rules that name them, as one subject
/// has them.
pub(crate) fn group(peers: &mut PeerClasses, terms: &RuleSets, uses: Option<&[Uses; 2]>) -> Found {
    let found = peers.classes.sets.clone();
    let mut spans = Spans {
        terms,
        of_term: of_terms(uses.map_or(&[], |uses| uses)),
        of_set: vec![None; terms.n_parts()],
    };
    let mut order: Vec<(Span, u32)> =
        found.iter().zip(0..).map(|(set, class)| (spans.of(*set), class)).collect();
    order.sort_unstable();
    let mut numbers = vec![0; order.len()];
    for ((_, class), number) in order.iter().zip(0..) {
        if let Some(slot) = at_mut(&mut numbers, *class) {
            *slot = number;
        }
    }
    let number = |class: u32| at(&numbers, class).unwrap_or(class);
    peers.classes.renumber(number);
    let words = peers.v4.iter_mut().map(|(_, word)| word);
    for word in words.chain(peers.v6.iter_mut().map(|(_, word)| word)) {
        *word = *word & !CLASS | number(*word & CLASS);
    }
    for (_, class) in &mut peers.placeless {
        *class = number(*class);
    }
    Found { sets: found, numbers }
}

/// What terms and sets of them have.
struct Spans<'a> {
    terms: &'a RuleSets,
    of_term: Vec<Span>,
    /// Sets share most of what they consist of.
    of_set: Vec<Option<Span>>,
}

impl Spans<'_> {
    fn of(&mut self, set: SetId) -> Span {
        match self.terms.parts(set) {
            Parts::Empty => NOTHING,
            Parts::One(term) => at(&self.of_term, term).unwrap_or(NOTHING),
            Parts::Two { low, high, .. } => {
                if let Some(known) = at(&self.of_set, set).flatten() {
                    return known;
                }
                let both = join(self.of(low), self.of(high));
                if let Some(slot) = at_mut(&mut self.of_set, set) {
                    *slot = Some(both);
                }
                both
            }
        }
    }
}

fn of_terms(uses: &[Uses]) -> Vec<Span> {
    let terms = uses.iter().filter_map(|uses| uses.keys().next_back()).max();
    let n_terms = terms.and_then(|last| usize::try_from(*last).ok()).map_or(0, |last| last + 1);
    let mut spans = vec![NOTHING; n_terms];
    for (term, uses) in uses.iter().flatten() {
        let Some(span) = at_mut(&mut spans, *term) else { continue };
        for one in uses {
            let list = one.list.and_then(|list| u32::try_from(list + 1).ok()).unwrap_or(0);
            *span = join(*span, (list, list));
        }
    }
    spans
}

fn join(one: Span, other: Span) -> Span {
    (one.0.min(other.0), one.1.max(other.1))
}

fn at<T: Copy>(list: &[T], index: u32) -> Option<T> {
    list.get(usize::try_from(index).ok()?).copied()
}

fn at_mut<T>(list: &mut [T], index: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(index).ok()?)
}
