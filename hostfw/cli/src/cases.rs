//! `hostfw policy test`: the cases beside the policies, asked of the images that
//! the daemon would load.

use hostfw_api::{CaseReport, CasesReport};
use hostfw_policy::{
    Severity,
    cases::{read_cases, run},
};

use crate::{
    Outcome,
    arguments::{Form, TestWanted},
    failure::Failure,
    offline::Files,
    online::json,
    render::{self, Page},
};

/// Yes when every case passes.
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
    let files = Files::accepted(&wanted.circumstances)?;
    let node = files.this(wanted.node.as_deref(), &wanted.circumstances)?;
    let (cases, complaints) = read_cases(&files.sources, &files.world, &node);
    if let Some(first) = complaints.iter().find(|one| one.severity == Severity::Error) {
        let place = format!("{}:{}:{}", first.path, first.line, first.column);
        anyhow::bail!("{place}: {}; write {}", first.what, first.instead);
    }
    if cases.is_empty() {
        anyhow::bail!("there are no cases: no file of the directory ends in .test.yaml");
    }
    let mut atlas = files.atlas(&node, &wanted.circumstances);
    let results = run(cases, &mut atlas);
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
    Ok(CasesReport { passed: count(true), failed: count(false), cases })
}
