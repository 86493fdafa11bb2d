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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hostfw_datapath::{
        Address,
        image::{AT_V4, peer},
    };
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::encode::drawn;

    /// The first of the blocks that are looked at address by address.
    const BLOCK: u32 = 0xc0a8_0000;
    const N_BLOCKS: u32 = 3;

    /// An address where segments begin: mostly close together, on the edges of
    /// nodes and beside them.
    fn edge() -> impl Strategy<Value = u32> {
        let inside = 0..N_BLOCKS << 16;
        prop_oneof![
            2 => any::<u32>(),
            3 => inside.clone().prop_map(|at| BLOCK + at),
            3 => (0..0x40u32).prop_map(|at| BLOCK + 0x1_00f0 + at),
            3 => (inside, 0..=2u32).prop_map(|(at, beside)| BLOCK + (at & !0xff) + beside - 1),
            1 => proptest::sample::select(&[0u32, 1, 0xffff, 0x1_0000, u32::MAX - 1, u32::MAX][..]),
        ]
    }

    fn look_up(writer: &mut Writer, root: u32, address: u32) -> u32 {
        writer.set(AT_V4, root);
        peer(&writer.all(), &Address::v4(address))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_beside_an_edge_and_of_whole_blocks_has_its_word(
            segments in drawn::segments(edge()),
        ) {
            let mut writer = Writer::new();
            let root = write(&mut writer, &segments).expect("a small trie");
            for (edge, _) in &segments {
                for address in [edge.wrapping_sub(1), *edge, edge.wrapping_add(1)] {
                    let found = look_up(&mut writer, root, address);
                    prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
                }
            }
            let image = writer.all();
            for address in BLOCK..BLOCK + (N_BLOCKS << 16) {
                let found = peer(&image, &Address::v4(address));
                prop_assert_eq!(found, drawn::word_at(&segments, address), "{:#x}", address);
            }
        }

        #[test]
        fn setting_one_address_after_the_other_equals_building_anew(
            segments in drawn::segments(edge()), changes in vec((edge(), drawn::word()), 1..30),
        ) {
            let mut writer = Writer::new();
            let root = write(&mut writer, &segments).expect("a small trie");
            let mut now = BTreeMap::new();
            for (address, word) in changes {
                set(&mut writer, root, address, word).expect("a small trie");
                now.insert(address, word);
                prop_assert_eq!(look_up(&mut writer, root, address), word);
            }
            // Equal nodes stand at one place, so equal tries have equal roots.
            let anew = drawn::changed(&segments, &now, |address| address.checked_add(1));
            let other = write(&mut writer, &anew).expect("a small trie");
            prop_assert_eq!(writer.words(root, 1 << 16), writer.words(other, 1 << 16));
        }
    }
}
