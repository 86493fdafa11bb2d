//! Segments for the property tests of the tries, and what they mean: the word
//! of an address is that of the last segment that begins at or before it.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};

use super::Segments;
use hostfw_datapath::image::{ELSEWHERE, LOCAL};

/// Segments between a few edges that are drawn from somewhere.
pub(super) fn segments<A>(edge: impl Strategy<Value = A>) -> impl Strategy<Value = Segments<A>>
where
    A: Copy + Ord + Default + std::fmt::Debug,
{
    many_segments(edge, 0..24)
}

/// Segments between so many edges.
pub(super) fn many_segments<A>(
    edge: impl Strategy<Value = A>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Segments<A>>
where
    A: Copy + Ord + Default + std::fmt::Debug,
{
    (word(), vec((edge, word()), count)).prop_map(|(first, edges)| {
        let mut words: BTreeMap<A, u32> = edges.into_iter().collect();
        words.insert(A::default(), first);
        merged(words)
    })
}

/// A peer word.
pub(super) fn word() -> impl Strategy<Value = u32> {
    select(&[0u32, 1, 2, 3, 0xff_ffff, LOCAL | 1, ELSEWHERE | 2][..])
}

/// The word of an address.
pub(super) fn word_at<A: Copy + Ord>(segments: &[(A, u32)], address: A) -> u32 {
    segments.iter().rev().find(|(at, _)| *at <= address).map_or(0, |(_, word)| *word)
}

/// The segments once single addresses have other words; `next` is the address
/// behind one.
pub(super) fn changed<A: Copy + Ord>(
    segments: &[(A, u32)],
    changes: &BTreeMap<A, u32>,
    next: impl Fn(A) -> Option<A>,
) -> Segments<A> {
    let mut words: BTreeMap<A, u32> = segments.iter().copied().collect();
    for address in changes.keys() {
        if let Some(behind) = next(*address) {
            words.insert(behind, word_at(segments, behind));
        }
    }
    words.extend(changes);
    merged(words)
}

/// Neighbours with one word are one.
fn merged<A: Copy + Ord>(words: BTreeMap<A, u32>) -> Segments<A> {
    let mut segments: Segments<A> = words.into_iter().collect();
    segments.dedup_by_key(|(_, word)| *word);
    segments
}
