//! The IPv6 trie of an image: a nibble a node, and what all addresses below a
//! node have in common is compared at once and skipped.

use hostfw_datapath::{
    Address,
    image::{
        OFFSET, POINTER, V6_CHILDREN, V6_MISMATCH, V6_NODE_WORDS, V6_POSITION, V6_PREFIX,
        nibble_mask,
    },
};

use super::{Writer, within};
use crate::compile::CompileError;

/// The last nibble of an address.
const LAST: u32 = 31;

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
        let position = common.clamp(depth, LAST);
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

/// What stands for a trie once one address in it has another word. Nodes on the
/// way are stored anew.
pub(crate) fn with(
    writer: &mut Writer,
    trie: u32,
    address: u128,
    word: u32,
) -> Result<u32, CompileError> {
    if trie & POINTER == 0 {
        return if trie == word {
            Ok(trie)
        } else {
            branch(writer, trie, LAST, address, [(address, word)])
        };
    }
    let mut node = writer.words(trie & OFFSET, index(V6_NODE_WORDS)).to_vec();
    let [position, outer, high, mid, low, lowest, ..] = node.as_slice() else {
        return Err(CompileError::TooLarge);
    };
    let (position, outer) = (*position, *outer);
    let prefix = [high, mid, low, lowest]
        .into_iter()
        .fold(0u128, |prefix, part| prefix << 32 | u128::from(*part));
    // The nibble in which the address leaves what the node's addresses share.
    let apart = ((prefix ^ address) & !low_bits(position)).leading_zeros() / 4;
    if apart < position {
        if outer == word {
            return Ok(trie);
        }
        let own = with(writer, outer, address, word)?;
        return branch(writer, outer, apart, address, [(prefix, trie), (address, own)]);
    }
    let Some(child) = node.get_mut(index(V6_CHILDREN + nibble(address, position))) else {
        return Err(CompileError::TooLarge);
    };
    *child = if position == LAST { word } else { with(writer, *child, address, word)? };
    // What has become equal all over, or has one child that leaves the rest as
    // it is, needs no node.
    let children = node.get(index(V6_CHILDREN)..).unwrap_or_default();
    let mut others = children.iter().filter(|child| **child != outer);
    match (others.next(), others.next()) {
        (None, _) => Ok(outer),
        (Some(only), None)
            if only & POINTER != 0 && writer.word((only & OFFSET) + V6_MISMATCH) == outer =>
        {
            Ok(*only)
        }
        _ => Ok(POINTER | writer.block(&node)?),
    }
}

/// A node that tells some addresses apart by one nibble; `outer` is the word of
/// all others.
fn branch<const N: usize>(
    writer: &mut Writer,
    outer: u32,
    position: u32,
    inside: u128,
    children: [(u128, u32); N],
) -> Result<u32, CompileError> {
    let mut node = vec![0; index(V6_CHILDREN)];
    node[index(V6_POSITION)] = position;
    node[index(V6_MISMATCH)] = outer;
    let prefix = words(inside & !low_bits(position), position);
    for (word, bits) in node[index(V6_PREFIX)..].iter_mut().zip(prefix) {
        *word = bits;
    }
    node.extend([outer; 16]);
    for (address, word) in children {
        node[index(V6_CHILDREN + nibble(address, position))] = word;
    }
    Ok(POINTER | writer.block(&node)?)
}

fn nibble(address: u128, position: u32) -> u32 {
    u32::try_from((address >> (124 - position * 4)) & 15).unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hostfw_datapath::image::{AT_V6, walk_v6};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::encode::drawn;

    const NET: u128 = 0x2001_0db8 << 96;

    /// An address where segments begin: mostly close together, apart by one
    /// digit, or at the edge of a prefix.
    fn edge() -> impl Strategy<Value = u128> {
        let digit = || (0..32u32, 0..16u128).prop_map(|(at, digit)| digit << (124 - at * 4));
        prop_oneof![
            1 => any::<u128>(),
            3 => (digit(), digit()).prop_map(|(one, other)| NET ^ one ^ other),
            2 => (0..0x40u128).prop_map(|at| NET + 0xfff0 + at),
            2 => (any::<u128>(), 0..=128u32).prop_map(|(bits, length)| {
                NET | bits & !u128::MAX.checked_shr(length).unwrap_or(0) & (u128::MAX >> 32)
            }),
            1 => proptest::sample::select(&[0u128, 1, 15, 16, 1 << 64, u128::MAX - 1, u128::MAX][..]),
        ]
    }

    fn look_up(writer: &mut Writer, root: u32, address: u128) -> u32 {
        writer.set(AT_V6, root);
        walk_v6(&writer.all(), &Address::from(std::net::Ipv6Addr::from(address)))
    }

    /// An address, its neighbours, and all that differ from it in one digit.
    fn around(address: u128) -> impl Iterator<Item = u128> {
        let digits = (0..32).flat_map(|at| (0..16u128).map(move |digit| digit << (at * 4)));
        [address.wrapping_sub(1), address.wrapping_add(1)]
            .into_iter()
            .chain(digits.map(move |digit| address ^ digit))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_that_is_beside_an_edge_has_its_word(segments in drawn::segments(edge())) {
            let mut writer = Writer::new();
            let root = write(&mut writer, &segments).expect("a small trie");
            for address in segments.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&mut writer, root, address);
                prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
            }
        }

        #[test]
        fn giving_one_address_after_the_other_a_word_equals_building_anew(
            segments in drawn::segments(edge()), changes in vec((edge(), drawn::word()), 1..30),
        ) {
            let mut writer = Writer::new();
            let mut root = write(&mut writer, &segments).expect("a small trie");
            let mut now = BTreeMap::new();
            for (address, word) in changes {
                root = with(&mut writer, root, address, word).expect("a small trie");
                now.insert(address, word);
                prop_assert_eq!(look_up(&mut writer, root, address), word);
            }
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            let other = write(&mut writer, &anew).expect("a small trie");
            for address in anew.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&mut writer, root, address);
                prop_assert_eq!(found, look_up(&mut writer, other, address), "{:#x}", address);
                prop_assert_eq!(found, drawn::word_at(&anew, address), "{:#x}", address);
            }
        }
    }
}
