//! What of a file's layout no tree keeps: its comments, the dashes of its lists
//! and the ends of its documents, each with its byte offset.

use granit_parser::{Marker, Options, ScanError, Scanner, StrInput, TokenType};

use super::Refusal;
use crate::text::Position;

/// Blanks in the sense of YAML; other white space is content.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// Tokens beside the content, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Every comment.
    pub(super) comments: Vec<Comment>,
    /// The dash of every item of a list in block style.
    pub(super) dashes: Vec<usize>,
    /// Every `...`.
    pub(super) ends: Vec<usize>,
}

/// A comment, where it begins, and its text from `#` on.
#[derive(Debug)]
pub(super) struct Comment {
    pub(super) at: usize,
    pub(super) text: String,
}

impl Tokens {
    /// The tokens of a text.
    pub(super) fn of(text: &str) -> Result<Self, Refusal> {
        let mut tokens = Self::default();
        let mut entries = Vec::new();
        for token in Scanner::with_options(StrInput::new(text), Options::default()) {
            let token = token.map_err(|error| refusal(&error))?;
            let at = token.span().byte_range().map_or(0, |range| range.start);
            let kind = token.token_type();
            if let TokenType::Comment(comment) = kind {
                let text = format!("#{}", comment.text().trim_end_matches(BLANKS));
                tokens.comments.push(Comment { at, text });
            } else if matches!(kind, TokenType::BlockEntry) {
                entries.push(at);
            } else if matches!(kind, TokenType::DocumentEnd) {
                tokens.ends.push(at);
            }
        }
        tokens.dashes = entries.into_iter().map(|at| tokens.dash(text, at)).collect();
        Ok(tokens)
    }

    /// The dash of an item whose token begins behind the blanks and the comment
    /// that follow the dash.
    fn dash(&self, text: &str, at: usize) -> usize {
        let before = text.get(..at).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let n_before = self.comments.partition_point(|comment| comment.at < at);
        let comment = n_before.checked_sub(1).and_then(|index| self.comments.get(index));
        let comment = comment.filter(|comment| comment.at >= line);
        let end = comment.map_or(at, |comment| comment.at);
        let before = text.get(..end).unwrap_or_default().trim_end_matches(BLANKS);
        before.len().saturating_sub(1)
    }
}

/// What the parser has said, which the reading of the file has not.
pub(super) fn refusal(error: &ScanError) -> Refusal {
    Refusal {
        at: position(error.marker()),
        what: format!("not put into the canonical form: {}", error.info()),
        instead: "the file without it",
    }
}

/// The place of a marker, as complaints count it.
pub(super) fn position(marker: &Marker) -> Position {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}
