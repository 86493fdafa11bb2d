//! What benchmarks of look-ups ask: the n-th of many random prefixes, and the
//! n-th of many rules. The program in the kernel computes it to ask, and user
//! space to fill the image, so that every question has a known answer and no
//! table of questions stands between the caches and the image.
#![allow(clippy::as_conversions, reason = "bits are cut on purpose, in a const fn")]

use crate::Address;

/// The next state of a generator of numbers. The answer to the last question is
/// part of it, so that no question is known before the last one is answered.
#[inline(always)]
pub const fn next(state: u64, answer: u32) -> u64 {
    state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f + answer as u64)
}

/// One of so many numbers.
#[inline(always)]
pub const fn number(state: u64, count: u32) -> u32 {
    (((state >> 32) * count as u64) >> 32) as u32
}

/// The IPv4 prefix of a number, below 2^24: an address inside it, and its
/// length. Each lies in a block of 24 bits of its own; every second one is that
/// block, the others are longer.
#[inline(always)]
pub const fn prefix_v4(number: u32) -> (u32, u32) {
    // Each step can be undone, so no two numbers have one block.
    let mut block = number.wrapping_mul(0x9e_3779) & 0xff_ffff;
    block ^= block >> 11;
    block = block.wrapping_mul(0xb5_2a4d) & 0xff_ffff;
    block ^= block >> 13;
    let rest = number.wrapping_mul(0x9e37_79b9) >> 16;
    let length = if rest & 0x8000 == 0 { 24 } else { 25 + ((rest >> 8) & 7) };
    (block << 8 | rest & 0xff, length)
}

/// The IPv6 prefix of a number, likewise, in 2000::/3: every second one of 48
/// bits, the others of 64 or 128. Two may meet, which is seen when they are
/// drawn.
#[inline(always)]
pub const fn prefix_v6(number: u32) -> (Address, u32) {
    let mut bits = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    let low = bits.wrapping_mul(0x94d0_49bb_1331_11eb);
    let length = match low >> 62 {
        0 => 64,
        1 => 128,
        _ => 48,
    };
    (Address { high: 1 << 61 | bits >> 3, low }, length)
}

/// Ports that rules name, from [`FIRST_PORT`] on.
const PORTS: u32 = 1000;
/// The first of them.
pub const FIRST_PORT: u16 = 1000;
/// Rules of each peer.
pub const RULES_OF_PEER: u32 = 10;

/// The peer and the TCP port of a rule. A peer has rules for ten different
/// ports, and hardly two have the same ones.
#[inline(always)]
pub const fn rule(number: u32) -> (u32, u16) {
    let (peer, which) = (number / RULES_OF_PEER, number % RULES_OF_PEER);
    let first = (peer.wrapping_mul(0x9e37_79b9) >> 8) % PORTS;
    (peer, FIRST_PORT + ((first + which * 97) % PORTS) as u16)
}
