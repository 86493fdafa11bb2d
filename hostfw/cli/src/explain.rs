//! `hostfw policy explain`: every policy of a file or directory in sentences.

use hostfw_api::{ExplainReport, ExplainedPart, ExplainedPolicy, ExplainedRule};
use hostfw_policy::{Options, Policy, World, explain::explain as in_sentences};

use crate::{
    Outcome,
    arguments::{ExplainWanted, Output},
    offline::{self, Files},
    online::json,
    render::{self, Page},
};

/// Always yes; what is refused is an error.
pub(crate) fn explain(
    wanted: &ExplainWanted,
    output: Output,
    page: &Page,
) -> anyhow::Result<Outcome> {
    let circumstances = &wanted.circumstances;
    let files = Files::accepted(circumstances)?;
    let options = offline::options(circumstances);
    let policies = files.policies.iter().map(|policy| explained(policy, &files.world, &options));
    let report = ExplainReport { policies: policies.collect() };
    let text = match output {
        Output::Text => render::explain::render(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: true })
}

fn explained(policy: &Policy, world: &World, options: &Options) -> ExplainedPolicy {
    let parts = in_sentences(policy, world, options).into_iter().map(|part| {
        let rules = part.rules.into_iter();
        let rules = rules.map(|(line, sentence)| ExplainedRule { line, sentence });
        ExplainedPart { sentences: part.sentences, rules: rules.collect() }
    });
    ExplainedPolicy {
        kind: policy.kind.to_owned(),
        name: policy.name.clone(),
        path: policy.path.clone(),
        line: policy.at.line,
        parts: parts.collect(),
    }
}
