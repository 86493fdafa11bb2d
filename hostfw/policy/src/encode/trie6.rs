//! The IPv6 trie of an image: as wide as it is full, and what all addresses
//! below a place have in common is compared at once and skipped.

use hostfw_datapath::image::{POINTER, V6_INSIDE, V6_OUTSIDE, V6_PREFIX, V6_UNIT, V6Node};

use super::{Writer, within};
use crate::compile::CompileError;

/// Digits of an address.
const DIGITS: u32 = 32;

/// A node has at most so many children for each change of the word below it: it
/// is worth a look at the memory to be there with fewer steps.
const CHILDREN_FOR_CHANGE: usize = 4;

/// Writes the trie and gives its root: a peer word or a node pointer.
pub(crate) fn write(writer: &mut Writer, segments: &[(u128, u32)]) -> Result<u32, CompileError> {
    subtree(writer, segments, 0, 0)
}

/// The word for the addresses that share the first `depth` digits of `base`.
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
    if outer == last.1 {
        let common = (second ^ (last.0 - 1)).leading_zeros() / 4;
        if common > depth {
            let prefix = second & !low_bits(common);
            let inside = subtree(writer, inside, prefix, common)?;
            return compare(writer, prefix, common, inside, outer);
        }
    }
    let selects = width(depth, inside.len() - 1);
    let below = depth + selects;
    let mut node = Vec::with_capacity(1 << (selects * 4));
    for child in 0..1u128 << (selects * 4) {
        let first = base | (child << (128 - below * 4));
        node.push(subtree(writer, inside, first, below)?);
    }
    select(writer, depth, selects, &node)
}

/// How many digits select a child, where the word changes so often.
fn width(digit: u32, changes: usize) -> u32 {
    let fits = |selects: &u32| {
        let children = 1usize << (selects * 4);
        digit % 16 + selects <= 16 && children <= changes.saturating_mul(CHILDREN_FOR_CHANGE)
    };
    [3, 2].into_iter().find(fits).unwrap_or(1)
}

/// A node that has a child for some digits. Wide ones are not looked for among
/// the others, so that each belongs to one place, and can be changed there.
fn select(
    writer: &mut Writer,
    digit: u32,
    selects: u32,
    node: &[u32],
) -> Result<u32, CompileError> {
    let at =
        if selects == 1 { writer.aligned_block(node)? } else { writer.aligned_append(node)? };
    Ok(V6Node { selects, digit, at }.pointer())
}

/// A node for the addresses that begin with so many digits of `prefix`; `outside`
/// is the word of all others.
fn compare(
    writer: &mut Writer,
    prefix: u128,
    digits: u32,
    inside: u32,
    outside: u32,
) -> Result<u32, CompileError> {
    let mut node = vec![0; index(V6_UNIT)];
    for (word, shift) in node[index(V6_PREFIX)..].iter_mut().zip([96u32, 64, 32, 0]) {
        *word = u32::try_from((prefix & !low_bits(digits)) >> shift & 0xffff_ffff).unwrap_or(0);
    }
    node[index(V6_INSIDE)] = inside;
    node[index(V6_OUTSIDE)] = outside;
    let at = writer.aligned_block(&node)?;
    Ok(V6Node { selects: 0, digit: digits - 1, at }.pointer())
}

/// What stands for a trie once one address in it has another word.
pub(crate) fn with(
    writer: &mut Writer,
    trie: u32,
    address: u128,
    word: u32,
) -> Result<u32, CompileError> {
    below(writer, trie, 0, address, word)
}

/// The same for a part of the trie, that of the addresses which share the first
/// `depth` digits of this one. Narrow nodes on the way are stored anew, wide ones
/// are changed where they are.
fn below(
    writer: &mut Writer,
    trie: u32,
    depth: u32,
    address: u128,
    word: u32,
) -> Result<u32, CompileError> {
    if trie & POINTER == 0 {
        return if trie == word || depth == DIGITS {
            Ok(word)
        } else {
            compare(writer, address, DIGITS, word, trie)
        };
    }
    let node = V6Node::of(trie);
    if node.selects == 0 {
        return compared(writer, trie, depth, address, word);
    }
    let child = node.at + digit_of(address, node.digit, node.selects);
    let old = writer.word(child);
    let new = below(writer, old, node.digit + node.selects, address, word)?;
    if new == old {
        return Ok(trie);
    }
    if node.selects > 1 {
        writer.set(child, new);
        return Ok(trie);
    }
    let mut children = writer.words(node.at, 16).to_vec();
    if let Some(child) = children.get_mut(index(child - node.at)) {
        *child = new;
    }
    // What has become equal all over needs no node.
    match children.as_slice() {
        [first, rest @ ..] if first & POINTER == 0 && rest.iter().all(|one| one == first) => {
            Ok(*first)
        }
        children => select(writer, node.digit, 1, children),
    }
}

/// The same for a node that compares.
fn compared(
    writer: &mut Writer,
    trie: u32,
    depth: u32,
    address: u128,
    word: u32,
) -> Result<u32, CompileError> {
    let V6Node { digit, at, .. } = V6Node::of(trie);
    let digits = digit + 1;
    let [high, mid, low, lowest, inside, outside, ..] = writer.words(at, index(V6_UNIT)) else {
        return Err(CompileError::TooLarge);
    };
    let (inside, outside) = (*inside, *outside);
    let prefix = [high, mid, low, lowest]
        .into_iter()
        .fold(0u128, |prefix, part| prefix << 32 | u128::from(*part));
    // The digit in which the address leaves what is compared.
    let apart = ((prefix ^ address) & !low_bits(digits)).leading_zeros() / 4;
    if apart >= digits {
        let new = below(writer, inside, digits, address, word)?;
        return match new {
            new if new == inside => Ok(trie),
            new if new == outside => Ok(outside),
            new => compare(writer, prefix, digits, new, outside),
        };
    }
    if outside == word {
        return Ok(trie);
    }
    let mut children = [outside; 16];
    let mut put = |address: u128, child: u32| {
        if let Some(place) = children.get_mut(index(digit_of(address, apart, 1))) {
            *place = child;
        }
    };
    put(prefix, if apart + 1 == digits { inside } else { trie });
    put(address, below(writer, outside, apart + 1, address, word)?);
    let both = select(writer, apart, 1, &children)?;
    if apart == depth { Ok(both) } else { compare(writer, address, apart, both, outside) }
}

/// Some digits of an address, from one on.
fn digit_of(address: u128, first: u32, count: u32) -> u32 {
    let digits = (address & low_bits(first)) >> (128 - (first + count) * 4);
    u32::try_from(digits).unwrap_or(0)
}

/// The bits behind the first `digits`.
fn low_bits(digits: u32) -> u128 {
    u128::MAX.checked_shr(digits * 4).unwrap_or(0)
}

fn index(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hostfw_datapath::{
        Address,
        image::{AT_V6, walk_v6},
    };
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

    /// An address of a crowded net: three digits are as good as random.
    fn crowded() -> impl Strategy<Value = u128> {
        (0..4096u128, prop_oneof![Just(0u128), 0..4u128])
            .prop_map(|(at, low)| NET + (at << 84) + low)
    }

    #[test]
    fn a_crowded_place_is_wide_and_a_lonely_one_compared() {
        let segments: Vec<_> = [(0, 0)]
            .into_iter()
            .chain((1..2000u32).map(|at| (NET + (u128::from(at) << 84), at)))
            .collect();
        let segments = [segments, vec![(NET + (2000 << 84), 0)]].concat();
        let mut writer = Writer::new();
        let root = V6Node::of(write(&mut writer, &segments).expect("a small trie"));
        assert_eq!((root.selects, root.digit), (0, 7));
        let below = V6Node::of(writer.word(root.at + V6_INSIDE));
        assert_eq!((below.selects, below.digit), (3, 8));
        assert_eq!((root.at % V6_UNIT, below.at % 16), (0, 0), "within cache lines");
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn wide_nodes_hold_and_follow_what_is_written(
            segments in drawn::many_segments(crowded(), 60..1500),
            changes in vec((crowded(), drawn::word()), 1..60),
        ) {
            let mut writer = Writer::new();
            let mut root = write(&mut writer, &segments).expect("a small trie");
            for (edge, word) in &segments {
                prop_assert_eq!(look_up(&mut writer, root, *edge), *word, "{:#x}", edge);
            }
            let mut now = BTreeMap::new();
            for (address, word) in changes {
                root = with(&mut writer, root, address, word).expect("a small trie");
                now.insert(address, word);
            }
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            for address in anew.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&mut writer, root, address);
                prop_assert_eq!(found, drawn::word_at(&anew, address), "{:#x}", address);
            }
        }
    }
}
