//! Reading typed fields out of a tree, with a complaint for everything that is
//! not as it should be: unknown fields, wrong types, missing ones. It knows the
//! shape of documents in general, and no document in particular.

use crate::{
    complaint::Report,
    text::{Entry, Node, Position, Value},
};

/// The fields of one mapping. Every field that is asked for becomes known;
/// [`Fields::finish`] complains about the rest.
#[derive(Debug)]
pub struct Fields<'n> {
    entries: &'n [Entry],
    known: Vec<&'static str>,
    of: &'static str,
    at: Position,
}

impl<'n> Fields<'n> {
    /// The fields of a node that must be a mapping. `of` names it in
    /// complaints, with its article: "a rule".
    pub fn new(node: &'n Node, of: &'static str, report: &mut Report<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { entries, known: Vec::new(), of, at: node.at }),
            Value::Null | Value::Text(_) | Value::Number(_) | Value::Truth(_) | Value::List(_) => {
                let what = format!("{of} must be a mapping, but is {}", node.kind());
                report.error(node.at, "wrong-type", what, "fields of the form `name: value`");
                None
            }
        }
    }

    /// Where the mapping starts.
    pub fn at(&self) -> Position {
        self.at
    }

    /// A field; one that is `null` counts as missing.
    pub fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.take_entry(name).map(|entry| &entry.value)
    }

    /// A field together with the place of its key.
    pub fn take_entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.known.push(name);
        self.entries.iter().find(|entry| entry.key == name && entry.value.value != Value::Null)
    }

    /// A field that must be there.
    pub fn need(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            let what = format!("{} has no `{name}`", self.of);
            report.error(self.at, "missing-field", what, format!("{name}: ..."));
        }
        node
    }

    /// Accepts fields without reading them.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend_from_slice(names);
    }

    /// Refuses every field that was not asked for. `hint` may know what an
    /// unknown field should be; else the nearest known name is proposed.
    pub fn finish(self, report: &mut Report<'_>, hint: impl Fn(&str) -> Option<String>) {
        for entry in self.entries {
            if self.known.iter().any(|known| *known == entry.key) {
                continue;
            }
            let what = format!("{} has no field `{}`", self.of, entry.key);
            let instead = hint(&entry.key)
                .or_else(|| nearest(&entry.key, &self.known).map(|name| format!("{name}:")))
                .unwrap_or_else(|| format!("remove it; known are {}", self.known.join(", ")));
            report.error(entry.at, "unknown-field", what, instead);
        }
    }
}

/// The text of a node; numbers and truth values are told to wear quotes.
pub fn text<'n>(node: &'n Node, name: &str, report: &mut Report<'_>) -> Option<&'n str> {
    let instead = match &node.value {
        Value::Text(text) => return Some(text),
        Value::Number(written) => format!("{name}: \"{written}\""),
        Value::Truth(_) => "the same word in quotes".to_owned(),
        Value::Null | Value::List(_) | Value::Map(_) => format!("{name}: \"...\""),
    };
    let what = format!("`{name}` must be text, but is {}", node.kind());
    report.error(node.at, "wrong-type", what, instead);
    None
}

/// The text of a node that must say something.
pub fn name<'n>(node: &'n Node, name: &str, report: &mut Report<'_>) -> Option<&'n str> {
    let text = text(node, name, report)?;
    if text.is_empty() {
        report.error(
            node.at,
            "missing-field",
            format!("`{name}` is empty"),
            format!("{name}: ..."),
        );
        return None;
    }
    Some(text)
}

/// The items of a node that must be a list.
pub fn list<'n>(node: &'n Node, name: &str, report: &mut Report<'_>) -> Option<&'n [Node]> {
    if let Value::List(items) = &node.value {
        return Some(items);
    }
    let what = format!("`{name}` must be a list, but is {}", node.kind());
    report.error(node.at, "wrong-type", what, format!("{name}:, then lines that start with `- `"));
    None
}

/// Whether a node is a list without items.
pub(crate) fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, Value::List(items) if items.is_empty())
}

/// A truth value.
pub fn truth(node: &Node, name: &str, report: &mut Report<'_>) -> Option<bool> {
    if let Value::Truth(truth) = node.value {
        return Some(truth);
    }
    let what = format!("`{name}` must be true or false, but is {}", node.kind());
    report.error(node.at, "wrong-type", what, format!("{name}: true"));
    None
}

/// The entries of a node that must be a mapping of text to text.
pub fn text_map<'n>(
    node: &'n Node,
    name: &str,
    report: &mut Report<'_>,
) -> Vec<(&'n Entry, &'n str)> {
    let Value::Map(entries) = &node.value else {
        let what = format!("`{name}` must be a mapping, but is {}", node.kind());
        report.error(node.at, "wrong-type", what, format!("{name}: {{key: \"value\"}}"));
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| Some((entry, text(&entry.value, &entry.key, report)?)))
        .collect()
}

/// The known name that a writer most probably meant: one that was cut short or
/// made longer, or with at most a third of it mistyped.
pub fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let written = written.to_lowercase();
    let rate = |name: &str| {
        let name = name.to_lowercase();
        let cut = written.len() > 2 && (name.starts_with(&written) || written.starts_with(&name));
        distance(&written, &name).min(if cut { 1 } else { usize::MAX })
    };
    known
        .iter()
        .map(|name| (rate(name), name.len().abs_diff(written.len()), *name))
        .filter(|(distance, _, name)| *distance <= (name.len() / 3).clamp(1, 4))
        .min()
        .map(|(_, _, name)| name)
}

/// Edit distance: insertions, deletions, replacements, neighbours swapped.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().collect();
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, one) in left.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, other) in right.iter().enumerate() {
            let mut best = row[column] + usize::from(one != other);
            best = best.min(row[column + 1] + 1).min(next[column] + 1);
            let is_swapped =
                index > 0 && column > 0 && left[index - 1] == *other && right[column - 1] == *one;
            if is_swapped {
                best = best.min(above[column - 1] + 1);
            }
            next.push(best);
        }
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_was_mistyped() {
        let known = ["fromCIDR", "fromEntities", "toPorts"];
        assert_eq!(nearest("fromCidr", &known), Some("fromCIDR"));
        assert_eq!(nearest("fromEntites", &known), Some("fromEntities"));
        assert_eq!(nearest("toPort", &known), Some("toPorts"));
        assert_eq!(nearest("proto", &["port", "protocol"]), Some("protocol"));
        assert_eq!(nearest("priority", &known), None);
        assert_eq!(nearest("form", &["name", "from", "to"]), Some("from"));
        // Of two that were cut short the one that is nearly there.
        assert_eq!(nearest("forbidden", &["for", "forbid"]), Some("forbid"));
    }
}
