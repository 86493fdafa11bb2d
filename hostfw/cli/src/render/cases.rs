//! `hostfw policy test`: what failed and why, and the sum; as JUnit XML too.

use std::fmt::Write as _;

use hostfw_api::{CaseNotRun, CasesReport};

use crate::render::{
    figures::{counted, place},
    page::{Page, Paint},
};

/// What failed, and the sum.
pub(crate) fn render(report: &CasesReport, page: &Page) -> String {
    let mut text = String::new();
    for case in report.cases.iter().filter(|case| !case.passed) {
        let word = page.paint("FAIL", Paint::Bad);
        writeln!(text, "{word} {} ({})", case.name, place(&case.path, case.line))
            .unwrap_or_default();
        text.push_str(&page.words("  ", 2, &case.why));
    }
    let (word, paint) =
        if report.failed == 0 { ("Passed", Paint::Good) } else { ("Failed", Paint::Bad) };
    let sum = counted(report.passed + report.failed, "case");
    let not_run = match report.not_run.len() {
        0 => String::new(),
        n => format!("; {n} not run"),
    };
    writeln!(
        text,
        "{}: {} of {sum}{not_run}.",
        page.paint(word, paint),
        match report.failed {
            0 => report.passed,
            failed => failed,
        }
    )
    .unwrap_or_default();
    text.push_str(&not_run_lines(&report.not_run, page));
    text
}

/// Cases that could not be asked, with what is not known; nothing where there
/// are none.
pub(crate) fn not_run_lines(cases: &[CaseNotRun], page: &Page) -> String {
    let mut text = String::new();
    for case in cases.iter().take(SHOWN) {
        let CaseNotRun { name, path, line, why } = case;
        let words = format!("{name} ({}): {why}", place(path, *line));
        text.push_str(&page.words("  not run: ", 4, &words));
    }
    let more = cases.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    if !cases.is_empty() {
        text.push_str(&page.words("  ", 2, &format!("{NAME_THEM}.")));
    }
    text
}

/// Cases that were not run and are shown; of the others their number.
const SHOWN: usize = 6;

/// How the cases that were not run are run.
pub(crate) const NAME_THEM: &str =
    "--node NAME says which node `host` is, --world DIR who else there is";

/// The form that CI systems read.
pub(crate) fn junit(report: &CasesReport) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (n_cases, n_skipped) = (report.cases.len() + report.not_run.len(), report.not_run.len());
    let sums =
        format!("tests=\"{n_cases}\" failures=\"{}\" skipped=\"{n_skipped}\"", report.failed);
    writeln!(text, "<testsuites {sums}>\n<testsuite name=\"hostfw\" {sums}>").unwrap_or_default();
    for case in &report.cases {
        text.push_str(&opening(&case.name, &case.path, case.line));
        if case.passed {
            text.push_str("/>\n");
        } else {
            writeln!(text, "><failure message=\"{}\"/></testcase>", escaped(&case.why))
                .unwrap_or_default();
        }
    }
    for case in &report.not_run {
        text.push_str(&opening(&case.name, &case.path, case.line));
        writeln!(text, "><skipped message=\"{}\"/></testcase>", escaped(&case.why))
            .unwrap_or_default();
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// The element of a case up to its last attribute.
fn opening(name: &str, path: &str, line: u32) -> String {
    let (name, file) = (escaped(name), escaped(path));
    format!("<testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"")
}

/// Text as XML has it; control characters have no form there.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use hostfw_api::CaseReport;

    use super::*;

    #[test]
    fn what_failed_is_escaped_and_counted() {
        let case = |name: &str, passed| CaseReport {
            name: name.to_owned(),
            path: "ssh.test.yaml".to_owned(),
            line: 2,
            passed,
            why: if passed { String::new() } else { "a < b & \"c\"".to_owned() },
        };
        let report = CasesReport {
            passed: 1,
            failed: 1,
            cases: vec![case("good", true), case("b<d", false)],
            not_run: vec![CaseNotRun {
                name: "which".to_owned(),
                path: "ssh.test.yaml".to_owned(),
                line: 9,
                why: "no node is named".to_owned(),
            }],
        };
        let xml = junit(&report);
        let sums = "tests=\"3\" failures=\"1\" skipped=\"1\"";
        assert!(xml.contains(&format!("<testsuite name=\"hostfw\" {sums}>")), "{xml}");
        assert!(
            xml.contains("line=\"9\"><skipped message=\"no node is named\"/></testcase>"),
            "{xml}"
        );
        assert!(xml.contains("<testcase name=\"good\" classname=\"ssh.test.yaml\" file=\"ssh.test.yaml\" line=\"2\"/>"));
        assert!(xml.contains("name=\"b&lt;d\""));
        assert!(xml.contains("<failure message=\"a &lt; b &amp; &quot;c&quot;\"/>"));
    }
}
