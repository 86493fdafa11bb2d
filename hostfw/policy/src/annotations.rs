//! The annotations that hostfw asks for, and what becomes of one that it would
//! never ask for. What each of them means is decided elsewhere.

use crate::{
    complaint::Report,
    existing::{self, EXISTING_CONNECTIONS},
    fields::nearest,
    lint::IGNORE,
    policy::SCOPE,
    text::{Entry, Node, Value},
};

/// Nobody else's annotations begin like this.
const PREFIX: &str = "hostfw.io/";

/// Every one that is asked for.
const KNOWN: [&str; 3] = [EXISTING_CONNECTIONS, IGNORE, SCOPE];

/// Complains about annotations of hostfw's that are misspelt, or that stand
/// among the labels: what nobody asks for would change nothing, silently.
pub(crate) fn check(labels: Option<&Node>, annotations: Option<&Node>, report: &mut Report<'_>) {
    for entry in entries(labels).iter().filter(|entry| KNOWN.contains(&entry.key.as_str())) {
        let what = format!("`{}` is an annotation, and does nothing as a label", entry.key);
        let instead = format!("annotations: {{{}: ...}}", entry.key);
        report.error(entry.at, "bad-annotation", what, instead);
    }
    for entry in entries(annotations) {
        let Some(name) = entry.key.strip_prefix(PREFIX) else { continue };
        if !KNOWN.contains(&entry.key.as_str()) {
            let names = KNOWN.map(|known| known.strip_prefix(PREFIX).unwrap_or(known));
            let instead = match nearest(name, &names) {
                Some(meant) => format!("{PREFIX}{meant}:"),
                None => format!("remove it; known are {}", KNOWN.join(", ")),
            };
            let what = format!("there is no annotation `{}`", entry.key);
            report.error(entry.at, "bad-annotation", what, instead);
        }
    }
    if let Some(annotations) = annotations {
        existing::check(annotations, report);
    }
}

fn entries(node: Option<&Node>) -> &[Entry] {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        Some(
            Value::Null | Value::Text(_) | Value::Number(_) | Value::Truth(_) | Value::List(_),
        )
        | None => &[],
    }
}
