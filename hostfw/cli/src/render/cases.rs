//! `hostfw policy test`: what failed and why, and the sum; as JUnit XML too.

use std::fmt::Write as _;

use hostfw_api::CasesReport;

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
    writeln!(
        text,
        "{}: {} of {sum}.",
        page.paint(word, paint),
        match report.failed {
            0 => report.passed,
            failed => failed,
        }
    )
    .unwrap_or_default();
    text
}

/// The form that CI systems read.
pub(crate) fn junit(report: &CasesReport) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let n_cases = report.passed + report.failed;
    writeln!(
        text,
        "<testsuites tests=\"{n_cases}\" failures=\"{0}\">\n<testsuite name=\"hostfw\" \
         tests=\"{n_cases}\" failures=\"{0}\">",
        report.failed
    )
    .unwrap_or_default();
    for case in &report.cases {
        let (name, file) = (escaped(&case.name), escaped(&case.path));
        write!(
            text,
            "<testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{}\"",
            case.line
        )
        .unwrap_or_default();
        if case.passed {
            text.push_str("/>\n");
        } else {
            writeln!(text, "><failure message=\"{}\"/></testcase>", escaped(&case.why))
                .unwrap_or_default();
        }
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
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
        };
        let xml = junit(&report);
        assert!(xml.contains("<testsuite name=\"hostfw\" tests=\"2\" failures=\"1\">"), "{xml}");
        assert!(xml.contains("<testcase name=\"good\" classname=\"ssh.test.yaml\" file=\"ssh.test.yaml\" line=\"2\"/>"));
        assert!(xml.contains("name=\"b&lt;d\""));
        assert!(xml.contains("<failure message=\"a &lt; b &amp; &quot;c&quot;\"/>"));
    }
}
