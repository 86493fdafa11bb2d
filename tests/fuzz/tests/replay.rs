//! The corpus and many thousand mutations of it, the same at every run: bytes
//! exchanged, lines moved, cut, doubled, and spliced from one file into another.

mod lot;

use std::{fs, path::Path};

use crate::lot::Lot;

/// Mutations of each corpus.
const N_MUTATIONS: u32 = 30_000;

#[test]
fn policies_are_answered_whatever_they_are() {
    replay("policies", hostfw_fuzz::policies);
}

#[test]
fn the_world_is_answered_whatever_it_is() {
    replay("world", hostfw_fuzz::world);
}

#[test]
fn guardrails_are_answered_whatever_they_are() {
    replay("guardrails", hostfw_fuzz::guardrails);
}

#[test]
fn cases_are_answered_whatever_they_are() {
    replay("cases", hostfw_fuzz::test_cases);
}

#[test]
fn requests_are_answered_or_cut_off_whatever_they_are() {
    replay("requests", hostfw_fuzz::requests);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("readable")).collect();
    assert!(corpus.len() >= 3, "only {} files in {}", corpus.len(), folder.display());
    for bytes in &corpus {
        run(bytes);
    }
    let mut lot = Lot::default();
    for _ in 0..N_MUTATIONS {
        let mut bytes = corpus[lot.below(corpus.len())].clone();
        for _ in 0..=lot.below(4) {
            mutate(&mut bytes, &corpus, &mut lot);
        }
        run(&bytes);
    }
}

/// Bytes that mean something to YAML, and some that mean nothing to anybody.
const BYTES: &[u8] = b"{}[]:,&*!|>'\"%@`#-?~ \t\n\r\0\x7f\xff\xc3\xa90aZ<";

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], lot: &mut Lot) {
    let at = lot.below(bytes.len());
    match lot.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, BYTES[lot.below(BYTES.len())]),
        2 if !bytes.is_empty() => bytes[at] = BYTES[lot.below(BYTES.len())],
        3 if !bytes.is_empty() => drop(bytes.remove(at)),
        4 => {
            let mut lines = lines(bytes);
            let (from, to) = (lot.below(lines.len()), lot.below(lines.len()));
            lines.swap(from, to);
            *bytes = lines.concat();
        }
        5 => {
            let mut lines = lines(bytes);
            let line = lines[lot.below(lines.len())].clone();
            lines.insert(lot.below(lines.len()), line);
            *bytes = lines.concat();
        }
        _ => {
            let other = lines(&corpus[lot.below(corpus.len())]);
            let mut own = lines(bytes);
            let first = lot.below(other.len());
            let piece = other[first..(first + 1 + lot.below(6)).min(other.len())].concat();
            own.insert(lot.below(own.len()), piece);
            *bytes = own.concat();
        }
    }
    bytes.truncate(1 << 16);
}

/// Lines with their ends; at least one.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() { vec![Vec::new()] } else { lines }
}
