//! A complaint about a file, as a compiler prints it: place, what is wrong,
//! the line with a mark below the place, and what to write.

use hostfw_api::{Complaint, Severity};

use crate::render::page::{Page, Paint, printable};

/// All complaints, with an empty line between them.
pub(crate) fn render(complaints: &[Complaint], page: &Page) -> String {
    let blocks: Vec<String> = complaints.iter().map(|complaint| one(complaint, page)).collect();
    blocks.join("\n")
}

fn one(complaint: &Complaint, page: &Page) -> String {
    let (word, paint) = match complaint.severity {
        Severity::Error => ("error", Paint::Bad),
        Severity::Warning => ("warning", Paint::Notice),
    };
    // The place stays whole even where it is wider than the page: editors and
    // terminals make a link of it.
    let place = printable(&place(complaint));
    let kind = format!("{word}[{}]:", complaint.code);
    let mut text = if place.chars().count() + 2 + kind.len() > page.width {
        format!("{place}:\n{}", page.words(&format!("  {kind} "), 4, &complaint.what))
    } else {
        page.words(&format!("{place}: {kind} "), 4, &complaint.what)
    };
    // Only the first occurrence is ours: the place itself comes before it.
    let painted = page.paint(&kind, paint);
    if let Some(at) = text.get(place.len()..).and_then(|rest| rest.find(&kind)) {
        text.replace_range(place.len() + at..place.len() + at + kind.len(), &painted);
    }
    if !complaint.excerpt.is_empty() {
        text.push_str(&excerpt(complaint, page, paint));
    }
    if !complaint.instead.is_empty() {
        text.push_str(&page.words("  = instead: ", 4, &complaint.instead));
    }
    text
}

fn place(complaint: &Complaint) -> String {
    let Complaint { path, line, column, .. } = complaint;
    match (line, column) {
        (0, _) => path.clone(),
        (_, 0) => format!("{path}:{line}"),
        (_, _) => format!("{path}:{line}:{column}"),
    }
}

/// The line, cut to the part around the column where it is too long, and a
/// caret below the column.
fn excerpt(complaint: &Complaint, page: &Page, paint: Paint) -> String {
    let number = complaint.line.to_string();
    let gutter = format!("  {number} | ");
    let room = page.width.saturating_sub(gutter.len());
    let letters: Vec<char> = printable(complaint.excerpt.trim_end()).chars().collect();
    let at = usize::try_from(complaint.column).unwrap_or(0).checked_sub(1);
    let at = at.map(|at| at.min(letters.len()));
    let (shown, mark) = window(&letters, at.unwrap_or(0), room);
    let mut text = format!("{gutter}{shown}\n");
    if at.is_some() {
        text.push_str(&" ".repeat(number.len() + 2));
        text.push_str(" | ");
        text.push_str(&" ".repeat(mark));
        text.push_str(&page.paint("^", paint));
        text.push('\n');
    }
    text
}

/// At most `room` letters around `at`, and where `at` is among them.
fn window(letters: &[char], at: usize, room: usize) -> (String, usize) {
    if letters.len() < room {
        return (letters.iter().collect(), at);
    }
    // Two columns for the marks of the cut, one for a caret behind the end.
    let kept = room.saturating_sub(3);
    let start = at.saturating_sub(kept / 2).min(letters.len().saturating_sub(kept));
    let mut shown = String::from(if start > 0 { "…" } else { "" });
    shown.extend(letters.iter().skip(start).take(kept));
    if start + kept < letters.len() {
        shown.push('…');
    }
    (shown, at - start + usize::from(start > 0))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{complaint, fits};

    #[test]
    fn a_complaint_looks_like_that_of_a_compiler() {
        let text = render(&[complaint()], &Page::PLAIN);
        expect![[r#"
            /etc/hostfw/policies.d/ssh.yaml:8:9: error[port-number]: a port must be a
                string, and this one is written as a number
              8 |       - port: 22
                |         ^
              = instead: write `port: "22"`
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_long_line_is_cut_around_its_column() {
        let excerpt = format!("{}port: 80{}", "x".repeat(200), "y".repeat(200));
        let text = render(&[Complaint { column: 207, excerpt, ..complaint() }], &Page::PLAIN);
        expect![[r#"
            /etc/hostfw/policies.d/ssh.yaml:8:207: error[port-number]: a port must be a
                string, and this one is written as a number
              8 | …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxport: 80yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…
                |                                     ^
              = instead: write `port: "22"`
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_complaint_about_a_whole_file_has_no_line() {
        let whole = Complaint {
            line: 0,
            column: 0,
            excerpt: String::new(),
            instead: String::new(),
            severity: Severity::Warning,
            ..complaint()
        };
        expect![[r#"
            /etc/hostfw/policies.d/ssh.yaml: warning[port-number]: a port must be a string,
                and this one is written as a number
        "#]]
        .assert_eq(&render(&[whole], &Page::PLAIN));
    }

    #[test]
    fn a_long_path_stays_whole_on_a_line_of_its_own() {
        let path = format!("{}/ssh.yaml", "directory/".repeat(9));
        let text = render(&[Complaint { path: path.clone(), ..complaint() }], &Page::PLAIN);
        assert_eq!(text.lines().next(), Some(format!("{path}:8:9:").as_str()));
        assert!(text.lines().skip(1).all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_column_behind_the_end_marks_the_end() {
        let text = render(&[Complaint { column: 900, ..complaint() }], &Page::PLAIN);
        fits(&text);
        assert_eq!(text.matches('^').count(), 1, "{text}");
    }

    #[test]
    fn only_the_kind_of_complaint_is_coloured() {
        let text = render(&[complaint()], &Page { width: 80, colour: true });
        assert!(text.contains(": \x1b[31merror[port-number]:\x1b[0m "), "{text}");
    }
}
