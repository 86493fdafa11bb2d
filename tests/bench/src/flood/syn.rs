//! The program that makes the packets of a SYN flood: each opens a connection
//! from a source that no other one has. Their sums are right, because the stack
//! throws away what it cannot trust before it costs anything.

use std::{io, net::IpAddr};

use crate::{
    bpf::{Cell, Xdp},
    flows::{Family, NODE_MAC},
    generator::{add_word, begin, fold, ins, signed, write_16, write_32},
};

/// Where the sources are: 100.64.0.0/10, 4,194,304 addresses.
const SOURCES: u32 = 0x6440_0000;
const SOURCE_BITS: i32 = 0x003f_ffff;
/// A number is multiplied by this to look random. It is odd, so that no address
/// comes twice before all have come once.
const SPREAD: (i32, i32) = (0x4c95_7f2d, 0x5851_f42d);

/// The program that makes the next one from [`frame`] each time it is run.
pub(crate) fn program(cell: &Cell, port: u16) -> io::Result<Xdp> {
    let mut code = begin(cell, LENGTH);
    code.extend([
        // r1 = its number++, spread
        ins(0xbf, 1, 8, 0, 0),
        ins(0x07, 8, 0, 0, 1),
        ins(0x7b, 6, 8, 0, 0),
        ins(0x18, 2, 0, 0, SPREAD.0),
        ins(0, 0, 0, 0, SPREAD.1),
        ins(0x2f, 1, 2, 0, 0),
        // r5 = source address; r3 = source port
        ins(0xbf, 5, 1, 0, 0),
        ins(0x57, 5, 0, 0, SOURCE_BITS),
        ins(0x07, 5, 0, 0, signed(SOURCES)),
        ins(0xbf, 3, 1, 0, 0),
        ins(0x77, 3, 0, 0, 32),
        ins(0x97, 3, 0, 0, 60_000),
        ins(0x07, 3, 0, 0, 1024),
        // The sum of IPv4
        ins(0xb7, 1, 0, 0, signed(sum(&header()))),
    ]);
    code.extend(add_word(5));
    code.extend(fold());
    code.extend(write_16(1, 24));
    code.extend([
        // The sum of TCP
        ins(0xb7, 1, 0, 0, signed(sum(&request(port)) + sum_of_pseudo_header())),
        ins(0x0f, 1, 3, 0, 0),
    ]);
    code.extend(add_word(5));
    code.extend(fold());
    code.extend(write_16(1, 50));
    code.extend(write_16(3, 34));
    code.extend(write_32(5, 26));
    // XDP_PASS
    code.extend([ins(0xb7, 0, 0, 0, 2), ins(0x95, 0, 0, 0, 0)]);
    Xdp::load(&code)
}

const LENGTH: usize = 14 + 20 + 40;

/// A frame with a SYN to a port, without source and sums.
pub(crate) fn frame(port: u16) -> Vec<u8> {
    let mut frame = [&NODE_MAC[..], &[2, 0, 0, 0, 0, 2], &[8, 0]].concat();
    frame.extend(header());
    frame.extend(request(port));
    frame
}

fn header() -> [u8; 20] {
    let [a, b, c, d] = node();
    [0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// With the options of Linux: segment size, selective acknowledgements, time,
/// window scale.
fn request(port: u16) -> [u8; 40] {
    let [high, low] = port.to_be_bytes();
    let start = [0, 0, high, low, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0];
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7];
    let mut bytes = [0; 40];
    bytes[..16].copy_from_slice(&start);
    bytes[20..].copy_from_slice(&options);
    bytes
}

fn sum_of_pseudo_header() -> u32 {
    sum(&node()) + 6 + 40
}

/// The host that they are sent to.
fn node() -> [u8; 4] {
    match Family::V4.node() {
        IpAddr::V4(node) => node.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

/// The words, added (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
}
