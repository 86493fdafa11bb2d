//! DNS names and patterns of names (rule 13), as `toFQDNs` and DNS rules write
//! them. It does not know which addresses a name has.

mod compare;

use crate::{
    complaint::Report,
    fields::{self, Fields},
    text::Node,
};

/// A name or a pattern of names. Case does not count, nor does a final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern {
    written: String,
    shape: Shape,
}

/// How names are compared. Labels are in lower case, outermost last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Shape {
    /// Exactly this name.
    Name(String),
    /// Every well-formed name, and the root.
    Every,
    /// Label by label; a star stands for any run of a label's characters. Where
    /// `below`, one or more whole labels come first.
    Labels { below: bool, labels: Vec<String> },
}

/// Longer names do not exist (RFC 1035 section 2.3.4), nor do patterns.
const MAX_LENGTH: usize = 255;

impl NamePattern {
    /// One name.
    fn name(written: &str) -> Self {
        Self { written: written.to_owned(), shape: Shape::Name(normal(written)) }
    }

    /// A pattern; `*` inside a label, `**.` before all of them.
    fn pattern(written: &str) -> Self {
        let normal = normal(written);
        let shape = if normal.trim_end_matches('.').bytes().all(|byte| byte == b'*')
            && normal.starts_with('*')
        {
            Shape::Every
        } else {
            let stars = normal.len() - normal.trim_start_matches('*').len();
            let rest = normal.trim_start_matches('*').strip_prefix('.').filter(|_| stars > 1);
            let labels = rest.unwrap_or(&normal).split('.').map(str::to_owned);
            Shape::Labels { below: rest.is_some(), labels: labels.collect() }
        };
        Self { written: written.to_owned(), shape }
    }

    /// True when the name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let name = normal(name);
        match &self.shape {
            Shape::Name(own) => *own == name,
            Shape::Every => {
                name == "."
                    || name.strip_suffix('.').is_some_and(|name| name.split('.').all(is_label))
            }
            Shape::Labels { below, labels } => {
                let mut rest: Vec<&str> = name.split('.').collect();
                if *below {
                    let n_below = rest.len().saturating_sub(labels.len());
                    let own = rest.split_off(n_below);
                    if n_below == 0 || !rest.iter().all(|label| is_label(label)) {
                        return false;
                    }
                    rest = own;
                }
                rest.len() == labels.len()
                    && labels.iter().zip(rest).all(|(label, name)| label_matches(label, name))
            }
        }
    }

    /// True when several names may be meant.
    pub fn is_wildcard(&self) -> bool {
        match &self.shape {
            Shape::Name(_) => false,
            Shape::Every => true,
            Shape::Labels { below, labels } => {
                *below || labels.iter().any(|label| label.contains('*'))
            }
        }
    }

    /// True when every name is meant.
    pub fn is_every_name(&self) -> bool {
        self.shape == Shape::Every
    }

    /// The text in the policy.
    pub fn as_written(&self) -> &str {
        &self.written
    }
}

/// Lower case, with the final dot.
fn normal(written: &str) -> String {
    let mut name = written.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(is_label_byte)
}

/// One label against one with stars. Only the last star ever has to give way,
/// so the time is bounded by the product of the lengths.
fn label_matches(pattern: &str, label: &str) -> bool {
    let (pattern, label) = (pattern.as_bytes(), label.as_bytes());
    let (mut at, mut next) = (0, 0);
    // Behind the last star, and how far it has reached.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = label.get(next) {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, next));
        } else if pattern.get(at) == Some(byte) {
            at += 1;
            next += 1;
        } else if let Some((behind, reached)) = star
            && label.get(reached).copied().is_some_and(is_label_byte)
        {
            at = behind;
            next = reached + 1;
            star = Some((behind, next));
        } else {
            return false;
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Reads a list of `matchName` and `matchPattern`.
pub fn read_list(node: &Node, name: &str, report: &mut Report<'_>) -> Vec<NamePattern> {
    let items = fields::list(node, name, report).unwrap_or_default();
    items.iter().filter_map(|item| read(item, report)).collect()
}

fn read(node: &Node, report: &mut Report<'_>) -> Option<NamePattern> {
    let mut fields = Fields::new(node, "a name", report)?;
    let name = fields.take("matchName");
    let pattern = fields.take("matchPattern");
    fields.finish(report, |unknown| {
        ["name", "fqdn", "host"].contains(&unknown).then(|| "matchName:".to_owned())
    });
    let name_text = text(name, "matchName", report)?;
    let pattern_text = text(pattern, "matchPattern", report)?;
    let (node, written, is_pattern) = match (name, pattern) {
        (Some(node), _) if !name_text.is_empty() => {
            if !pattern_text.is_empty() {
                let what = "an entry has either a name or a pattern";
                report.error(node.at, "bad-name", what, "an entry of its own for each");
                return None;
            }
            (node, name_text, false)
        }
        (_, Some(node)) if !pattern_text.is_empty() => (node, pattern_text, true),
        _ => {
            let what = "an entry names nothing, so it matches nothing";
            report.warning(node.at, "empty-name", what, "matchName: \"www.example.com\"");
            return None;
        }
    };
    let known = |byte: u8| is_label_byte(byte) || byte == b'.' || (is_pattern && byte == b'*');
    if !written.bytes().all(known) {
        let what = format!("`{written}` is no name");
        let instead = match (is_pattern, written.contains('*')) {
            (false, true) => format!("matchPattern: \"{written}\""),
            (false, false) => "letters, digits, `-`, `_` and `.`".to_owned(),
            (true, _) => "letters, digits, `-`, `_`, `.` and `*`".to_owned(),
        };
        report.error(node.at, "bad-name", what, instead);
        return None;
    }
    if written.len() > MAX_LENGTH {
        let what = format!("the name has {} characters", written.len());
        report.error(node.at, "bad-name", what, format!("at most {MAX_LENGTH}"));
        return None;
    }
    Some(if is_pattern { NamePattern::pattern(written) } else { NamePattern::name(written) })
}

/// The text of a field, empty where it is missing.
fn text<'n>(node: Option<&'n Node>, name: &str, report: &mut Report<'_>) -> Option<&'n str> {
    match node {
        None => Some(""),
        Some(node) => fields::text(node, name, report),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::pattern(pattern).matches(name)
    }

    #[test]
    fn a_star_stays_within_its_label() {
        assert!(matches("*.example.com", "www.example.com"));
        assert!(matches("*.EXAMPLE.com.", "WWW.example.COM"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", "a.b.example.com"));
        assert!(matches("*example.com", "example.com"));
        assert!(matches("a*b*c.d", "a-b-b-c.d"));
        assert!(!matches("*.*", "www.example.com:443"));
    }

    #[test]
    fn two_leading_stars_are_whole_labels() {
        assert!(matches("**.example.com", "a.b.example.com"));
        assert!(matches("***.example.com", "a.example.com"));
        assert!(!matches("**.example.com", "example.com"));
        assert!(!matches("**.example.com", "x-example.com"));
        assert!(matches("w**w.example.com", "www.example.com"));
    }

    #[test]
    fn stars_alone_are_every_name_and_the_root() {
        for every in ["*", "**", "*."] {
            assert!(matches(every, "a.b.c") && matches(every, ".") && matches(every, ""));
            assert!(!matches(every, "a b"), "{every}");
        }
        assert!(!NamePattern::name("www.example.com").is_wildcard());
        assert!(NamePattern::name("WWW.example.com").matches("www.example.com."));
    }

    /// The same by trying every way to share out the text.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|length| {
                text[..length].iter().all(|byte| is_label_byte(*byte))
                    && naive(rest, &text[length..])
            }),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn labels_match_as_by_trying_everything(pattern in "[ab*:]{0,6}", label in "[ab:]{0,6}") {
            let expected = naive(pattern.as_bytes(), label.as_bytes());
            prop_assert_eq!(label_matches(&pattern, &label), expected);
        }
    }
}
