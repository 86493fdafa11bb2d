//! `hostfw policy check -o github`: complaints as commands of a GitHub workflow,
//! which shows them beside the lines they are about.

use std::fmt::Write as _;

use hostfw_api::{Complaint, Severity};

/// One command a line.
pub(crate) fn render(complaints: &[Complaint]) -> String {
    let mut text = String::new();
    for Complaint { path, line, column, severity, code, what, instead, .. } in complaints {
        let level = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let message =
            if instead.is_empty() { what.clone() } else { format!("{what}\nWrite: {instead}") };
        write!(text, "::{level} file={}", property(path)).unwrap_or_default();
        if *line > 0 {
            write!(text, ",line={line},col={column}").unwrap_or_default();
        }
        writeln!(text, ",title={}::{}", property(code), escaped(&message)).unwrap_or_default();
    }
    text
}

/// What would end a command is written by its number.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// In a property, so is what would end it.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stays_on_its_line_whatever_it_says() {
        let complaint = Complaint {
            path: "a,b:c.yaml".to_owned(),
            line: 3,
            column: 7,
            severity: Severity::Warning,
            code: "entity-all".to_owned(),
            what: "100% of them".to_owned(),
            instead: "some".to_owned(),
            excerpt: String::new(),
        };
        assert_eq!(
            render(&[complaint]),
            "::warning file=a%2Cb%3Ac.yaml,line=3,col=7,title=entity-all::100%25 of them%0AWrite: some\n"
        );
    }
}
