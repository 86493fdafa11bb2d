//! The look-ups of an image, exhaustively where the room is small enough: what
//! hand-made tables hold is found, and nothing else. That the compiler writes
//! such tables is shown beside the compiler.

#![expect(clippy::as_conversions, reason = "small numbers of hand-made tables")]

use std::{format, vec, vec::Vec};

use proptest::prelude::*;

use crate::{Address, Direction, Image, image::*, verdict::Answer};

/// A block of words goes to the end; its offset comes back.
fn place(words: &mut Vec<u32>, block: &[u32]) -> u32 {
    let at = words.len() as u32;
    words.extend(block);
    at
}

fn empty() -> Vec<u32> {
    vec![0; HEADER_WORDS as usize]
}

/// The bits of an address, most significant first.
fn address(bits: u128) -> Address {
    Address { high: (bits >> 64) as u64, low: bits as u64 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nibbles_are_the_digits_of_an_address(bits: u128) {
        let digits: Vec<u32> =
            format!("{bits:032x}").chars().filter_map(|digit| digit.to_digit(16)).collect();
        for position in 0..32u32 {
            prop_assert_eq!(nibble(&address(bits), position), digits[position as usize]);
            // So many leading digits, all of them set.
            let ones = "f".repeat(position as usize) + &"0".repeat(32 - position as usize);
            let mask = u128::from_str_radix(&ones, 16).expect("hexadecimal digits");
            let (high, low) = nibble_mask(position);
            prop_assert_eq!(address(mask), Address { high, low });
        }
    }
}

#[test]
fn every_ipv4_address_of_four_blocks_is_found_at_every_depth_of_the_trie() {
    // One block for each depth at which a word may stand.
    let expect = |block: u32, rest: u32| match block {
        0 => 1,
        1 => 0x100 | rest >> 8,
        2 => 0x1000 | rest >> 4,
        _ => 0x10_0000 | rest,
    };
    let mut words = empty();
    let mut root = vec![9u32; 65_536];
    for block in 0..4u32 {
        let blocks = |words: &mut Vec<u32>, from: u32| {
            let below = |words: &mut Vec<u32>, from: u32| {
                let leaf = (0..16).map(|last| expect(block, from + last)).collect::<Vec<_>>();
                POINTER | place(words, &leaf)
            };
            let node: Vec<u32> = (0..16)
                .map(|digit| from + digit * 16)
                .map(|from| if block < 3 { expect(block, from) } else { below(words, from) })
                .collect();
            POINTER | place(words, &node)
        };
        let node: Vec<u32> = (0..256)
            .map(|third| third * 256)
            .map(|from| if block < 2 { expect(block, from) } else { blocks(&mut words, from) })
            .collect();
        root[0xc0a8 + block as usize] =
            if block == 0 { expect(0, 0) } else { POINTER | place(&mut words, &node) };
    }
    words[AT_V4 as usize] = place(&mut words, &root);
    let image = words.as_slice();
    for rest in 0..0x1_0000 {
        for block in 0..4 {
            let address = 0xc0a8_0000 + (block << 16) + rest;
            assert_eq!(peer(&image, &Address::v4(address)), expect(block, rest), "{address:#x}");
        }
        assert_eq!(peer(&image, &Address::v4(0xc0a7_0000 + rest)), 9);
        assert_eq!(peer(&image, &Address::v4(0xc0ac_0000 + rest)), 9);
    }
}

/// A node of the IPv6 trie.
fn node(position: u32, prefix: u128, mismatch: u32, children: [u32; 16]) -> Vec<u32> {
    let mut node = vec![position, mismatch];
    node.extend((0..4).map(|word| (prefix >> (96 - word * 32)) as u32));
    node.resize(V6_CHILDREN as usize, 0xdead);
    node.extend(children);
    node
}

#[test]
fn an_ipv6_address_is_found_by_each_of_its_digits_and_by_no_other() {
    let own = 0x2001_0db8_0123_4567_89ab_cdef_fedc_ba98_u128;
    // A trie with a node at every digit, and one that skips to each of them.
    for first in 0..32u32 {
        let mut words = empty();
        let mut below = 0xf00;
        for position in (first..32).rev() {
            let kept = own & !u128::MAX.checked_shr(position * 4).unwrap_or(0);
            let digit = ((own >> (124 - position * 4)) & 15) as usize;
            let mut children = core::array::from_fn(|way| 0x1000 + position * 16 + way as u32);
            children[digit] = below;
            below = POINTER | place(&mut words, &node(position, kept, 0x700 + position, children));
        }
        words[AT_V6 as usize] = below;
        let image = words.as_slice();
        assert_eq!(peer(&image, &address(own)), 0xf00);
        for position in 0..32u32 {
            for other in 1..16u128 {
                let changed = own ^ (other << (124 - position * 4));
                let digit = ((changed >> (124 - position * 4)) & 15) as u32;
                let expected =
                    if position < first { 0x700 + first } else { 0x1000 + position * 16 + digit };
                assert_eq!(peer(&image, &address(changed)), expected, "{changed:#x}");
            }
        }
    }
}

#[test]
fn a_walk_ends_after_as_many_nodes_as_an_address_has_digits() {
    // Broken: nodes that lead to each other without end.
    let mut words = empty();
    let first = words.len() as u32;
    let at = |number: u32| POINTER | (first + number * V6_NODE_WORDS);
    for number in 0..40 {
        place(&mut words, &node(0, 0, 0, [at((number + 1) % 40); 16]));
    }
    words[AT_V6 as usize] = at(0);
    assert_eq!(walk_v6(&words.as_slice(), &address(1 << 127)), at(32));
}

#[test]
fn every_protocol_and_port_has_its_class() {
    let class = |protocol: u32, port: u32| match protocol {
        6 => 0x10_0000 | port,
        1 => 0x20_0000 | (port & 0xff),
        // All pages one.
        17 => 0x30_0000 | (port & 0xff),
        other => other,
    };
    let mut words = empty();
    let mut table: Vec<u32> = (0..256).collect();
    for protocol in [6, 17] {
        let page = |high: u32| (0..256).map(move |low| class(protocol, high << 8 | low));
        let mut pages: Vec<u32> = Vec::new();
        for high in 0..256 {
            let at = match pages.first() {
                Some(first) if protocol == 17 => *first,
                _ => place(&mut words, &page(high).collect::<Vec<_>>()),
            };
            pages.push(at);
        }
        table[protocol as usize] = PORTS | place(&mut words, &pages);
    }
    let types: Vec<u32> = (0..256).map(|number| class(1, number)).collect();
    table[1] = TYPES | place(&mut words, &types);
    words[AT_PROTOCOLS as usize] = place(&mut words, &table);
    for protocol in 0..=u8::MAX {
        for port in 0..=u16::MAX {
            let found = port_class(&words.as_slice(), protocol, port);
            assert_eq!(found, class(protocol.into(), port.into()), "{protocol}/{port}");
        }
    }
}

/// An image in which one peer class and one port class of one subject meet in
/// a verdict of their own, for trees of any height; all else is verdict 1.
struct Crossing {
    subject: u32,
    direction: Direction,
    peer_class: u32,
    port_class: u32,
    rows_levels: u32,
    row_levels: u32,
}

impl Crossing {
    fn words(&self) -> Vec<u32> {
        let mut words = empty();
        // Port classes are the ports themselves.
        let pages: Vec<u32> = (0..256u32)
            .map(|high| place(&mut words, &(0..256).map(|low| high << 8 | low).collect::<Vec<_>>()))
            .collect();
        let ports = PORTS | place(&mut words, &pages);
        words[AT_PROTOCOLS as usize] = place(&mut words, &[ports; 256]);
        // A tree that leads to `other` all over, and to `own` by these digits.
        let tree = |words: &mut Vec<u32>, ways: usize, digits: &[u32], own: u32, other: u32| {
            let mut at = (own, other);
            for digit in digits {
                let mut block = vec![at.1; ways];
                let elsewhere = place(words, &block);
                block[*digit as usize] = at.0;
                at = (place(words, &block), elsewhere);
            }
            at
        };
        let digits = |class: u32, bits: u32, levels: u32| {
            (0..levels).map(|level| class >> (level * bits) & ((1 << bits) - 1)).collect::<Vec<_>>()
        };
        let class = digits(self.port_class, 4, self.row_levels);
        let (row, other) = tree(&mut words, 16, &class, 2, 1);
        let class = digits(self.peer_class, 8, self.rows_levels);
        let (root, _) = tree(&mut words, 256, &class, row, other);
        let mut subjects = vec![0; 3 * SUBJECT_WORDS as usize];
        let half = match self.direction {
            Direction::Ingress => 0,
            Direction::Egress => SUBJECT_WORDS / 2,
        };
        let at = (self.subject * SUBJECT_WORDS + half) as usize;
        let n_words = SUBJECT_WORDS as usize;
        subjects[at + SUBJECT_FLAGS as usize] = IN_FORCE | 6;
        subjects[at + SUBJECT_ROWS as usize] = root;
        subjects[at + SUBJECT_ROWS_LEVELS as usize] = self.rows_levels;
        subjects[at + SUBJECT_ROW_LEVELS as usize] = self.row_levels;
        let host = AT_HOST as usize;
        words[host..host + n_words].copy_from_slice(&subjects[..n_words]);
        words[AT_SUBJECTS as usize] = place(&mut words, &subjects[n_words..]);
        words
    }
}

#[test]
fn a_verdict_stands_where_its_classes_cross_and_nowhere_beside() {
    let (peer, port) = (0x12_3456u32, 0x789au32);
    for (rows_levels, row_levels) in (1..=3).flat_map(|rows| (1..=4).map(move |row| (rows, row))) {
        for (subject, direction) in
            [(0, Direction::Ingress), (2, Direction::Egress), (1, Direction::Ingress)]
        {
            let peer_class = peer & ((1u32 << (rows_levels * 8)) - 1);
            let port_class = port & ((1u32 << (row_levels * 4)) - 1);
            let crossing =
                Crossing { subject, direction, peer_class, port_class, rows_levels, row_levels };
            let words = crossing.words();
            let image = words.as_slice();
            let ask = |peer_class, class: u32| {
                let port = class as u16;
                image.find(Question { subject, direction, peer_class, protocol: 6, port })
            };
            assert_eq!(ask(peer_class, port_class), 2);
            for bit in 0..rows_levels * 8 {
                assert_eq!(ask(peer_class ^ (1 << bit), port_class), 1, "peer bit {bit}");
            }
            for class in 0..1 << (row_levels * 4) {
                let expected = if class == port_class { 2 } else { 1 };
                assert_eq!(ask(peer_class, class), expected, "port class {class}");
            }
            for other in 0..3 {
                for way in [Direction::Ingress, Direction::Egress] {
                    let is_it = (other, way) == (subject, direction);
                    assert_eq!(in_force(&image, crate::image::subject(&image, other, way)), is_it);
                }
            }
        }
    }
}

#[test]
fn verdicts_are_two_words_and_their_bytes_mean_what_they_say() {
    let mut words = empty();
    words[AT_VERDICTS as usize] = words.len() as u32;
    words.extend([0, NO_RULE, 1, 7, 2, 8, 3, NO_RULE, 4, NO_RULE, 5 | 3 << PROXY_SHIFT, 9, 6, 1]);
    words.extend([0x1_0001, 4]);
    let image = words.as_slice();
    let all: Vec<_> = (0..9).map(|index| verdict(&image, index)).collect();
    assert_eq!(
        all,
        [
            (Answer::Broken, NO_RULE),
            (Answer::Allow, 7),
            (Answer::Deny, 8),
            (Answer::DefaultDeny, NO_RULE),
            (Answer::DefaultAllow, NO_RULE),
            (Answer::Redirect, 9),
            (Answer::Broken, 1),
            // Flags in the upper bytes are no part of the answer.
            (Answer::Allow, 4),
            // Outside the image.
            (Answer::Broken, 0),
        ]
    );
    let proxies: Vec<u32> = (0..9).map(|index| proxy(&image, index)).collect();
    assert_eq!(proxies, [0, 0, 0, 0, 0, 3, 0, 0, 0]);
    let allowing: Vec<bool> = all.iter().map(|(answer, _)| answer.allows()).collect();
    assert_eq!(allowing, [false, true, false, false, true, false, false, true, false]);
}

#[test]
fn a_checksum_is_that_of_every_word_but_itself() {
    // FNV-1a of three words and of four, by hand.
    assert_eq!(checksum(&[]), 0x811c_9dc5);
    assert_eq!(checksum(&[0]), 0x811c_9dc5u32.wrapping_mul(0x0100_0193));
    let words = [MAGIC, 1, 2, 3, 4];
    let sum = checksum(&words);
    for at in 0..words.len() {
        let mut other = words;
        other[at] ^= 1 << 17;
        assert_eq!(checksum(&other) == sum, at == AT_CHECKSUM as usize, "word {at}");
    }
}

#[test]
fn reading_outside_the_image_gives_zero() {
    let image: &[u32] = &[5, 6];
    let read: Vec<u32> = [0, 1, 2, u32::MAX].into_iter().map(|at| image.word(at)).collect();
    assert_eq!(read, [5, 6, 0, 0]);
}
