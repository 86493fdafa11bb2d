//! The look-ups of an image, exhaustively where the room is small enough: what
//! hand-made tables hold is found, and nothing else. That the compiler writes
//! such tables is shown beside the compiler.

#![expect(clippy::as_conversions, reason = "small numbers of hand-made tables")]

use std::{format, vec, vec::Vec};

use proptest::prelude::*;

use crate::{Address, Direction, Image, checksum, image::*, verdict::Answer};

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
    fn a_child_is_selected_by_the_bits_of_an_address(bits: u128) {
        let text = format!("{bits:0128b}");
        for width in (1..=MAX_WIDTH).step_by(2) {
            // All that lie within one half.
            for bit in (0..128u32).filter(|bit| bit % 64 + width <= 64) {
                let part = &text[bit as usize..(bit + width) as usize];
                let expected = u32::from_str_radix(part, 2).expect("binary digits");
                let node = TrieNode { behind: 128 - bit - width, width, at: 8 };
                prop_assert_eq!(node.bit(), bit);
                prop_assert_eq!(node.child::<true>(&address(bits)), 8 + NODE_CHILDREN + expected);
            }
        }
    }

    #[test]
    fn a_pointer_says_what_its_node_is(behind in 0..128u32, half in 0..8u32, unit in 0..1u32 << 21) {
        let node = TrieNode { behind, width: half * 2 + 1, at: unit * NODE_UNIT };
        prop_assert!(node.pointer() & POINTER != 0);
        prop_assert_eq!(TrieNode::of(node.pointer()), node);
    }
}

/// The first bits of an address, and zeros.
fn shared(address: u128, bits: u32) -> u128 {
    address & !u128::MAX.checked_shr(bits).unwrap_or(0)
}

/// A node of a trie at the next place where one may stand: its pointer.
fn place_node(
    words: &mut Vec<u32>,
    (bit, width): (u32, u32),
    prefix: u128,
    outside: u32,
    children: &[u32],
) -> u32 {
    words.resize(words.len().next_multiple_of(NODE_UNIT as usize), 0xdead);
    let prefix = [64, 96, 0, 32].map(|shift| (shared(prefix, bit) >> shift) as u32);
    let at = place(words, &[&prefix[..], &[outside], children].concat());
    TrieNode { behind: 128 - bit - width, width, at }.pointer()
}

const MAPPED: u128 = 0xffff << 32;

#[test]
fn every_ipv4_address_of_four_blocks_is_found_at_every_depth_of_the_trie() {
    // One block for each depth at which a word may stand.
    let expect = |block: u32, rest: u32| match block {
        0 => 1,
        1 => 0x100 | rest >> 11,
        2 => 0x1000 | rest >> 6,
        _ => 0x10_0000 | rest,
    };
    let mut words = empty();
    let mut nets = Vec::new();
    for block in 0..4u32 {
        let net = MAPPED | u128::from(0xc0a8_0000 + (block << 16));
        let mut blocks = Vec::new();
        for from in (0..32u32).map(|part| part << 11) {
            let mut parts = Vec::new();
            for from in (0..32).map(|part| from + (part << 6)) {
                let mut leaf: Vec<u32> = Vec::new();
                for from in (0..8).map(|part| from + part * 8) {
                    let last = (from..from + 8).map(|rest| expect(block, rest)).collect::<Vec<_>>();
                    let prefix = net | u128::from(from);
                    leaf.push(place_node(&mut words, (125, 3), prefix, 9, &last));
                }
                let prefix = net | u128::from(from);
                parts.push(match block {
                    0..3 => expect(block, from),
                    _ => place_node(&mut words, (122, 3), prefix, 9, &leaf),
                });
            }
            blocks.push(match block {
                0 | 1 => expect(block, from),
                _ => place_node(&mut words, (117, 5), net | u128::from(from), 9, &parts),
            });
        }
        nets.push(match block {
            0 => 1,
            _ => place_node(&mut words, (112, 5), net, 9, &blocks),
        });
    }
    nets.extend([9; 4]);
    let root = place_node(&mut words, (109, 3), MAPPED | 0xc0a8_0000, 9, &nets);
    words[AT_V4 as usize] = root;
    let image = words.as_slice();
    for rest in 0..0x1_0000 {
        for block in 0..4 {
            let address = 0xc0a8_0000 + (block << 16) + rest;
            assert_eq!(peer(&image, &Address::v4(address)), expect(block, rest), "{address:#x}");
        }
        assert_eq!(peer(&image, &Address::v4(0xc0a7_0000 + rest)), 9);
        assert_eq!(peer(&image, &Address::v4(0xc0ac_0000 + rest)), 9);
        assert_eq!(peer(&image, &Address::v4(0x40a8_0000 + rest)), 9);
    }
}

const OWN_V6: u128 = 0x2001_0db8_0123_4567_89ab_cdef_fedc_ba98;

#[test]
fn an_ipv6_address_is_selected_by_each_of_its_bits_and_by_no_other() {
    for width in (1..=MAX_WIDTH).step_by(2) {
        // Nodes of so many bits each; what remains of a half is taken one by one.
        let mut steps = Vec::new();
        let mut bit = 0;
        while bit < 128u32 {
            let width = if bit % 64 + width <= 64 { width } else { 1 };
            steps.push((bit, width));
            bit += width;
        }
        let way = |(bit, width), bits: u128| bits << bit >> (128 - width);
        let mut words = empty();
        let mut below = 0xf00;
        for step in steps.iter().rev() {
            let mut ways: Vec<u32> =
                (0..1u32 << step.1).map(|way| (step.0 + 1) << 16 | way).collect();
            ways[way(*step, OWN_V6) as usize] = below;
            below = place_node(&mut words, *step, OWN_V6, 0x700, &ways);
        }
        words[AT_V6 as usize] = below;
        let image = words.as_slice();
        assert_eq!(peer(&image, &address(OWN_V6)), 0xf00);
        for (first, width) in steps {
            for bit in first..first + width {
                let changed = OWN_V6 ^ 1 << (127 - bit);
                let expected = (first + 1) << 16 | way((first, width), changed) as u32;
                assert_eq!(peer(&image, &address(changed)), expected, "{changed:x}, {bit}");
            }
        }
    }
}

#[test]
fn an_address_is_compared_in_every_bit_before_those_that_select_and_in_no_other() {
    for first in 0..128u32 {
        let mut words = empty();
        let pointer = place_node(&mut words, (first, 1), OWN_V6, 0x700, &[0xf00, 0xf01]);
        words[AT_V6 as usize] = pointer;
        let image = words.as_slice();
        let inside = |address: u128| 0xf00 | (address >> (127 - first)) as u32 & 1;
        assert_eq!(peer(&image, &address(OWN_V6)), inside(OWN_V6));
        for bit in 0..128u32 {
            let changed = OWN_V6 ^ 1 << (127 - bit);
            let expected = if bit < first { 0x700 } else { inside(changed) };
            assert_eq!(peer(&image, &address(changed)), expected, "{changed:#x}, {first}");
        }
    }
}

#[test]
fn a_walk_ends_after_as_many_nodes_as_an_address_has_bits() {
    // Broken: nodes that lead to each other without end.
    let mut words = empty();
    let first = words.len() as u32;
    let at = |number: u32| TrieNode { behind: 125, width: 3, at: first + number * 16 }.pointer();
    for number in 0..200 {
        let children = [at((number + 1) % 200); 8];
        assert_eq!(place_node(&mut words, (0, 3), 0, 9, &children), at(number));
    }
    words[AT_V6 as usize] = at(0);
    assert_eq!(peer(&words.as_slice(), &address(1 << 127)), at(128));
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
fn dense_rows_have_a_cell_for_each_pair_of_classes() {
    let (n_peers, n_ports) = (5u32, 7u32);
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut words = empty();
        let page: Vec<u32> = (0..256).map(|port| port.min(n_ports - 1)).collect();
        let page = place(&mut words, &page);
        let ports = PORTS | place(&mut words, &[page; 256]);
        words[AT_UDP as usize] = ports;
        let mut table = [0; 256];
        table[17] = ports;
        words[AT_PROTOCOLS as usize] = place(&mut words, &table);
        let cells: Vec<u32> = (0..n_peers * n_ports).map(|cell| 100 + cell).collect();
        let subject = [IN_FORCE, place(&mut words, &cells), DENSE, n_peers];
        let at = crate::image::subject(&words.as_slice(), HOST, direction) as usize;
        words[at..at + subject.len()].copy_from_slice(&subject);
        let image = words.as_slice();
        for peer_class in 0..n_peers {
            for port in 0..n_ports as u16 {
                let question =
                    Question { subject: HOST, direction, peer_class, protocol: 17, port };
                let cell = 100 + u32::from(port) * n_peers + peer_class;
                assert_eq!(image.find(question), cell, "{peer_class} x {port}");
                assert_eq!(find_dense(&image, question), Some(cell), "{peer_class} x {port}");
            }
        }
        let question =
            Question { subject: HOST, direction, peer_class: CLASS, protocol: 17, port: 0 };
        assert_eq!(image.find(question), 0, "outside is broken");
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
    // Some say it by their index: that of a rule that allows, and of none.
    let plain = |words: &[u32]| [0, 1, 2, 3, 4, u32::MAX].map(|index| plain_verdict(&words, index));
    assert_eq!(plain(&words), [None; 6]);
    words[AT_N_RULES as usize] = 2;
    let (first, second) = (Some((Answer::Allow, 0)), Some((Answer::Allow, 1)));
    let nobody = Some((Answer::DefaultDeny, NO_RULE));
    assert_eq!(plain(&words), [None, first, second, nobody, None, None]);
    let image = words.as_slice();
    let proxies: Vec<u32> = (0..9).map(|index| proxy(&image, index)).collect();
    assert_eq!(proxies, [0, 0, 0, 0, 0, 3, 0, 0, 0]);
    let allowing: Vec<bool> = all.iter().map(|(answer, _)| answer.allows()).collect();
    assert_eq!(allowing, [false, true, false, false, true, false, false, true, false]);
}

#[test]
fn a_checksum_is_that_of_every_word_but_itself() {
    // By another program of a few lines.
    assert_eq!(checksum::of(&[]), 0x4fd0_bfc1);
    assert_eq!(checksum::of(&[0]), 0x2962_0a93);
    assert_eq!(checksum::of(&(1..60).collect::<Vec<u32>>()), 0x5b9a_5021);
    let words: Vec<u32> = (1..10_001).collect();
    let sum = checksum::of(&words);
    assert_eq!(sum, 0x2aa8_ec31);
    for at in 0..words.len() {
        let mut other = words.clone();
        other[at] ^= 1 << 17;
        assert_eq!(checksum::of(&other) == sum, at == AT_CHECKSUM as usize, "word {at}");
    }
}

#[test]
fn images_of_equal_content_differ_in_their_generation_at_most() {
    let finished = |generation: u32, last: u32| {
        let mut words: Vec<u32> = (1..10_001).collect();
        words[AT_GENERATION as usize] = generation;
        words[9_999] = last;
        words[AT_CHECKSUM as usize] = checksum::of(&words);
        words
    };
    let (one, next, other) = (finished(7, 1), finished(8, 1), finished(8, 2));
    assert_ne!(one[AT_CHECKSUM as usize], next[AT_CHECKSUM as usize]);
    assert_eq!(checksum::content(&one), checksum::content(&next));
    assert_ne!(checksum::content(&next), checksum::content(&other));
    assert_eq!(checksum::content(&one[..HEADER_WORDS as usize]), checksum::content(&one));
}

#[test]
fn reading_outside_the_image_gives_zero() {
    let image: &[u32] = &[5, 6];
    let read: Vec<u32> = [0, 1, 2, u32::MAX].into_iter().map(|at| image.word(at)).collect();
    assert_eq!(read, [5, 6, 0, 0]);
}
