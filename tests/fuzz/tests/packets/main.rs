//! Packets of every kind and a quarter of a million mutations of them, the same
//! at every run: bits turned, fields set to what means something, cut, spliced,
//! and put into other settings.

#[path = "../lot/mod.rs"]
mod lot;
mod recipe;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use hostfw_datapath::Reason;

use crate::lot::Lot;

const N_MUTATIONS: u32 = 250_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/packets")
}

/// By its name; what hunting has found stands beside what the recipe makes.
fn corpus() -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder()).expect("the corpus is part of the repository");
    files
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("readable"))
        })
        .collect()
}

#[test]
fn the_corpus_has_what_its_recipe_makes() {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        for (name, bytes) in recipe::inputs() {
            fs::write(folder().join(name), bytes).expect("writable");
        }
    }
    let kept = corpus();
    for (name, bytes) in recipe::inputs() {
        assert_eq!(kept.get(name), Some(&bytes), "{name}: run with UPDATE_EXPECT=1");
    }
}

#[test]
fn the_corpus_reaches_every_reason() {
    let reached: BTreeSet<Reason> = recipe::inputs()
        .iter()
        .filter_map(|(_, bytes)| hostfw_fuzz::fate(bytes))
        .map(|verdict| verdict.reason)
        .collect();
    // Nothing is loaded; the image is damaged; no proxy acts for a host.
    let out_of_reach = [Reason::NoPolicy, Reason::BrokenImage, Reason::NoProxy];
    let missing: Vec<&Reason> = Reason::ALL
        .iter()
        .filter(|reason| !reached.contains(reason) && !out_of_reach.contains(reason))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn packets_have_one_fate_whatever_they_are() {
    let corpus: Vec<Vec<u8>> = corpus().into_values().collect();
    for bytes in &corpus {
        // In every setting: the first byte has seven of them, the second five.
        for (flags, image) in (0..128u8).flat_map(|flags| (0..5u8).map(move |image| (flags, image)))
        {
            let mut bytes = bytes.clone();
            bytes[..2].copy_from_slice(&[flags, image]);
            hostfw_fuzz::packets(&bytes);
        }
    }
    let mut lot = Lot::default();
    for _ in 0..N_MUTATIONS {
        let mut bytes = corpus[lot.below(corpus.len())].clone();
        for _ in 0..=lot.below(4) {
            mutate(&mut bytes, &corpus, &mut lot);
        }
        hostfw_fuzz::packets(&bytes);
    }
}

/// Values that fields of headers have: versions and lengths, protocols and
/// extension headers, ethertypes, flags, types, and the ends of a byte.
const BYTES: &[u8] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 17, 20, 22, 24, 25, 40, 43, 44, 50, 51, 53, 58, 59,
    60, 64, 0x45, 0x46, 0x4f, 0x60, 0x81, 0x86, 0x88, 0xa8, 0xdd, 112, 127, 128, 129, 132, 133,
    135, 136, 137, 143, 0xe0, 0xfd, 0xfe, 0xff,
];

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], lot: &mut Lot) {
    let at = lot.below(bytes.len());
    let byte = BYTES[lot.below(BYTES.len())];
    match lot.below(9) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        2 | 3 if !bytes.is_empty() => bytes[at] = byte,
        4 if !bytes.is_empty() => bytes[at] ^= 1 << lot.below(8),
        5 if bytes.len() > 2 => {
            // Another setting.
            let (flags, image) = (lot.below(128), lot.below(5));
            bytes[0] = u8::try_from(flags).expect("seven bits");
            bytes[1] = u8::try_from(image).expect("few");
        }
        6 if bytes.len() > at + 8 => {
            // Eight bytes more: an extension header, or a shift.
            let piece = bytes[at..at + 8].to_vec();
            bytes.splice(at..at, piece);
        }
        7 if bytes.len() > at + 4 => drop(bytes.drain(at..at + 4)),
        _ => {
            let other = &corpus[lot.below(corpus.len())];
            let from = lot.below(other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
    bytes.truncate(1 << 11);
}
