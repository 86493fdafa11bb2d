//! The tries of an image: as wide as they are full, and what all addresses below
//! a place have in common is compared at once and skipped.

use std::net::IpAddr;

use hostfw_datapath::{
    Image as _,
    image::{AT_V4, AT_V6, MAX_WIDTH, NODE_CHILDREN, NODE_UNIT, POINTER, TrieNode, V4_BITS},
};

use super::{Segments, Writer, within};
use crate::compile::CompileError;

/// Bits of an address.
const BITS: u32 = 128;

/// A node that selects by more than three bits has at most so many children for
/// each change of the word below it: that is what fewer steps are worth.
const CHILDREN_FOR_CHANGE: usize = 4;

/// All addresses of a family come by its first node: it is as wide as if the word
/// changed twice as often below it, and so often at least.
const CHANGES_OF_ROOT: usize = 64;

/// A node that selects by so many bits is not looked for among the others, so that
/// it belongs to one place, and can be changed there.
const WIDE: u32 = 5;

/// What the mapped form of an IPv4 address begins with.
pub(crate) const MAPPED: u128 = 0xffff << 32;

/// Writes both tries and sets their roots: each a peer word or a node pointer.
pub(crate) fn write(
    writer: &mut Writer,
    v4: &[(u32, u32)],
    v6: &[(u128, u32)],
) -> Result<(), CompileError> {
    let mapped: Segments<u128> =
        v4.iter().map(|(first, word)| (MAPPED | u128::from(*first), *word)).collect();
    let root = subtree(writer, &mapped, MAPPED, V4_BITS, of_root(v4.len()))?;
    writer.set(AT_V4, root);
    let root = subtree(writer, v6, 0, 0, of_root(v6.len()))?;
    writer.set(AT_V6, root);
    Ok(())
}

fn of_root(changes: usize) -> usize {
    CHANGES_OF_ROOT.max(2 * changes)
}

/// The word for the addresses that share the first `depth` bits of `base`; the
/// first node is for `least` changes, at least.
fn subtree(
    writer: &mut Writer,
    segments: &[(u128, u32)],
    base: u128,
    depth: u32,
    least: usize,
) -> Result<u32, CompileError> {
    let all = within(segments, base, base | low_bits(depth));
    let (outer, second, last) = match all {
        [] => return Ok(0),
        [(_, word)] => return Ok(*word),
        [(_, outer), (second, _), ..] => (*outer, *second, all[all.len() - 1]),
    };
    // Everything outside of some block has one word, that of an end; the block
    // alone needs nodes, so it is to be small.
    let (first, end, outside) = if outer == last.1 {
        (second, last.0 - 1, outer)
    } else {
        let (begin, end) = ((base, last.0 - 1), (second, base | low_bits(depth)));
        if shared(begin.0, begin.1) > shared(end.0, end.1) {
            (begin.0, begin.1, last.1)
        } else {
            (end.0, end.1, outer)
        }
    };
    let bit = shared(first, end);
    if let [(_, word)] = within(all, first, end)
        && (first, end) == (first & !low_bits(bit), first | low_bits(bit))
    {
        return compare(writer, first, bit, *word, outside);
    }
    let (bit, width) = selection(bit, depth, least.max(all.len() - 1));
    let (base, below) = (first & !low_bits(bit), bit + width);
    let mut children = Vec::with_capacity(1 << width);
    for child in 0..1u128 << width {
        let first = base | (child << (BITS - below));
        children.push(subtree(writer, all, first, below, 0)?);
    }
    select(writer, Select { bit, width, prefix: base, outside }, &children)
}

/// From which bit on how many select a child, where the word changes so often and
/// `bit` is the first that tells addresses apart. Where an even number of bits is left
/// in the half of the address, and all of them are to select, the bit before selects,
/// too, unless it is among the first `depth`: the last would need a node of its own.
fn selection(bit: u32, depth: u32, changes: usize) -> (u32, u32) {
    let left = 64 - bit % 64;
    let is_inside = |width: &u32| *width <= left || (*width == left + 1 && bit > depth);
    let is_full = |width: &u32| 1usize << width <= changes.saturating_mul(CHILDREN_FOR_CHANGE);
    let odd = (3..=MAX_WIDTH).rev().step_by(2);
    let width = odd.filter(is_inside).find(|width| *width == 3 || is_full(width)).unwrap_or(1);
    (bit - u32::from(width > left), width)
}

/// What a node is about.
#[derive(Clone, Copy)]
struct Select {
    /// The first bit that selects.
    bit: u32,
    /// How many do.
    width: u32,
    /// The bits before.
    prefix: u128,
    /// The word of addresses with others.
    outside: u32,
}

/// A node with these children.
fn select(writer: &mut Writer, about: Select, children: &[u32]) -> Result<u32, CompileError> {
    let Select { bit, width, prefix, outside } = about;
    let prefix = prefix & !low_bits(bit);
    let words = [64, 96, 0, 32].map(|shift| u32::try_from(prefix >> shift & 0xffff_ffff));
    let mut node: Vec<u32> = words.into_iter().map(Result::unwrap_or_default).collect();
    node.push(outside);
    node.extend(children);
    node.resize(node.len().next_multiple_of(index(NODE_UNIT)), 0);
    let at =
        if width < WIDE { writer.aligned_block(&node)? } else { writer.aligned_append(&node)? };
    Ok(TrieNode { behind: BITS - bit - width, width, at }.pointer())
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
    // The last bit selects between the two.
    let bit = bits - 1;
    let children = forked(prefix, bit, inside, outside);
    select(writer, Select { bit, width: 1, prefix, outside }, &children)
}

/// Two children, one of them for the addresses that have a bit of this one.
fn forked(address: u128, bit: u32, own: u32, other: u32) -> [u32; 2] {
    if address >> (BITS - 1 - bit) & 1 == 0 { [own, other] } else { [other, own] }
}

/// Gives one address another word.
pub(crate) fn set(writer: &mut Writer, address: IpAddr, word: u32) -> Result<(), CompileError> {
    let (at, depth, address) = match address.to_canonical() {
        IpAddr::V4(address) => (AT_V4, V4_BITS, MAPPED | u128::from(u32::from(address))),
        IpAddr::V6(address) => (AT_V6, 0, u128::from(address)),
    };
    let root = below(writer, writer.word(at), depth, address, word)?;
    writer.set(at, root);
    Ok(())
}

/// What stands for a part of a trie, that of the addresses which share the first
/// `depth` bits of this one, once this one has another word. Narrow nodes on the
/// way are stored anew, wide ones are changed where they are.
fn below(
    writer: &mut Writer,
    trie: u32,
    depth: u32,
    address: u128,
    word: u32,
) -> Result<u32, CompileError> {
    if trie & POINTER == 0 {
        return if trie == word || depth == BITS {
            Ok(word)
        } else {
            compare(writer, address, BITS, word, trie)
        };
    }
    let node = TrieNode::of(trie);
    let (bit, TrieNode { width, at, .. }) = (node.bit(), node);
    let head = writer.all().head(at).unwrap_or_default();
    let (prefix, outside) = (head.prefix(), head.outside);
    let apart = shared(prefix, address);
    if apart < bit {
        if outside == word {
            return Ok(trie);
        }
        let own = below(writer, outside, apart + 1, address, word)?;
        let children = forked(address, apart, own, trie);
        let about = Select { bit: apart, width: 1, prefix: address, outside };
        return select(writer, about, &children);
    }
    let first = at + NODE_CHILDREN;
    let child = first + bits_of(address, bit, width);
    let old = writer.word(child);
    let new = below(writer, old, bit + width, address, word)?;
    if new == old {
        return Ok(trie);
    }
    if width >= WIDE {
        writer.set(child, new);
        return Ok(trie);
    }
    let mut children = writer.words(first, 1 << width).to_vec();
    if let Some(child) = children.get_mut(index(child - first)) {
        *child = new;
    }
    let is_one = new & POINTER == 0 && children.iter().all(|child| *child == new);
    if is_one && (new == outside || bit == depth) {
        // What has become equal all over needs no node.
        Ok(new)
    } else if is_one {
        compare(writer, prefix, bit, new, outside)
    } else {
        select(writer, Select { bit, width, prefix, outside }, &children)
    }
}

/// How many bits two addresses begin with alike.
fn shared(one: u128, other: u128) -> u32 {
    (one ^ other).leading_zeros()
}

/// Some bits of an address, from one on.
fn bits_of(address: u128, first: u32, count: u32) -> u32 {
    let bits = (address & low_bits(first)) >> (BITS - first - count);
    u32::try_from(bits).unwrap_or(0)
}

/// The bits behind the first ones.
pub(crate) fn low_bits(bits: u32) -> u128 {
    u128::MAX.checked_shr(bits).unwrap_or(0)
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
                NET | bits & !low_bits(length) & (u128::MAX >> 32)
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
        let mut writer = written(&segments);
        let root = TrieNode::of(writer.word(AT_V6));
        assert_eq!((root.bit(), root.width), (33, 13), "what all share is no step of its own");
        let address = v6(NET + (7 << 84) + 5).into();
        set(&mut writer, address, 9).expect("a small trie");
        let lonely = TrieNode::of(writer.word(root.child::<true>(&Address::from(address))));
        assert_eq!((lonely.bit(), lonely.width), (127, 1), "all of it but the last bit");
        assert_eq!((lonely.at % NODE_UNIT, root.at % 16), (0, 0), "within cache lines");
    }

    #[test]
    fn neighbours_up_to_the_end_of_a_half_need_one_node() {
        // Ten bits tell them apart, and widths are odd.
        let networks = (0..1000).map(|net| (NET + (u128::from(net) << 64), net + 1));
        let networks = [vec![(0, 0)], networks.collect(), vec![(NET + (1000 << 64), 0)]].concat();
        let mut hosts = vec![(0, 0)];
        hosts.extend((0..1000).map(|host| (BLOCK + host, host + 1)));
        hosts.push((BLOCK + 1000, 0));
        let (of_v6, of_v4) = (written(&networks), written_v4(&hosts));
        for (writer, at, bit) in [(&of_v6, AT_V6, 53), (&of_v4, AT_V4, 117)] {
            let root = TrieNode::of(writer.word(at));
            assert_eq!((root.bit(), root.width), (bit, 11));
            let children = writer.words(root.at + NODE_CHILDREN, 1 << root.width);
            assert!(children.iter().all(|child| child & POINTER == 0));
            assert_eq!(children.iter().filter(|child| **child != 0).count(), 1000);
        }
        assert_eq!(selection(62, 62, 2), (62, 1), "the bit before is not among what varies");
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
