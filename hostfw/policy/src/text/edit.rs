//! Which documents of a file differ from those that it held before. It looks for
//! the lines between documents and reads none of them.

/// The most that a file may have: whatever stands in so few bytes is within the
/// bounds of a file, so reading a part of it complains of nothing less.
const MAX_BYTES: usize = 256 << 10;

/// Documents, and those that have taken their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit<'t> {
    pub(crate) before: &'t [u8],
    pub(crate) after: &'t [u8],
    /// Lines of the file that stand before them.
    pub(crate) n_lines_above: u32,
}

impl<'t> Edit<'t> {
    /// What lies between the documents that two texts begin and end with alike.
    /// `None` where documents may depend on each other, or are too many.
    pub(crate) fn between(before: &'t [u8], after: &'t [u8]) -> Option<Self> {
        if !stand_alone(before) || !stand_alone(after) {
            return None;
        }
        let n_same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
        let start = last_mark(before.get(..n_same)?);
        let (before_rest, after_rest) = (before.get(start..)?, after.get(start..)?);
        let pairs = before_rest.iter().rev().zip(after_rest.iter().rev());
        let n_same = pairs.take_while(|(one, other)| one == other).count();
        let n_kept = n_from_first_mark(before_rest.get(before_rest.len() - n_same..)?);
        Some(Self {
            before: before_rest.get(..before_rest.len() - n_kept)?,
            after: after_rest.get(..after_rest.len() - n_kept)?,
            n_lines_above: n_lines(before.get(..start)?),
        })
    }

    /// Where a line behind the documents has moved to.
    pub(crate) fn moved(&self, line: u32) -> u32 {
        if line <= self.n_lines_above {
            line
        } else {
            (line + n_lines(self.after)).saturating_sub(n_lines(self.before))
        }
    }
}

/// Whether no document of a text depends on another: aliases are counted over
/// the whole file, a directive may stand at the end of the document before, and
/// not every sign that ends a line is looked for here.
fn stand_alone(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| !matches!(byte, b'*' | b'&' | b'%' | b'\r') && byte.is_ascii();
    text.len() <= MAX_BYTES
        && text.iter().all(is_plain)
        && !text.starts_with(b"...")
        && !text.windows(4).any(|four| four == b"\n...")
}

/// Where the last line `---` begins, or the text.
fn last_mark(text: &[u8]) -> usize {
    text.windows(MARK.len()).rposition(|bytes| bytes == MARK).map_or(0, |at| at + 1)
}

/// Bytes from the first line `---` to the end.
fn n_from_first_mark(text: &[u8]) -> usize {
    let at = text.windows(MARK.len()).position(|bytes| bytes == MARK);
    at.map_or(0, |at| text.len() - at - 1)
}

fn n_lines(text: &[u8]) -> u32 {
    super::number(text.iter().filter(|byte| **byte == b'\n').count())
}

const MARK: &[u8] = b"\n---\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn between<'t>(before: &'t str, after: &'t str) -> Option<(&'t str, &'t str, u32)> {
        let text = |bytes| std::str::from_utf8(bytes).expect("as it was");
        let edit = Edit::between(before.as_bytes(), after.as_bytes())?;
        Some((text(edit.before), text(edit.after), edit.n_lines_above))
    }

    #[test]
    fn only_what_differs_is_between() {
        let (a, b, c) = ("---\na: 1\n", "---\nb: 1\n", "---\nc: 1\n");
        let all = [a, b, c].concat();
        assert_eq!(between(&all, &[a, "---\nb: 2\n", c].concat()), Some((b, "---\nb: 2\n", 2)));
        // One that only came or went is read with its neighbour.
        let (ab, bc) = ([a, b].concat(), [b, c].concat());
        let without = [a, c].concat();
        assert_eq!(between(&all, &without), Some((bc.as_str(), c, 2)));
        assert_eq!(between(&without, &all), Some((c, bc.as_str(), 2)));
        assert_eq!(between(&all, &ab), Some((bc.as_str(), b, 2)));
        assert_eq!(between(&all, &bc), Some((ab.as_str(), b, 0)));
        assert_eq!(between(&all, &all), Some((c, c, 4)));
        // Without a line before the first, or an end behind the last.
        assert_eq!(between("a: 1\n---\nb: 1", "a: 2\n---\nb: 1"), Some(("a: 1\n", "a: 2\n", 0)));
        assert_eq!(
            between("a: 1\n---\nb: 1", "a: 1\n---\nb: 2"),
            Some(("---\nb: 1", "---\nb: 2", 1))
        );
    }

    #[test]
    fn a_line_that_is_no_mark_ends_nothing() {
        for other in ["----", " ---", "--- x", "---x"] {
            let text = |value| format!("a: 1\n{other}\nb: {value}\n");
            let (one, two) = (text(1), text(2));
            assert_eq!(between(&one, &two), Some((one.as_str(), two.as_str(), 0)), "{other:?}");
        }
    }

    #[test]
    fn documents_that_may_depend_on_each_other_are_left_alone() {
        for text in ["a: &x 1\n", "%YAML 1.2\n", "a: 1\n...\n", "a: 1\r\n", "a: é\n"] {
            assert_eq!(between(text, "a: 2\n"), None, "{text:?}");
            assert_eq!(between("a: 2\n", text), None, "{text:?}");
        }
    }
}
