//! The program that makes the packets of a SYN flood: each opens a connection
//! from a source that no other one has. Their sums are right, because the stack
//! throws away what it cannot trust before it costs anything.

use std::{io, net::IpAddr};

use crate::{
    bpf::{Cell, Xdp},
    flows::{Family, NODE_MAC},
    generator::{ins, signed},
};

/// Where the sources are: 100.64.0.0/10, 4,194,304 addresses.
const SOURCES: u32 = 0x6440_0000;
const SOURCE_BITS: i32 = 0x003f_ffff;
/// A number is multiplied by this to look random. It is odd, so that no address
/// comes twice before all have come once.
const SPREAD: (i32, i32) = (0x4c95_7f2d, 0x5851_f42d);

/// The program that makes the next one from [`frame`] each time it is run.
pub(crate) fn program(cell: &Cell, port: u16) -> io::Result<Xdp> {
    let mut code = vec![
        // r7 = data; the whole frame, or nothing
        ins(0x61, 7, 1, 0, 0),
        ins(0x61, 3, 1, 4, 0),
        ins(0xbf, 4, 7, 0, 0),
        ins(0x07, 4, 0, 0, i32::from(LENGTH)),
        ins(0x3d, 3, 4, 2, 0),
        ins(0xb7, 0, 0, 0, 1),
        ins(0x95, 0, 0, 0, 0),
        // r0 = the cell
        ins(0x62, 10, 0, -4, 0),
        ins(0x18, 1, 1, 0, cell.descriptor()),
        ins(0, 0, 0, 0, 0),
        ins(0xbf, 2, 10, 0, 0),
        ins(0x07, 2, 0, 0, -4),
        ins(0x85, 0, 0, 0, 1),
        ins(0x55, 0, 0, 2, 0),
        ins(0xb7, 0, 0, 0, 1),
        ins(0x95, 0, 0, 0, 0),
        // r1 = its number++, spread
        ins(0x79, 1, 0, 0, 0),
        ins(0xbf, 8, 1, 0, 0),
        ins(0x07, 8, 0, 0, 1),
        ins(0x7b, 0, 8, 0, 0),
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
        // r4 = the address in the sums
        ins(0xbf, 4, 5, 0, 0),
        ins(0x77, 4, 0, 0, 16),
        ins(0xbf, 2, 5, 0, 0),
        ins(0x57, 2, 0, 0, 0xffff),
        ins(0x0f, 4, 2, 0, 0),
        // The sum of IPv4
        ins(0xbf, 2, 4, 0, 0),
        ins(0x07, 2, 0, 0, signed(sum(&header()))),
    ];
    code.extend(stored_sum(24));
    code.extend([
        // The sum of TCP
        ins(0xbf, 2, 4, 0, 0),
        ins(0x0f, 2, 3, 0, 0),
        ins(0x07, 2, 0, 0, signed(sum(&request(port)) + sum_of_pseudo_header())),
    ]);
    code.extend(stored_sum(50));
    code.extend([
        ins(0xdc, 3, 0, 0, 16),
        ins(0x6b, 7, 3, 34, 0),
        ins(0xdc, 5, 0, 0, 32),
        ins(0x63, 7, 5, 26, 0),
        // XDP_PASS
        ins(0xb7, 0, 0, 0, 2),
        ins(0x95, 0, 0, 0, 0),
    ]);
    Xdp::load(&code)
}

/// Folds r2 to 16 bits and stores what makes the sum right, by way of r6.
fn stored_sum(offset: i16) -> [[u8; 8]; 10] {
    [
        ins(0xbf, 6, 2, 0, 0),
        ins(0x77, 6, 0, 0, 16),
        ins(0x57, 2, 0, 0, 0xffff),
        ins(0x0f, 2, 6, 0, 0),
        ins(0xbf, 6, 2, 0, 0),
        ins(0x77, 6, 0, 0, 16),
        ins(0x0f, 2, 6, 0, 0),
        // r2 ^= -1: the store takes the lower half only.
        ins(0xa7, 2, 0, 0, -1),
        ins(0xdc, 2, 0, 0, 16),
        ins(0x6b, 7, 2, offset, 0),
    ]
}

const LENGTH: i16 = 14 + 20 + 40;

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
