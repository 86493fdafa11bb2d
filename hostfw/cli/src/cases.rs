//! `hostfw policy test`: the cases beside the policies, asked of the images that
//! the daemon would load.

use hostfw_api::{CaseNotRun, CaseReport, CasesReport};
use hostfw_policy::{
    Severity,
    cases::{Answers, Unasked},
};

use crate::{
    Outcome,
    arguments::{Form, TestWanted},
    failure::Failure,
    offline::Files,
    online::json,
    render::{self, Page, figures::place},
};

/// Yes when every case that was run passes; an error when none was.
pub(crate) fn test(wanted: &TestWanted, form: Form, page: &Page) -> anyhow::Result<Outcome> {
    let report = report(wanted)?;
    let text = match form {
        Form::Text => render::cases::render(&report, page),
        Form::Json => json(serde_json::to_string_pretty(&report))?,
        Form::Junit => render::cases::junit(&report),
        Form::Sarif | Form::Github => {
            return Err(Failure::Usage("only `policy check` has this form".to_owned()).into());
        }
    };
    Ok(Outcome { text, yes: report.failed == 0 })
}

fn report(wanted: &TestWanted) -> anyhow::Result<CasesReport> {
    let circumstances = &wanted.circumstances;
    let files = Files::accepted(circumstances)?;
    // Labels or addresses without a name say enough of a node to ask it.
    let is_told = !circumstances.labels.is_empty() || !circumstances.addresses.is_empty();
    let node = match wanted.node.as_deref() {
        None if !is_told => None,
        name => Some(files.this(name, circumstances)?),
    };
    let Answers { results, unasked, complaints } = files.answers(node.as_ref(), circumstances);
    if let Some(first) = complaints.iter().find(|one| one.severity == Severity::Error) {
        let place = format!("{}:{}:{}", first.path, first.line, first.column);
        anyhow::bail!("{place}: {}; write {}", first.what, first.instead);
    }
    if results.is_empty() {
        let Some(first) = unasked.first() else {
            anyhow::bail!("there are no cases: no file of the directory ends in .test.yaml");
        };
        let (place, why) = (place(&first.path, first.at.line), &first.why);
        anyhow::bail!("no case was run; {place}: {why}; {}", render::cases::NAME_THEM);
    }
    let cases: Vec<CaseReport> = results
        .iter()
        .map(|result| CaseReport {
            name: result.case.name.clone(),
            path: result.case.path.clone(),
            line: result.case.at.line,
            passed: result.passed(),
            why: if result.passed() { String::new() } else { result.why() },
        })
        .collect();
    let count = |passed| {
        let n = cases.iter().filter(|case| case.passed == passed).count();
        u64::try_from(n).unwrap_or(u64::MAX)
    };
    let (passed, failed) = (count(true), count(false));
    let not_run = unasked.into_iter().map(not_run).collect();
    Ok(CasesReport { passed, failed, cases, not_run })
}

/// A case that could not be asked, as it is shown.
pub(crate) fn not_run(case: Unasked) -> CaseNotRun {
    let Unasked { path, at, name, why } = case;
    CaseNotRun { name, path, line: at.line, why }
}
