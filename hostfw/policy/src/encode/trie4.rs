//! The IPv4 trie of an image: strides of 16, 8, 4 and 4 bits.

use hostfw_datapath::image::{OFFSET, POINTER};

use super::{Writer, within};
use crate::compile::CompileError;

/// Bits that each level consumes.
const STRIDES: [u32; 4] = [16, 8, 4, 4];

/// Writes the trie and gives the offset of its root.
pub(crate) fn write(writer: &mut Writer, segments: &[(u32, u32)]) -> Result<u32, CompileError> {
    let block = children(writer, segments, 0, &STRIDES)?;
    writer.append(&block)
}

/// The words of the node whose first address is `base`.
fn children(
    writer: &mut Writer,
    segments: &[(u32, u32)],
    base: u32,
    strides: &[u32],
) -> Result<Vec<u32>, CompileError> {
    let Some((stride, below)) = strides.split_first() else { return Ok(Vec::new()) };
    let bits: u32 = below.iter().sum();
    let mut words = Vec::with_capacity(1 << stride);
    for child in 0..1u32 << stride {
        let first = base | (child << bits);
        let last = first | ((1 << bits) - 1);
        let inside = within(segments, first, last);
        words.push(match inside {
            [] => 0,
            [(_, word)] => *word,
            _ => {
                let block = children(writer, inside, first, below)?;
                POINTER | writer.block(&block)?
            }
        });
    }
    Ok(words)
}

/// Gives one address another peer word. The root, which nothing shares, is
/// changed where it is; nodes below it are stored anew.
pub(crate) fn set(
    writer: &mut Writer,
    root: u32,
    address: u32,
    word: u32,
) -> Result<(), CompileError> {
    let at = root + (address >> 16);
    let changed = with(writer, writer.word(at), address, word, &STRIDES[1..])?;
    writer.set(at, changed);
    Ok(())
}

/// What stands for a node once one address below it has another word.
fn with(
    writer: &mut Writer,
    node: u32,
    address: u32,
    word: u32,
    strides: &[u32],
) -> Result<u32, CompileError> {
    let Some((stride, below)) = strides.split_first() else { return Ok(word) };
    let mut block = if node & POINTER == 0 {
        vec![node; 1 << stride]
    } else {
        writer.words(node & OFFSET, 1 << stride).to_vec()
    };
    let way = (address >> below.iter().sum::<u32>()) & ((1 << stride) - 1);
    let Some(child) = usize::try_from(way).ok().and_then(|way| block.get_mut(way)) else {
        return Err(CompileError::TooLarge);
    };
    *child = with(writer, *child, address, word, below)?;
    match block.as_slice() {
        [first, rest @ ..] if first & POINTER == 0 && rest.iter().all(|one| one == first) => {
            Ok(*first)
        }
        block => Ok(POINTER | writer.block(block)?),
    }
}
