//! Which flows there are, and the program that makes their packets.
//!
//! Rule `r` has the prefix of 64 addresses that is `r` places behind the first,
//! and one of ten ports. Flow `f` belongs to rule `f mod rules`; the quotient
//! gives its address in the prefix and its source port. Program and sockets
//! compute the same, so that each finds the flows of the other.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use crate::bpf::{Cell, Xdp};

/// Ports that rules name.
pub(crate) const FIRST_PORT: u16 = 1000;
pub(crate) const PORTS: u32 = 10;
/// A port that no rule names.
pub(crate) const DENIED_PORT: u16 = 999;
/// The port that the host asks from.
pub(crate) const OWN_PORT: u16 = 2000;
/// Where prefixes of rules begin, and where sources that no rule names do.
pub(crate) const ALLOWED: u32 = 0x0a00_0000;
pub(crate) const DENIED: u32 = 0xac10_0000;

/// Packets of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    /// The first address of the first prefix.
    pub(crate) base: u32,
    pub(crate) rules: u32,
    /// The port that they go to; 0 for the one of the rule.
    pub(crate) port: u16,
    /// So many, drawn at random; 0 for packets that are all new.
    pub(crate) count: u32,
}

impl Flows {
    /// The other end of a flow.
    pub(crate) fn peer(&self, flow: u32) -> SocketAddrV4 {
        let (rule, rest) = (flow % self.rules, flow / self.rules);
        let address = self.base + rule * 64 + rest % HOSTS + 1;
        let port = u16::try_from(rest / HOSTS % SOURCES).unwrap_or(0) + FIRST_SOURCE;
        SocketAddrV4::new(Ipv4Addr::from(address), port)
    }

    /// The port of this host.
    pub(crate) fn port(&self, flow: u32) -> u16 {
        let offset = u16::try_from(flow % self.rules % PORTS).unwrap_or(0);
        if self.port == 0 { FIRST_PORT + offset } else { self.port }
    }

    /// The program that makes one packet of these from a frame of [`frame`] each
    /// time it is run.
    pub(crate) fn program(&self, cell: &Cell) -> io::Result<Xdp> {
        let mut code = vec![
            // r7 = data; all 64 bytes, or nothing
            ins(0x61, 7, 1, 0, 0),
            ins(0x61, 3, 1, 4, 0),
            ins(0xbf, 4, 7, 0, 0),
            ins(0x07, 4, 0, 0, 64),
            ins(0x3d, 3, 4, 2, 0),
            ins(0xb7, 0, 0, 0, 1),
            ins(0x95, 0, 0, 0, 0),
            // r6 = the cell
            ins(0x62, 10, 0, -4, 0),
            ins(0x18, 1, 1, 0, cell.descriptor()),
            ins(0, 0, 0, 0, 0),
            ins(0xbf, 2, 10, 0, 0),
            ins(0x07, 2, 0, 0, -4),
            ins(0x85, 0, 0, 0, 1),
            ins(0x55, 0, 0, 2, 0),
            ins(0xb7, 0, 0, 0, 1),
            ins(0x95, 0, 0, 0, 0),
            ins(0xbf, 6, 0, 0, 0),
            ins(0x79, 8, 6, 0, 0),
        ];
        if self.count == 0 {
            // r1 = r8++
            code.extend([ins(0xbf, 1, 8, 0, 0), ins(0x07, 8, 0, 0, 1)]);
        } else {
            // r8 = r8 * 0x5851f42d4c957f2d + 1442695041; r1 = (r8 >> 33) mod count
            code.extend([
                ins(0x18, 2, 0, 0, 0x4c95_7f2d),
                ins(0, 0, 0, 0, 0x5851_f42d),
                ins(0x2f, 8, 2, 0, 0),
                ins(0x07, 8, 0, 0, 1_442_695_041),
                ins(0xbf, 1, 8, 0, 0),
                ins(0x77, 1, 0, 0, 33),
                ins(0x97, 1, 0, 0, signed(self.count)),
            ]);
        }
        code.extend([
            ins(0x7b, 6, 8, 0, 0),
            // r2 = rule; r3 = rest; r4 = host; r3 = source port
            ins(0xbf, 2, 1, 0, 0),
            ins(0x97, 2, 0, 0, signed(self.rules)),
            ins(0xbf, 3, 1, 0, 0),
            ins(0x37, 3, 0, 0, signed(self.rules)),
            ins(0xbf, 4, 3, 0, 0),
            ins(0x97, 4, 0, 0, signed(HOSTS)),
            ins(0x37, 3, 0, 0, signed(HOSTS)),
            ins(0x97, 3, 0, 0, signed(SOURCES)),
            ins(0x07, 3, 0, 0, i32::from(FIRST_SOURCE)),
            // r5 = source address
            ins(0xbf, 5, 2, 0, 0),
            ins(0x67, 5, 0, 0, 6),
            ins(0x0f, 5, 4, 0, 0),
            ins(0xb4, 4, 0, 0, signed(self.base + 1)),
            ins(0x0f, 5, 4, 0, 0),
        ]);
        if self.port == 0 {
            code.extend([
                ins(0x97, 2, 0, 0, signed(PORTS)),
                ins(0x07, 2, 0, 0, i32::from(FIRST_PORT)),
            ]);
        } else {
            code.push(ins(0xb7, 2, 0, 0, i32::from(self.port)));
        }
        code.extend([
            // Ports, then the sum of the header with this address.
            ins(0xdc, 3, 0, 0, 16),
            ins(0x6b, 7, 3, 34, 0),
            ins(0xdc, 2, 0, 0, 16),
            ins(0x6b, 7, 2, 36, 0),
            ins(0xbf, 2, 5, 0, 0),
            ins(0x77, 2, 0, 0, 16),
            ins(0xbf, 3, 5, 0, 0),
            ins(0x57, 3, 0, 0, 0xffff),
            ins(0x0f, 2, 3, 0, 0),
            ins(0x07, 2, 0, 0, signed(sum_without_source())),
            ins(0xbf, 3, 2, 0, 0),
            ins(0x77, 3, 0, 0, 16),
            ins(0x57, 2, 0, 0, 0xffff),
            ins(0x0f, 2, 3, 0, 0),
            ins(0xbf, 3, 2, 0, 0),
            ins(0x77, 3, 0, 0, 16),
            ins(0x0f, 2, 3, 0, 0),
            ins(0xa7, 2, 0, 0, 0xffff),
            ins(0x57, 2, 0, 0, 0xffff),
            ins(0xdc, 2, 0, 0, 16),
            ins(0x6b, 7, 2, 24, 0),
            ins(0xdc, 5, 0, 0, 32),
            ins(0x63, 7, 5, 26, 0),
            // XDP_PASS
            ins(0xb7, 0, 0, 0, 2),
            ins(0x95, 0, 0, 0, 0),
        ]);
        Xdp::load(&code)
    }
}

/// Addresses of a prefix that are used, and source ports.
const HOSTS: u32 = 62;
const SOURCES: u32 = 60_000;
const FIRST_SOURCE: u16 = 1024;

/// The receiver of all frames.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A frame of 64 bytes with UDP over IPv4, without source, ports and sums.
pub(crate) fn frame() -> Vec<u8> {
    let mut frame = [&NODE_MAC[..], &[2, 0, 0, 0, 0, 2], &[8, 0]].concat();
    frame.extend(header());
    frame.extend([0, 0, 0, 0, 0, 30, 0, 0]);
    frame.resize(64, 0);
    frame
}

fn header() -> [u8; 20] {
    let [a, b, c, d] = NODE.octets();
    [0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// The words of the header, added (RFC 1071), without the source.
fn sum_without_source() -> u32 {
    header().chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
}

/// One instruction: code, destination, source, offset, constant.
fn ins(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> [u8; 8] {
    let [a, b] = offset.to_le_bytes();
    let [c, d, e, f] = constant.to_le_bytes();
    [code, destination | source << 4, a, b, c, d, e, f]
}

/// The same bits.
fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}
