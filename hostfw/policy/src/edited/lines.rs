//! The lines of two texts: where the texts differ, and where an item of a list
//! begins. It compares bytes and knows one thing of YAML, the dash.

use memchr::{memchr, memchr_iter, memrchr};

use crate::text::{Position, number};

/// Texts are compared in pieces of so many bytes, as far as that goes.
const PIECE: usize = 4096;

/// What an edit left as it was. Lines are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Lines at the beginning of both texts.
    pub(super) n_front: u32,
    /// The line of the old text from which on both are the same again.
    pub(super) back: u32,
    /// So many lines further down that is in the new text, modulo 2³².
    pub(super) moved: u32,
}

impl Edit {
    pub(super) fn new(old: &[u8], new: &[u8]) -> Self {
        let (same, _) = old.split_at(same_at_front(old, new));
        let front = memrchr(b'\n', same).map_or(0, |end| end + 1);
        let (same, old) = old.split_at(front);
        let (_, new) = new.split_at(front);
        let n_front = n_lines(same);
        let n_same = same_at_back(old, new);
        let (changed, same) = old.split_at(old.len() - n_same);
        let (replacement, _) = new.split_at(new.len() - n_same);
        if memchr(b'\n', same).is_none() {
            return Self { n_front, back: u32::MAX, moved: 0 };
        }
        // The first line of what is the same may have begun before it.
        let back = n_front + n_lines(changed) + 2;
        Self { n_front, back, moved: n_lines(replacement).wrapping_sub(n_lines(changed)) }
    }
}

/// So many bytes at the beginning of both are the same.
fn same_at_front(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.chunks(PIECE).zip(other.chunks(PIECE));
    let pieces = pieces.take_while(|(one, other)| one == other).map(|(one, _)| one.len());
    let n_same: usize = pieces.sum();
    let bytes = one.iter().zip(other).skip(n_same);
    n_same + bytes.take_while(|(one, other)| one == other).count()
}

/// So many bytes at the end of both are the same.
fn same_at_back(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.rchunks(PIECE).zip(other.rchunks(PIECE));
    let pieces = pieces.take_while(|(one, other)| one == other).map(|(one, _)| one.len());
    let n_same: usize = pieces.sum();
    let bytes = one.iter().rev().zip(other.iter().rev()).skip(n_same);
    n_same + bytes.take_while(|(one, other)| one == other).count()
}

fn n_lines(text: &[u8]) -> u32 {
    number(memchr_iter(b'\n', text).count())
}

/// A text and where its lines begin.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t [u8],
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        let starts = std::iter::once(0).chain(memchr_iter(b'\n', text).map(|end| end + 1));
        Self { text, starts: starts.collect() }
    }

    /// The text from a line on.
    pub(super) fn since(&self, line: u32) -> Option<&'t [u8]> {
        self.text.get(self.start(line)?..)
    }

    /// The text from a line on up to another one.
    pub(super) fn between(&self, line: u32, end: u32) -> Option<&'t [u8]> {
        self.text.get(self.start(line)?..self.start(end)?)
    }

    /// Whether nothing stands before a place in its line but a dash.
    pub(super) fn is_item(&self, place: Position) -> bool {
        let n_before = usize::try_from(place.column).unwrap_or_default().saturating_sub(1);
        let before = self.since(place.line).and_then(|line| line.get(..n_before));
        let Some(before) = before.and_then(|before| std::str::from_utf8(before).ok()) else {
            return false;
        };
        before.trim_matches(' ') == "-" && before.ends_with(' ')
    }

    fn start(&self, line: u32) -> Option<usize> {
        self.starts.get(usize::try_from(line).ok()?.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_leaves_whole_lines() {
        let edit = |old: &str, new: &str| {
            let Edit { n_front, back, moved } = Edit::new(old.as_bytes(), new.as_bytes());
            (n_front, back, moved.cast_signed())
        };
        assert_eq!(edit("a\nb\nc\nd\n", "a\nb\nc\nd\n"), (4, u32::MAX, 0));
        assert_eq!(edit("a\nb\nc\nd\n", "a\nX\nc\nd\n"), (1, 3, 0));
        assert_eq!(edit("a\nb\nc\nd\n", "a\nb\nX\nY\nc\nd\n"), (2, 4, 2));
        assert_eq!(edit("a\nb\nc\nd\n", "a\nd\n"), (1, 5, -2));
        // A line is not the same because it ends in the same way.
        assert_eq!(edit("a\nxb\nc\n", "a\nyb\nc\n"), (1, 3, 0));
        assert_eq!(edit("a\nb", "a\nb\nc"), (1, u32::MAX, 0));
        assert_eq!(edit("", "a\n"), (0, u32::MAX, 0));
        // No byte counts for the beginning and for the end.
        assert_eq!(edit("a\na\n", "a\na\na\n"), (2, u32::MAX, 0));
        let long = "line\n".repeat(2 * PIECE);
        assert_eq!(edit(&long, &format!("{long}end\n")), (8192, u32::MAX, 0));
        assert_eq!(edit(&long, &format!("begin\n{long}")), (0, 2, 1));
    }

    #[test]
    fn an_item_begins_behind_a_dash() {
        let is_item = |line: &str, column| {
            Lines::new(format!("first\n{line}").as_bytes()).is_item(Position { line: 2, column })
        };
        assert!(is_item("- a: 1", 3) && is_item("  -   a: 1", 7));
        for (line, column) in [
            ("a: 1", 1),
            ("  a: 1", 3),
            ("- - a: 1", 5),
            ("- é: {a: 1}", 6),
            ("\t- a", 4),
            ("-\ta", 3),
            ("x: [a]", 5),
            ("- a", 9),
        ] {
            assert!(!is_item(line, column), "{line:?}");
        }
    }
}
