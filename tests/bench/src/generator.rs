//! The program that makes the packets of flows: XDP by hand, run on copies of a
//! frame. It has to cost little, for whatever it costs is part of every sample.

use std::io;

use crate::{
    bpf::{Cell, Xdp},
    flows::{FIRST_PORT, FIRST_SOURCE, FRAME_BYTES, Family, Flows, HOSTS, PORTS, SOURCES, STRIDE},
};

impl Flows {
    /// The program that makes one packet of these from a frame of
    /// [`Self::frame`] each time it is run. The cell keeps its place; programs
    /// that run at once are told apart by a number, so that they draw others.
    pub(crate) fn program(&self, cell: &Cell, number: u16) -> io::Result<Xdp> {
        let mut code = begin(cell, FRAME_BYTES);
        code.extend(self.choose_flow(number));
        code.extend(match self.family {
            Family::V4 => self.write_v4(),
            Family::V6 => self.write_v6(),
        });
        // XDP_PASS
        code.extend([ins(0xb7, 0, 0, 0, 2), ins(0x95, 0, 0, 0, 0)]);
        Xdp::load(&code)
    }

    /// r2 = port of this host; r3 = source port; r4 = host; r5 = rule.
    fn choose_flow(&self, number: u16) -> Vec<[u8; 8]> {
        let mut code = if self.count == 0 {
            // r1 = r8++
            vec![ins(0xbf, 1, 8, 0, 0), ins(0x07, 8, 0, 0, 1)]
        } else {
            // r8 = r8 * 0x5851f42d4c957f2d + an odd number; r1 = (r8 >> 33) mod count
            vec![
                ins(0x18, 2, 0, 0, 0x4c95_7f2d),
                ins(0, 0, 0, 0, 0x5851_f42d),
                ins(0x2f, 8, 2, 0, 0),
                ins(0x07, 8, 0, 0, 1_442_695_041 + 2 * i32::from(number)),
                ins(0xbf, 1, 8, 0, 0),
                ins(0x77, 1, 0, 0, 33),
                ins(0x97, 1, 0, 0, signed(self.count)),
            ]
        };
        code.extend([
            ins(0x7b, 6, 8, 0, 0),
            // r5 = r1 * stride mod rules; r3 = r1 / rules
            ins(0xbf, 5, 1, 0, 0),
            ins(0x27, 5, 0, 0, signed(STRIDE)),
            ins(0x97, 5, 0, 0, signed(self.rules)),
            ins(0xbf, 3, 1, 0, 0),
            ins(0x37, 3, 0, 0, signed(self.rules)),
            // r4 = r3 mod hosts + 1; r3 = r3 / hosts mod sources + first
            ins(0xbf, 4, 3, 0, 0),
            ins(0x97, 4, 0, 0, signed(HOSTS)),
            ins(0x07, 4, 0, 0, 1),
            ins(0x37, 3, 0, 0, signed(HOSTS)),
            ins(0x97, 3, 0, 0, signed(SOURCES)),
            ins(0x07, 3, 0, 0, i32::from(FIRST_SOURCE)),
        ]);
        if self.port == 0 {
            code.extend([
                ins(0xbf, 2, 5, 0, 0),
                ins(0x97, 2, 0, 0, signed(PORTS)),
                ins(0x07, 2, 0, 0, i32::from(FIRST_PORT)),
            ]);
        } else {
            code.push(ins(0xb7, 2, 0, 0, i32::from(self.port)));
        }
        code
    }

    /// A UDP sum of 0 says that there is none.
    fn write_v4(&self) -> Vec<[u8; 8]> {
        let mut code = vec![
            // r5 = base + rule * 64 + host
            ins(0x67, 5, 0, 0, 6),
            ins(0x0f, 5, 4, 0, 0),
            ins(0xb4, 0, 0, 0, signed(self.family.base(self.named))),
            ins(0x0f, 5, 0, 0, 0),
            ins(0xb7, 1, 0, 0, signed(self.sum_without_source())),
        ];
        code.extend(add_word(5));
        code.extend(fold());
        code.extend(write_16(1, 24));
        code.extend(write_16(3, 34));
        code.extend(write_16(2, 36));
        code.extend(write_32(5, 26));
        code
    }

    /// The kernel takes no datagram over IPv6 without a sum, and an odd one in
    /// 65,536 would be written as 0, which is why that becomes 0xffff.
    fn write_v6(&self) -> Vec<[u8; 8]> {
        let mut code = vec![
            // r5 = base + rule
            ins(0xb4, 0, 0, 0, signed(self.family.base(self.named))),
            ins(0x0f, 5, 0, 0, 0),
            ins(0xb7, 1, 0, 0, signed(self.sum_without_source())),
            ins(0x0f, 1, 2, 0, 0),
            ins(0x0f, 1, 3, 0, 0),
            ins(0x0f, 1, 4, 0, 0),
        ];
        code.extend(add_word(5));
        code.extend(fold());
        code.extend([ins(0x55, 1, 0, 1, 0), ins(0xb7, 1, 0, 0, 0xffff)]);
        code.extend(write_16(1, 60));
        code.extend(write_16(3, 54));
        code.extend(write_16(2, 56));
        code.extend(write_16(4, 36));
        code.extend(write_32(5, 26));
        code
    }
}

/// r6 = the cell; r7 = the frame, which has so many bytes; r8 = the cell's number.
pub(crate) fn begin(cell: &Cell, bytes: usize) -> Vec<[u8; 8]> {
    vec![
        // r7 = data; the whole frame, or nothing
        ins(0x61, 7, 1, 0, 0),
        ins(0x61, 3, 1, 4, 0),
        ins(0xbf, 4, 7, 0, 0),
        ins(0x07, 4, 0, 0, i32::try_from(bytes).unwrap_or(0)),
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
    ]
}

/// r1 += both halves of a word.
pub(crate) fn add_word(register: u8) -> [[u8; 8]; 6] {
    [
        ins(0xbf, 0, register, 0, 0),
        ins(0x77, 0, 0, 0, 16),
        ins(0x0f, 1, 0, 0, 0),
        ins(0xbf, 0, register, 0, 0),
        ins(0x57, 0, 0, 0, 0xffff),
        ins(0x0f, 1, 0, 0, 0),
    ]
}

/// r1 = the Internet checksum of a sum: what is above 16 bits is added to them,
/// twice as that may carry, and all bits are turned.
pub(crate) fn fold() -> [[u8; 8]; 9] {
    [
        ins(0xbf, 0, 1, 0, 0),
        ins(0x77, 0, 0, 0, 16),
        ins(0x57, 1, 0, 0, 0xffff),
        ins(0x0f, 1, 0, 0, 0),
        ins(0xbf, 0, 1, 0, 0),
        ins(0x77, 0, 0, 0, 16),
        ins(0x0f, 1, 0, 0, 0),
        ins(0xa7, 1, 0, 0, 0xffff),
        ins(0x57, 1, 0, 0, 0xffff),
    ]
}

/// Writes a register into the frame as the network orders bytes.
pub(crate) fn write_16(register: u8, offset: i16) -> [[u8; 8]; 2] {
    [ins(0xdc, register, 0, 0, 16), ins(0x6b, 7, register, offset, 0)]
}

pub(crate) fn write_32(register: u8, offset: i16) -> [[u8; 8]; 2] {
    [ins(0xdc, register, 0, 0, 32), ins(0x63, 7, register, offset, 0)]
}

/// One instruction: code, destination, source, offset, constant.
pub(crate) fn ins(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> [u8; 8] {
    let [a, b] = offset.to_le_bytes();
    let [c, d, e, f] = constant.to_le_bytes();
    [code, destination | source << 4, a, b, c, d, e, f]
}

/// The same bits.
pub(crate) fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}
