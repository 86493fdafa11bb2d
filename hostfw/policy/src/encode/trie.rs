//! The tries of an image: as wide as they are full, and what all addresses below
//! a place have in common is compared at once and skipped.

use std::{array, net::IpAddr};

use hostfw_datapath::{
    Image as _,
    image::{
        AT_V4, AT_V6, Comparison, NODE_INSIDE, NODE_OUTSIDE, NODE_PREFIX, NODE_SPARE, NODE_UNIT,
        POINTER, TrieNode, V4_DIGITS,
    },
};

use super::{Segments, Writer, within};
use crate::compile::CompileError;

/// Digits of an address.
const DIGITS: u32 = 32;

/// A node has at most so many children for each change of the word below it: it
/// is worth a look at the memory to be there with fewer steps.
const CHILDREN_FOR_CHANGE: usize = 4;

/// What the mapped form of an IPv4 address begins with.
pub(crate) const MAPPED: u128 = 0xffff << 32;

/// The first node that selects is as wide as if the word changed so often below
/// it, at least: 256 children. All addresses of the family come by there.
const CHANGES_OF_ROOT: usize = 64;

/// Writes both tries and sets their roots: each a peer word or a node pointer.
pub(crate) fn write(
    writer: &mut Writer,
    v4: &[(u32, u32)],
    v6: &[(u128, u32)],
) -> Result<(), CompileError> {
    let mapped: Segments<u128> =
        v4.iter().map(|(first, word)| (MAPPED | u128::from(*first), *word)).collect();
    let root = subtree(writer, &mapped, MAPPED, V4_DIGITS, CHANGES_OF_ROOT)?;
    writer.set(AT_V4, root);
    let root = subtree(writer, v6, 0, 0, CHANGES_OF_ROOT)?;
    writer.set(AT_V6, root);
    Ok(())
}

/// The word for the addresses that share the first `depth` digits of `base`; the
/// first node that selects is for `least` changes, at least.
fn subtree(
    writer: &mut Writer,
    segments: &[(u128, u32)],
    base: u128,
    depth: u32,
    least: usize,
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
        let bits = (second ^ (last.0 - 1)).leading_zeros();
        let block = u128::MAX.checked_shr(bits).unwrap_or(0);
        if let [_, (first, word), _] = inside
            && (*first, last.0 - 1) == (first & !block, first | block)
        {
            return compare(writer, *first, bits, *word, outer);
        }
        let common = bits / 4;
        if common > depth {
            let prefix = second & !low_bits(common);
            let inside = subtree(writer, inside, prefix, common, least)?;
            return compare(writer, prefix, common * 4, inside, outer);
        }
    }
    let selects = width(depth, least.max(inside.len() - 1));
    let below = depth + selects;
    let mut node = Vec::with_capacity(1 << (selects * 4));
    for child in 0..1u128 << (selects * 4) {
        let first = base | (child << (128 - below * 4));
        node.push(subtree(writer, inside, first, below, 0)?);
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
    Ok(TrieNode { selects, digit, at }.pointer())
}

/// A node for the addresses that begin with so many bits (1 to 128) of `prefix`;
/// `outside` is the word of all others.
fn compare(
    writer: &mut Writer,
    prefix: u128,
    bits: u32,
    inside: u32,
    outside: u32,
) -> Result<u32, CompileError> {
    let kept = prefix & !u128::MAX.checked_shr(bits).unwrap_or(0);
    let mut node = vec![0; index(NODE_UNIT)];
    for (word, shift) in node[index(NODE_PREFIX)..].iter_mut().zip([96u32, 64, 32, 0]) {
        *word = u32::try_from(kept >> shift & 0xffff_ffff).unwrap_or(0);
    }
    node[index(NODE_INSIDE)] = inside;
    node[index(NODE_OUTSIDE)] = outside;
    node[index(NODE_SPARE)] = bits.wrapping_neg() & 3;
    let at = writer.aligned_block(&node)?;
    Ok(TrieNode { selects: 0, digit: (bits - 1) / 4, at }.pointer())
}

/// Gives one address another word.
pub(crate) fn set(writer: &mut Writer, address: IpAddr, word: u32) -> Result<(), CompileError> {
    let (at, depth, address) = match address.to_canonical() {
        IpAddr::V4(address) => (AT_V4, V4_DIGITS, MAPPED | u128::from(u32::from(address))),
        IpAddr::V6(address) => (AT_V6, 0, u128::from(address)),
    };
    let root = below(writer, writer.word(at), depth, address, word)?;
    writer.set(at, root);
    Ok(())
}

/// What stands for a part of a trie, that of the addresses which share the first
/// `depth` digits of this one, once this one has another word. Narrow nodes on
/// the way are stored anew, wide ones are changed where they are.
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
            compare(writer, address, DIGITS * 4, word, trie)
        };
    }
    let node = TrieNode::of(trie);
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
    let TrieNode { digit, at, .. } = TrieNode::of(trie);
    let digits = digit + 1;
    let node = writer.all().comparison(at);
    let Comparison { inside, outside, .. } = node;
    let (prefix, bits) = (node.first(), node.bits(digit));
    let apart = (prefix ^ address).leading_zeros();
    if apart >= bits {
        let new = below(writer, inside, bits / 4, address, word)?;
        return match new {
            new if new == inside => Ok(trie),
            new if new == outside => Ok(outside),
            new => compare(writer, prefix, bits, new, outside),
        };
    }
    if outside == word {
        return Ok(trie);
    }
    // The digit in which the address leaves what is compared.
    let apart = apart / 4;
    let (own, other) = (digit_of(prefix, apart, 1), digit_of(address, apart, 1));
    // If it is the last one, several digits may be inside.
    let (child, alike) = if apart + 1 == digits { (inside, digits * 4 - bits) } else { (trie, 0) };
    let gone = below(writer, outside, apart + 1, address, word)?;
    let children: [u32; 16] = array::from_fn(|digit| match u32::try_from(digit).unwrap_or(0) {
        digit if digit == other => gone,
        digit if (digit ^ own) >> alike == 0 => child,
        _ => outside,
    });
    let both = select(writer, apart, 1, &children)?;
    if apart == depth { Ok(both) } else { compare(writer, address, apart * 4, both, outside) }
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
    use std::{
        collections::BTreeMap,
        net::{Ipv4Addr, Ipv6Addr},
    };

    use hostfw_datapath::{Address, image::peer};
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

    /// The first of the IPv4 blocks that are looked at address by address.
    const BLOCK: u32 = 0xc0a8_0000;
    const N_BLOCKS: u32 = 3;

    /// The same of IPv4.
    fn edge_v4() -> impl Strategy<Value = u32> {
        let inside = 0..N_BLOCKS << 16;
        prop_oneof![
            2 => any::<u32>(),
            3 => inside.clone().prop_map(|at| BLOCK + at),
            3 => (0..0x40u32).prop_map(|at| BLOCK + 0x1_00f0 + at),
            3 => (inside, 0..=2u32).prop_map(|(at, beside)| BLOCK + (at & !0xff) + beside - 1),
            1 => proptest::sample::select(&[0u32, 1, 0xffff, 0x1_0000, u32::MAX - 1, u32::MAX][..]),
        ]
    }

    fn written(segments: &[(u128, u32)]) -> Writer {
        let mut writer = Writer::new();
        write(&mut writer, &[(0, 0)], segments).expect("a small trie");
        writer
    }

    fn written_v4(segments: &[(u32, u32)]) -> Writer {
        let mut writer = Writer::new();
        write(&mut writer, segments, &[(0, 0)]).expect("a small trie");
        writer
    }

    fn look_up(writer: &Writer, address: impl Into<IpAddr>) -> u32 {
        peer(&writer.all(), &Address::from(address.into()))
    }

    fn v6(address: u128) -> Ipv6Addr {
        address.into()
    }

    fn v4(address: u32) -> Ipv4Addr {
        address.into()
    }

    /// Gives one address after the other a word; the last of each stay.
    fn given<A: Copy + Ord, I: Into<IpAddr>>(
        writer: &mut Writer,
        changes: Vec<(A, u32)>,
        of: impl Fn(A) -> I,
    ) -> Result<BTreeMap<A, u32>, TestCaseError> {
        let mut now = BTreeMap::new();
        for (address, word) in changes {
            set(writer, of(address).into(), word).expect("a small trie");
            now.insert(address, word);
            prop_assert_eq!(look_up(writer, of(address)), word);
        }
        Ok(now)
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
        let writer = written(&segments);
        let root = TrieNode::of(writer.word(AT_V6));
        assert_eq!((root.selects, root.digit), (0, 7));
        let below = TrieNode::of(writer.word(root.at + NODE_INSIDE));
        assert_eq!((below.selects, below.digit), (3, 8));
        assert_eq!((root.at % NODE_UNIT, below.at % 16), (0, 0), "within cache lines");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_that_is_beside_an_edge_has_its_word(segments in drawn::segments(edge())) {
            let writer = written(&segments);
            for address in segments.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&writer, v6(address));
                prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
            }
        }

        #[test]
        fn giving_one_address_after_the_other_a_word_equals_building_anew(
            segments in drawn::segments(edge()), changes in vec((edge(), drawn::word()), 1..30),
        ) {
            let mut writer = written(&segments);
            let now = given(&mut writer, changes, v6)?;
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            let other = written(&anew);
            for address in anew.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&writer, v6(address));
                prop_assert_eq!(found, look_up(&other, v6(address)), "{:#x}", address);
                prop_assert_eq!(found, drawn::word_at(&anew, address), "{:#x}", address);
            }
        }

        #[test]
        fn giving_one_ipv4_address_after_the_other_a_word_equals_building_anew(
            segments in drawn::segments(edge_v4()), changes in vec((edge_v4(), drawn::word()), 1..30),
        ) {
            let mut writer = written_v4(&segments);
            let now = given(&mut writer, changes, v4)?;
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            for (edge, _) in &anew {
                for address in [edge.wrapping_sub(1), *edge, edge.wrapping_add(1)] {
                    let found = look_up(&writer, v4(address));
                    prop_assert_eq!(found, drawn::word_at(&anew, address), "{:#x}", address);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_ipv4_address_beside_an_edge_and_of_whole_blocks_has_its_word(
            segments in drawn::segments(edge_v4()),
        ) {
            let writer = written_v4(&segments);
            for (edge, _) in &segments {
                for address in [edge.wrapping_sub(1), *edge, edge.wrapping_add(1)] {
                    let found = look_up(&writer, v4(address));
                    prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
                }
            }
            for address in BLOCK..BLOCK + (N_BLOCKS << 16) {
                let found = look_up(&writer, v4(address));
                prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
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
            let mut writer = written(&segments);
            for (edge, word) in &segments {
                prop_assert_eq!(look_up(&writer, v6(*edge)), *word, "{:#x}", edge);
            }
            let now = given(&mut writer, changes, v6)?;
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            for address in anew.iter().flat_map(|(edge, _)| around(*edge)) {
                let found = look_up(&writer, v6(address));
                prop_assert_eq!(found, drawn::word_at(&anew, address), "{:#x}", address);
            }
        }

        #[test]
        fn wide_nodes_of_ipv4_hold_and_follow_what_is_written(
            segments in drawn::many_segments(any::<u32>(), 60..3000),
            changes in vec((any::<u32>(), drawn::word()), 1..60),
        ) {
            let mut writer = written_v4(&segments);
            for (edge, word) in &segments {
                prop_assert_eq!(look_up(&writer, v4(*edge)), *word, "{:#x}", edge);
            }
            let now = given(&mut writer, changes, v4)?;
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            for (edge, word) in &anew {
                prop_assert_eq!(look_up(&writer, v4(*edge)), *word, "{:#x}", edge);
            }
        }
    }
}
