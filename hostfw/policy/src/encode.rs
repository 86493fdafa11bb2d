//! Writes the tables of an image in the form that `hostfw_datapath::image`
//! reads. It knows words and offsets, and nothing of policies.

pub(crate) mod dense;
pub(crate) mod protocols;
pub(crate) mod tree;
pub(crate) mod trie4;
pub(crate) mod trie6;

#[cfg(test)]
mod drawn;

use hostfw_datapath::{ABI_VERSION, image};
use rustc_hash::FxHashMap;

use crate::compile::{CompileError, MAX_IMAGE_WORDS};

/// An image begins with a page of memory, so with a cache line.
const CACHE_LINE_WORDS: usize = 16;

fn is_multiple(at: u32, of: usize) -> bool {
    usize::try_from(at).is_ok_and(|at| at.is_multiple_of(of))
}

/// The image under construction. Equal blocks are stored once.
#[derive(Debug)]
pub(crate) struct Writer {
    words: Vec<u32>,
    blocks: FxHashMap<Box<[u32]>, u32>,
}

impl Writer {
    /// An image with an empty header.
    pub(crate) fn new() -> Self {
        let header = usize::try_from(image::HEADER_WORDS).unwrap_or(0);
        Self { words: vec![0; header], blocks: FxHashMap::default() }
    }

    /// Stores a block and gives its offset.
    pub(crate) fn block(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        if let Some(at) = self.blocks.get(block) {
            return Ok(*at);
        }
        let at = self.append(block)?;
        self.blocks.insert(block.into(), at);
        Ok(at)
    }

    /// Stores a block that no other one equals.
    pub(crate) fn append(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        let at = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        if self.words.len() + block.len() > MAX_IMAGE_WORDS {
            return Err(CompileError::TooLarge);
        }
        self.words.extend_from_slice(block);
        Ok(at)
    }

    /// Stores a block that begins with a cache line, or in the middle of one if
    /// it fits there, and gives its offset.
    pub(crate) fn aligned_block(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        let line = block.len().min(CACHE_LINE_WORDS);
        if let Some(at) = self.blocks.get(block).filter(|at| is_multiple(**at, line)) {
            return Ok(*at);
        }
        let at = self.aligned_append(block)?;
        self.blocks.insert(block.into(), at);
        Ok(at)
    }

    /// The same for a block that no other one equals.
    pub(crate) fn aligned_append(&mut self, block: &[u32]) -> Result<u32, CompileError> {
        let line = block.len().min(CACHE_LINE_WORDS);
        self.words.resize(self.words.len().next_multiple_of(line), 0);
        self.append(block)
    }

    /// Sets a word that belongs to no block.
    pub(crate) fn set(&mut self, at: u32, word: u32) {
        if let Some(slot) = usize::try_from(at).ok().and_then(|at| self.words.get_mut(at)) {
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

    /// All words so far.
    pub(crate) fn all(&self) -> &[u32] {
        &self.words
    }

    /// The words, once nothing is to be written any more.
    pub(crate) fn into_words(self) -> Vec<u32> {
        self.words
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
    let at_v4 = trie4::write(&mut writer, v4)?;
    let at_v6 = trie6::write(&mut writer, v6)?;
    let n_subject_words = usize::try_from(image::SUBJECT_WORDS).unwrap_or(0);
    let at_subjects = writer.append(&vec![0; n_subject_words])?;
    for (at, word) in [
        (image::AT_MAGIC, image::MAGIC),
        (image::AT_ABI, ABI_VERSION),
        (image::AT_V4, at_v4),
        (image::AT_V6, at_v6),
        (image::AT_SUBJECTS, at_subjects),
        (image::AT_N_SUBJECTS, 1),
    ] {
        writer.set(at, word);
    }
    writer.finish();
    Ok(writer.into_words())
}

/// The entries that concern the addresses from `first` to `last`.
fn within<A: Copy + Ord>(segments: &[(A, u32)], first: A, last: A) -> &[(A, u32)] {
    let start = segments.partition_point(|(at, _)| *at <= first).saturating_sub(1);
    let end = segments.partition_point(|(at, _)| *at <= last);
    segments.get(start..end).unwrap_or_default()
}
