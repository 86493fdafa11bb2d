//! Rewrites a YAML file in one canonical form and keeps its comments. It knows
//! the layout of YAML and the order of the keys that every object has, and
//! nothing of what policies mean; a text that would read differently afterwards
//! is never returned.
//!
//! The form: indents of two, save for the list of a key, whose dashes stand in
//! the column of the key as in what kubectl prints; block style save for short
//! flow collections, one blank line at most, `---` between documents and none
//! before the first.

mod tokens;
mod tree;

mod leaf;
mod order;
mod print;
mod read;
mod remarks;

use crate::{
    complaint::{Complaint, Report, Source},
    text::{self, Node, Position, Value},
};

use self::tokens::Tokens;

/// A flow collection that would reach beyond this column becomes a block.
const WIDTH: usize = 80;

/// Why a file that can be read is not rewritten.
#[derive(Debug)]
struct Refusal {
    at: Position,
    what: String,
    instead: &'static str,
}

/// The text of a file in its canonical form.
///
/// # Errors
///
/// Complaints where the file cannot be read as YAML, where it holds what the
/// form has no place for (directives, keys of several lines), or where the new
/// text would not hold the same documents and comments.
pub fn format(source: &Source) -> Result<String, Vec<Complaint>> {
    let mut report = Report::new(source);
    let before = text::documents(&mut report);
    let complaints = report.finish();
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let mut report = Report::new(source);
    match rewrite(source, before) {
        Ok(text) => Ok(text),
        Err(Refusal { at, what, instead }) => {
            report.error(at, "not-formatted", what, instead);
            Err(report.finish())
        }
    }
}

fn rewrite(source: &Source, before: Vec<Node>) -> Result<String, Refusal> {
    let text = String::from_utf8_lossy(&source.bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // In YAML each of these ends a line, and means the same.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let tokens = Tokens::of(&text)?;
    let said = said(&tokens);
    let mut stream = read::read(&text, &tokens)?;
    remarks::attach(&text, tokens.comments, &mut stream);
    stream.documents.iter_mut().for_each(order::sort);
    let formatted = print::print(&stream);
    check(&source.path, before, &said, &formatted)?;
    Ok(formatted)
}

/// Whether the new text says what the old one said. A failure is a fault of
/// this program, and costs the author nothing but the new form.
fn check(path: &str, before: Vec<Node>, said: &[String], formatted: &str) -> Result<(), Refusal> {
    let lost = |what: &str| Refusal {
        at: Position::WHOLE_FILE,
        what: format!("internal error: the canonical form would not have the same {what}"),
        instead: "the file as it is, and please report it",
    };
    let source = Source::new(path, formatted);
    let mut report = Report::new(&source);
    let after = text::documents(&mut report);
    let is_read = report.finish().is_empty();
    let is_same = before.len() == after.len()
        && before.into_iter().zip(after).all(|(old, new)| is_same(&sorted(old), &sorted(new)));
    if !is_read || !is_same {
        return Err(lost("content"));
    }
    if Tokens::of(formatted).map(|tokens| self::said(&tokens)).ok().as_deref() != Some(said) {
        return Err(lost("comments"));
    }
    Ok(())
}

/// All comments, in an order that does not depend on their places.
fn said(tokens: &Tokens) -> Vec<String> {
    let mut said: Vec<String> =
        tokens.comments.iter().map(|comment| comment.text.clone()).collect();
    said.sort();
    said
}

/// A document with the keys of its outermost mapping in alphabetical order.
fn sorted(mut node: Node) -> Node {
    if let Value::Map(entries) = &mut node.value {
        entries.sort_by(|one, other| one.key.cmp(&other.key));
    }
    node
}

/// Whether two trees are equal, wherever their nodes stand.
fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::List(ones), Value::List(others)) => {
            ones.len() == others.len()
                && ones.iter().zip(others).all(|(one, other)| is_same(one, other))
        }
        (Value::Map(ones), Value::Map(others)) => {
            ones.len() == others.len()
                && ones
                    .iter()
                    .zip(others)
                    .all(|(one, other)| one.key == other.key && is_same(&one.value, &other.value))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
