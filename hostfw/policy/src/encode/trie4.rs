//! The IPv4 trie of an image: strides of 16, 8, 4 and 4 bits.

use hostfw_datapath::image::POINTER;

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
