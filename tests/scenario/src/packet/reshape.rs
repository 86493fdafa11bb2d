//! Packets made of whole ones: with options, with extension headers, in
//! fragments, behind a tag. Each stays a packet that its receiver takes; what
//! is meant to be refused is written by the tests.

use super::checksum;

/// Protocol number of the IPv6 fragment header.
const FRAGMENT: u8 = 44;

/// An IPv4 packet with options, padded to words of four bytes.
///
/// # Panics
/// When they do not fit into the header.
pub fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut header = packet[..20].to_vec();
    header.extend(options);
    header.resize(20 + options.len().next_multiple_of(4), 0);
    let words = u8::try_from(header.len() / 4).expect("a short header");
    assert!(words < 16, "an IPv4 header has 60 bytes at most");
    header[0] = 0x40 | words;
    finish_v4(header, &packet[20..])
}

/// An IPv6 packet with extension headers, given as their protocol numbers and
/// what stands behind the first byte, which names the next header.
pub fn with_extensions(packet: &[u8], extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut next = packet[6];
    let mut payload = packet[40..].to_vec();
    for (number, rest) in extensions.iter().rev() {
        let mut header = vec![next];
        header.extend(rest);
        assert!(header.len().is_multiple_of(4), "an extension header of whole words");
        header.extend(payload);
        (next, payload) = (*number, header);
    }
    finish_v6(&packet[..40], next, &payload)
}

/// The fragments of an IP packet, in order, each with so many bytes of its
/// payload (a multiple of eight), all with one identification.
pub fn fragments(packet: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    assert!(size.is_multiple_of(8) && size > 0, "fragments are cut at multiples of eight bytes");
    let is_v4 = packet[0] >> 4 == 4;
    let payload = if is_v4 { &packet[20..] } else { &packet[40..] };
    let last = payload.len().div_ceil(size) - 1;
    let cut = payload.chunks(size).enumerate().map(|(index, piece)| {
        let place = u16::try_from(index * size / 8).expect("a short packet");
        let more = index != last;
        if is_v4 {
            let mut header = packet[..20].to_vec();
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            header[6..8].copy_from_slice(&(place | u16::from(more) << 13).to_be_bytes());
            finish_v4(header, piece)
        } else {
            let mut body = vec![packet[6], 0];
            body.extend((place << 3 | u16::from(more)).to_be_bytes());
            body.extend(u32::from(identification).to_be_bytes());
            body.extend(piece);
            finish_v6(&packet[..40], FRAGMENT, &body)
        }
    });
    cut.collect()
}

/// A frame behind a tag of a VLAN that stands in its bytes; `kind` is the
/// Ethernet type of the tag.
pub fn tagged(frame: &[u8], kind: u16, id: u16) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(&frame[12..]);
    bytes
}

fn finish_v4(mut header: Vec<u8>, payload: &[u8]) -> Vec<u8> {
    let length = super::length(header.len() + payload.len());
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

fn finish_v6(header: &[u8], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = header.to_vec();
    packet[4..6].copy_from_slice(&super::length(payload.len()).to_be_bytes());
    packet[6] = next;
    packet.extend(payload);
    packet
}
