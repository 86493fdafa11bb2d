//! The checksum of an image. It is made of sums of parts, so whoever changes a few
//! words sums up their parts only.

use core::{ops::Range, slice::Chunks};

use crate::image::{AT_CHECKSUM, AT_GENERATION, HEADER_WORDS, Image};

/// Words of a part; the last one may have less. The first begins behind the header.
const PART_WORDS: usize = 4096;
#[expect(clippy::as_conversions, reason = "widening")]
const HEADER: usize = HEADER_WORDS as usize;

/// The checksum of an image: FNV-1a over the words of the header, in which the
/// generation and the checksum itself count as 0, and over the sums of the parts.
/// Its two halves are one with the other and with the generation.
pub fn of(words: &[u32]) -> u32 {
    let (header, parts) = split(words);
    of_parts(header, parts.map(part))
}

/// The header of an image, and its parts.
pub fn split(words: &[u32]) -> (&[u32], Chunks<'_, u32>) {
    let (header, rest) = words.split_at(HEADER.min(words.len()));
    (header, rest.chunks(PART_WORDS))
}

/// The parts in which some places of an image lie, by their numbers.
pub fn parts(places: Range<usize>) -> Range<usize> {
    let Range { start, end } = places;
    start.saturating_sub(HEADER) / PART_WORDS..end.saturating_sub(HEADER).div_ceil(PART_WORDS)
}

/// The checksum of an image whose parts have been summed up, see [`part`].
pub fn of_parts(header: &[u32], parts: impl Iterator<Item = u64>) -> u32 {
    let counts = |(at, word): (u32, &u32)| match at {
        AT_GENERATION | AT_CHECKSUM => 0,
        _ => u64::from(*word),
    };
    let header_words = (0..).zip(header).map(counts);
    let sum = header_words.chain(parts).fold(SEED, summed);
    #[expect(clippy::as_conversions, reason = "the halves are one")]
    let sum = (sum ^ sum >> 32) as u32;
    sum ^ of_generation(&header)
}

/// The sum of a part: FNV-1a over pairs of words, the lower one first. Eight sums,
/// each of every eighth pair, do not wait for each other; what comes of them, and a
/// word without another, is summed up likewise.
pub fn part(words: &[u32]) -> u64 {
    let mut sums = [SEED; 8];
    let (pairs, last) = words.as_chunks::<2>();
    let (lines, rest) = pairs.as_chunks::<8>();
    for line in lines {
        sum_up(&mut sums, line);
    }
    sum_up(&mut sums, rest);
    let last = last.iter().map(|word| u64::from(*word));
    sums.into_iter().chain(last).fold(SEED, summed)
}

/// What is equal in two images that differ in their generation at most: their
/// checksum without it. `words` may be the header alone.
pub fn content(words: &[u32]) -> u32 {
    words.word(AT_CHECKSUM) ^ of_generation(&words)
}

/// What the generation adds: another number for each.
fn of_generation(words: &&[u32]) -> u32 {
    words.word(AT_GENERATION).wrapping_mul(0x9e37_79b1)
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

#[inline(always)]
fn sum_up(sums: &mut [u64; 8], pairs: &[[u32; 2]]) {
    for (sum, [low, high]) in sums.iter_mut().zip(pairs) {
        *sum = summed(*sum, u64::from(*high) << 32 | u64::from(*low));
    }
}

fn summed(sum: u64, number: u64) -> u64 {
    (sum ^ number).wrapping_mul(0x0100_0000_01b3)
}
