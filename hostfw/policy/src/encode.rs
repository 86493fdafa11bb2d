//! Writes the tables of an image in the form that `hostfw_datapath::image`
//! reads. It knows words and offsets, and nothing of policies.

pub(crate) mod dense;
pub(crate) mod protocols;
pub(crate) mod tree;
pub(crate) mod trie;

#[cfg(test)]
mod drawn;

use std::{hash::BuildHasher, sync::Arc};

use hostfw_datapath::{ABI_VERSION, image};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::compile::{CompileError, MAX_IMAGE_WORDS};

/// An image begins with a page of memory, so with a cache line.
const CACHE_LINE_WORDS: usize = 16;

fn is_multiple(at: u32, of: usize) -> bool {
    usize::try_from(at).is_ok_and(|at| at.is_multiple_of(of))
}

/// The image under construction. Equal blocks are stored once, and never change.
#[derive(Debug)]
pub(crate) struct Writer {
    words: Arc<Vec<u32>>,
    /// Where blocks stand, by a hash of their words, which are not kept twice.
    blocks: FxHashMap<u64, u32>,
}

impl Writer {
    /// An image with an empty header.
    pub(crate) fn new() -> Self {
        let header = usize::try_from(image::HEADER_WORDS).unwrap_or(0);
        Self { words: Arc::new(vec![0; header]), blocks: FxHashMap::default() }
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
        self.own().extend_from_slice(block);
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
        let n_words = self.words.len().next_multiple_of(line);
        self.own().resize(n_words, 0);
        self.append(block)
    }

    /// Sets a word that belongs to no block.
    pub(crate) fn set(&mut self, at: u32, word: u32) {
        if let Some(slot) = usize::try_from(at).ok().and_then(|at| self.own().get_mut(at)) {
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
        let checksum = image::checksum(&self.words);
        self.set(image::AT_CHECKSUM, checksum);
    }

    /// The words, to be changed. Somebody else may have those that were written
    /// before; a copy has some room to grow.
    fn own(&mut self) -> &mut Vec<u32> {
        if Arc::get_mut(&mut self.words).is_none() {
            let mut words = Vec::with_capacity(self.words.len() + self.words.len() / 16);
            words.extend_from_slice(&self.words);
            self.words = Arc::new(words);
        }
        Arc::make_mut(&mut self.words)
    }

    /// All words so far.
    pub(crate) fn all(&self) -> &[u32] {
        &self.words
    }

    /// The words, to be kept while more is written, or nothing any more.
    pub(crate) fn share(&mut self) -> Arc<Vec<u32>> {
        if let Some(words) = Arc::get_mut(&mut self.words) {
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
