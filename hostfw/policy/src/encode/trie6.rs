//! The IPv6 trie of an image: a nibble a node, and what all addresses below a
//! node have in common is compared at once and skipped.

use hostfw_datapath::{
    Address,
    image::{
        POINTER, V6_CHILDREN, V6_MISMATCH, V6_NODE_WORDS, V6_POSITION, V6_PREFIX, nibble_mask,
    },
};

use super::{Writer, within};
use crate::compile::CompileError;

/// Writes the trie and gives its root: a peer word or a node pointer.
pub(crate) fn write(writer: &mut Writer, segments: &[(u128, u32)]) -> Result<u32, CompileError> {
    subtree(writer, segments, 0, 0)
}

/// The word for the addresses that share the first `depth` nibbles of `base`.
fn subtree(
    writer: &mut Writer,
    segments: &[(u128, u32)],
    base: u128,
    depth: u32,
) -> Result<u32, CompileError> {
    let inside = within(segments, base, base | low_bits(depth));
    let (outer, second, last) = match inside {
        [] => return Ok(0),
        [(_, word)] => return Ok(*word),
        [(_, outer), (second, _), ..] => (*outer, *second, inside[inside.len() - 1]),
    };
    // Where both ends have one word, everything else lies in the block that
    // holds both changes, and that block alone needs nodes.
    let (position, prefix) = if outer == last.1 {
        let common = (second ^ (last.0 - 1)).leading_zeros() / 4;
        let position = common.clamp(depth, 31);
        (position, second & !low_bits(position))
    } else {
        (depth, base)
    };
    let mut node = vec![0; index(V6_NODE_WORDS)];
    node[index(V6_POSITION)] = position;
    node[index(V6_MISMATCH)] = outer;
    for (word, bits) in node[index(V6_PREFIX)..].iter_mut().zip(words(prefix, position)) {
        *word = bits;
    }
    for child in 0..16u32 {
        let first = prefix | (u128::from(child) << (124 - position * 4));
        node[index(V6_CHILDREN + child)] = subtree(writer, inside, first, position + 1)?;
    }
    Ok(POINTER | writer.block(&node)?)
}

/// The bits behind the first `nibbles`.
fn low_bits(nibbles: u32) -> u128 {
    u128::MAX.checked_shr(nibbles * 4).unwrap_or(0)
}

/// The four words of a prefix, zero from the nibble `position` on.
fn words(prefix: u128, position: u32) -> [u32; 4] {
    let address = Address::from(std::net::Ipv6Addr::from(prefix));
    let (high, low) = nibble_mask(position);
    let halves = [address.high & high, address.low & low];
    let part = |half: u64, shift: u32| u32::try_from((half >> shift) & 0xffff_ffff).unwrap_or(0);
    [part(halves[0], 32), part(halves[0], 0), part(halves[1], 32), part(halves[1], 0)]
}

fn index(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}
