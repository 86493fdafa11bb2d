//! How a scalar is written again: a plain one as it was, a quoted one with the
//! quotes that need no escapes, a block scalar with its lines moved.

use super::tokens::BLANKS;

/// A scalar or an alias.
#[derive(Debug)]
pub(super) struct Leaf {
    /// What it stands for.
    pub(super) text: String,
    /// Its lines without indentation; those after the first are continued, or
    /// are the content of a block scalar.
    pub(super) lines: Vec<String>,
    /// Whether the first line is the header of a block scalar.
    pub(super) is_block: bool,
    /// Whether blank lines behind it would belong to it.
    pub(super) keeps_blank_lines: bool,
    pub(super) is_alias: bool,
}

impl Leaf {
    /// An alias such as `*a`.
    pub(super) fn alias(written: &str) -> Self {
        Self { is_alias: true, ..Self::flow(written, vec![written.to_owned()]) }
    }

    /// Its lines say what they said wherever they begin.
    pub(super) fn plain(text: &str, written: &str) -> Self {
        let lines = written.split('\n').map(|line| line.trim_matches(BLANKS).to_owned());
        Self::flow(text, lines.collect())
    }

    /// A scalar in quotes of either kind, quotes included.
    pub(super) fn quoted(text: &str, written: &str) -> Self {
        let written = requoted(written);
        let lines: Vec<&str> = written.split('\n').collect();
        let last = lines.len().saturating_sub(1);
        let trimmed = lines.iter().enumerate().map(|(index, line)| {
            // Blanks around a line break are no content, those at the quotes are.
            let line = if index > 0 { line.trim_start_matches(BLANKS) } else { line };
            if index < last { without_end(line).to_owned() } else { line.to_owned() }
        });
        Self::flow(text, trimmed.collect())
    }

    /// A block scalar, from its header on.
    pub(super) fn block(text: &str, written: &str) -> Self {
        let (header, body) = written.split_once('\n').unwrap_or((written, ""));
        let header = header.split([' ', '\t', '#']).next().unwrap_or_default();
        let indicators = |wanted: [char; 2]| header.chars().find(|sign| wanted.contains(sign));
        let body: Vec<&str> = body.split('\n').collect();
        // The first line with content tells how far the content is indented.
        let n_blank = text.chars().take_while(|letter| *letter == '\n').count();
        let own = text.split('\n').nth(n_blank).map_or(0, indent_of);
        let indent = match body.get(n_blank) {
            Some(line) if n_blank < text.len() => indent_of(line).saturating_sub(own),
            Some(_) | None => usize::MAX,
        };
        let mut lines: Vec<String> = body
            .iter()
            .map(|line| line.get(indent.min(indent_of(line))..).unwrap_or_default().to_owned())
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let chomping = indicators(['+', '-']);
        if chomping == Some('+') {
            let n_ends = text.chars().rev().take_while(|letter| *letter == '\n').count();
            let n_kept = n_ends.saturating_sub(usize::from(!lines.is_empty()));
            lines.resize(lines.len() + n_kept, String::new());
        }
        let mut first = String::from(indicators(['|', '>']).unwrap_or('|'));
        if own > 0 {
            // Content that begins with a blank cannot tell its own indent.
            first.push('2');
        }
        first.extend(chomping);
        lines.insert(0, first);
        let keeps_blank_lines = chomping == Some('+');
        Self { is_block: true, keeps_blank_lines, ..Self::flow(text, lines) }
    }

    /// The only line of what may stand in a flow collection or as a key.
    pub(super) fn only_line(&self) -> Option<&str> {
        match self.lines.as_slice() {
            [line] if !self.is_block && !line.is_empty() => Some(line),
            _ => None,
        }
    }

    fn flow(text: &str, lines: Vec<String>) -> Self {
        let text = text.to_owned();
        Self { text, lines, is_block: false, keeps_blank_lines: false, is_alias: false }
    }
}

/// Where the header of a block scalar begins, at or behind an offset: between
/// them are only indicators, blanks and comments.
pub(super) fn header(text: &str, from: usize) -> usize {
    let mut is_comment = false;
    let mut rest = text.get(from..).unwrap_or_default().char_indices();
    let found = rest.find(|(_, letter)| {
        is_comment = (is_comment || *letter == '#') && *letter != '\n';
        !is_comment && matches!(letter, '|' | '>')
    });
    from + found.map_or(0, |(offset, _)| offset)
}

/// Double quotes, unless they would need escapes where single quotes do not.
fn requoted(written: &str) -> String {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    if written.starts_with('\'') {
        return if inner.contains(['"', '\\']) {
            written.to_owned()
        } else {
            format!("\"{}\"", inner.replace("''", "'"))
        };
    }
    match unescaped(inner) {
        Some(text) if text != inner => format!("'{}'", text.replace('\'', "''")),
        Some(_) | None => written.to_owned(),
    }
}

/// Text between double quotes, unless it has escapes of more than quotes and
/// backslashes: what those stand for may be invisible.
fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => letters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            _ => letter,
        });
    }
    Some(text)
}

/// A line without the blanks at its end, save one that a backslash escapes.
fn without_end(line: &str) -> &str {
    let trimmed = line.trim_end_matches(BLANKS);
    let n_backslashes = trimmed.chars().rev().take_while(|letter| *letter == '\\').count();
    let kept = trimmed.len() + n_backslashes % 2;
    line.get(..kept).unwrap_or(trimmed)
}

fn indent_of(line: &str) -> usize {
    line.chars().take_while(|letter| *letter == ' ').count()
}
