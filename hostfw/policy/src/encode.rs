//! Writes the tables of an image in the form that `hostfw_datapath::image`
//! reads. It knows words and offsets, and nothing of policies.

pub(crate) mod dense;
pub(crate) mod protocols;
pub(crate) mod tree;
pub(crate) mod trie;

#[cfg(test)]
mod drawn;

use std::{hash::BuildHasher, mem, ops::Range, sync::Arc};

use hostfw_datapath::{ABI_VERSION, checksum, image};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::compile::{CompileError, MAX_IMAGE_WORDS};

/// A copy has room to grow by one word of so many.
const ROOM: usize = 16;

/// An image begins with a page of memory, so with a cache line.
const CACHE_LINE_WORDS: usize = 16;

fn is_multiple(at: u32, of: usize) -> bool {
    usize::try_from(at).is_ok_and(|at| at.is_multiple_of(of))
}

/// The image under construction. Equal blocks are stored once, and never change.
#[derive(Debug)]
pub(crate) struct Writer {
    words: Arc<Vec<u32>>,
    /// Those of the image before, whose memory the next copy takes once nobody else
    /// has it: new pages cost more than what is written to them.
    before: Arc<Vec<u32>>,
    /// Sums of the parts that have not changed since, see [`checksum`].
    sums: Vec<Option<u64>>,
    /// Where blocks stand, by a hash of their words, which are not kept twice.
    blocks: FxHashMap<u64, u32>,
}

impl Writer {
    /// An image with an empty header.
    pub(crate) fn new() -> Self {
        let header = usize::try_from(image::HEADER_WORDS).unwrap_or(0);
        let words = Arc::new(vec![0; header]);
        Self { words, before: Arc::default(), sums: Vec::new(), blocks: FxHashMap::default() }
    }

    /// Stores a block and gives its offset.
    pub(crate) fn block(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        self.stored(block, 1)
    }

    /// Stores a block at a multiple of so many words, unless it stands at one.
    fn stored(&mut self, block: &[u32], line: usize) -> Result<u32, CompileError> {
        let hash = FxBuildHasher.hash_one(block);
        if let Some(at) = self.known(hash, block).filter(|at| is_multiple(*at, line)) {
            return Ok(at);
        }
        let at = self.append_at(block, line)?;
        self.blocks.insert(hash, at);
        Ok(at)
    }

    /// Where a block stands. One whose hash another one has is as good as new.
    fn known(&self, hash: u64, block: &[u32]) -> Option<u32> {
        let at = self.blocks.get(&hash).copied()?;
        (self.words(at, block.len()) == block).then_some(at)
    }

    /// Stores a block that no other one equals.
    pub(crate) fn append(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        let at = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        if self.words.len() + block.len() > MAX_IMAGE_WORDS {
            return Err(CompileError::TooLarge);
        }
        let end = self.words.len();
        self.own(end..end + block.len()).extend_from_slice(block);
        Ok(at)
    }

    /// Stores a block that begins with a cache line, or in the middle of one if
    /// it fits there, and gives its offset.
    pub(crate) fn aligned_block(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        self.stored(block, block.len().min(CACHE_LINE_WORDS))
    }

    /// The same for a block that no other one equals.
    pub(crate) fn aligned_append(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        self.append_at(block, block.len().min(CACHE_LINE_WORDS))
    }

    fn append_at(&mut self, block: &[u32], line: usize) -> Result<u32, CompileError> {
        let end = self.words.len();
        let n_words = end.next_multiple_of(line);
        self.own(end..n_words).resize(n_words, 0);
        self.append(block)
    }

    /// Sets a word that belongs to no block.
    pub(crate) fn set(&mut self, at: u32, word: u32) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if at < self.words.len()
            && let Some(slot) = self.own(at..at + 1).get_mut(at)
        {
            *slot = word;
        }
    }

    /// What was written so far, from an offset on.
    pub(crate) fn words(&self, at: u32, n_words: usize) -> &[u32] {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        at.checked_add(n_words).and_then(|end| self.words.get(at..end)).unwrap_or_default()
    }

    /// One word.
    pub(crate) fn word(&self, at: u32) -> u32 {
        self.words(at, 1).first().copied().unwrap_or(0)
    }

    /// The finished image, with its size and checksum.
    pub(crate) fn finish(&mut self) {
        let n_words = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        self.set(image::AT_WORDS, n_words);
        let (header, parts) = checksum::split(&self.words);
        self.sums.resize(parts.len(), None);
        let sums = parts.zip(&mut self.sums);
        let sums = sums.map(|(words, sum)| *sum.get_or_insert_with(|| checksum::part(words)));
        let checksum = checksum::of_parts(header, sums);
        self.set(image::AT_CHECKSUM, checksum);
    }

    /// The words, to be changed at some places. Somebody else may have those that
    /// were written before; a copy has some room to grow.
    fn own(&mut self, changed: Range<usize>) -> &mut Vec<u32> {
        let parts = checksum::parts(changed);
        for sum in self.sums.iter_mut().take(parts.end).skip(parts.start) {
            *sum = None;
        }
        if Arc::get_mut(&mut self.words).is_none() {
            let mut words = Arc::try_unwrap(mem::take(&mut self.before)).unwrap_or_default();
            words.clear();
            if words.capacity() < self.words.len() {
                words = Vec::with_capacity(self.words.len() + self.words.len() / ROOM);
            }
            words.extend_from_slice(&self.words);
            self.before = mem::replace(&mut self.words, Arc::new(words));
        }
        Arc::make_mut(&mut self.words)
    }

    /// All words so far.
    pub(crate) fn all(&self) -> &[u32] {
        &self.words
    }

    /// The words, to be kept while more is written, or nothing any more.
    pub(crate) fn share(&mut self) -> Arc<Vec<u32>> {
        if let Some(words) = Arc::get_mut(&mut self.words)
            && words.capacity() - words.len() > words.len() / ROOM
        {
            words.shrink_to_fit();
        }
        Arc::clone(&self.words)
    }
}

/// Where the peer word of consecutive addresses changes: the first address and
/// the word from there on. The first entry is address 0.
pub(crate) type Segments<A> = Vec<(A, u32)>;

/// An image of addresses alone, for whoever measures how they are found: no
/// policy is in force in it. Segments as in [`Segments`].
///
/// # Errors
/// More than an image has room for.
pub fn image_of_addresses(v4: &[(u32, u32)], v6: &[(u128, u32)]) -> Result<Vec<u32>, CompileError> {
    let mut writer = Writer::new();
    trie::write(&mut writer, v4, v6)?;
    let n_subject_words = usize::try_from(image::SUBJECT_WORDS).unwrap_or(0);
    let at_subjects = writer.append(&vec![0; n_subject_words])?;
    for (at, word) in [
        (image::AT_MAGIC, image::MAGIC),
        (image::AT_ABI, ABI_VERSION),
        (image::AT_SUBJECTS, at_subjects),
        (image::AT_N_SUBJECTS, 1),
    ] {
        writer.set(at, word);
    }
    writer.finish();
    Ok(writer.share().to_vec())
}

/// The entries that concern the addresses from `first` to `last`.
fn within<A: Copy + Ord>(segments: &[(A, u32)], first: A, last: A) -> &[(A, u32)] {
    let start = segments.partition_point(|(at, _)| *at <= first).saturating_sub(1);
    let end = segments.partition_point(|(at, _)| *at <= last);
    segments.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hostfw_datapath::Image as _;

    use super::*;

    #[test]
    fn a_checksum_follows_whatever_is_written() {
        let mut writer = Writer::new();
        let check = |writer: &mut Writer| {
            writer.finish();
            let words = writer.share();
            assert_eq!(checksum::of(&words), writer.word(image::AT_CHECKSUM));
            words
        };
        let mut last = check(&mut writer);
        for n_words in [1, 4_095, 1, 4_096, 16, 9_999] {
            let block: Vec<u32> = (0..n_words).collect();
            writer.aligned_append(&block).expect("there is room");
            last = check(&mut writer);
        }
        let end = u32::try_from(last.len()).expect("small");
        let header = image::HEADER_WORDS;
        for at in [0, image::AT_GENERATION, header - 1, header, header + 4_095, header + 4_096] {
            writer.set(at, 77);
            let words = check(&mut writer);
            assert_eq!(last.len(), words.len());
            last = words;
        }
        writer.set(end - 1, 78);
        writer.set(end, 79);
        writer.append(&[80, 81]).expect("there is room");
        assert_eq!(check(&mut writer).len(), last.len() + 2);
        assert_eq!(writer.words(end - 1, 4), [], "what is not there");
        assert_eq!(writer.words(end - 1, 3), [78, 80, 81]);
    }

    #[test]
    fn an_image_stays_as_it_was_handed_out() {
        let mut writer = Writer::new();
        let mut handed: Vec<Arc<Vec<u32>>> = Vec::new();
        for number in 0..9 {
            writer.set(image::AT_N_RULES, number);
            handed.push(writer.share());
            // Of some, nobody but the next one knows.
            handed.truncate(3);
        }
        let rules = handed.iter().map(|words| words.as_slice().word(image::AT_N_RULES));
        assert_eq!(rules.collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(writer.word(image::AT_N_RULES), 8);
    }
}
