//! Judges documents by themselves (refused or accepted) and names against
//! patterns.

use hostfw_policy::{Source, ThisNode, compile, complaint::Report, fqdn, text};

use crate::{
    intended::{self, Intended},
    report::Tally,
    scenarios::indented,
    scene,
    vectors::{self, Document, NameCase, World},
};

/// Documents that have to be refused, alone or together.
pub(crate) fn refused(documents: &[Document], world: &World) -> anyhow::Result<Tally> {
    let options = vectors::Options::default();
    let dialect = scene::dialect(&options);
    let compiler_options = scene::options(&options)?;
    let known = scene::world(world)?;
    let mut tally = Tally::default();
    for document in documents {
        let texts = document.policy.iter().chain(&document.policies);
        let mut refused = false;
        let mut policies = Vec::new();
        for (number, text) in texts.clone().enumerate() {
            let reading = scene::read(text, &format!("{}-{number}.yaml", document.id), &dialect);
            refused |= !reading.errors.is_empty();
            policies.extend(reading.policies);
        }
        if !refused && document.stage.as_deref() == Some("resolve") {
            refused = known.nodes.keys().any(|name| {
                let node = ThisNode { name: name.clone(), ..ThisNode::default() };
                compile(&policies, &known, &node, &compiler_options, 1).is_err()
            });
        }
        if refused {
            tally.pass();
        } else {
            tally.fail(|| {
                let text: String = texts.map(|text| indented(text)).collect();
                format!("  {} ({:?}) is not refused\n{text}", document.id, document.class)
            });
        }
    }
    Ok(tally)
}

/// Documents that the reference takes although one might think otherwise.
pub(crate) fn accepted(documents: &[Document], intended: &Intended) -> Tally {
    let dialect = scene::dialect(&vectors::Options::default());
    let mut tally = Tally::default();
    for document in documents {
        for text in document.policy.iter().chain(&document.policies) {
            let reading = scene::read(text, &format!("{}.yaml", document.id), &dialect);
            if reading.errors.is_empty() {
                tally.pass();
                continue;
            }
            match intended::refusal(text, &reading.errors) {
                Some(v) if intended.takes(&document.id, v) => tally.intend(&document.id, v),
                Some(_) | None => tally.fail(|| {
                    let errors = &reading.errors;
                    let title = &document.title;
                    format!("  {} {title} is refused: {errors:?}\n{}", document.id, indented(text))
                }),
            }
        }
    }
    tally
}

/// Names against patterns.
pub(crate) fn names(cases: &[NameCase]) -> Tally {
    let mut tally = Tally::default();
    for case in cases {
        let (field, pattern) = match (&case.match_pattern, &case.match_name) {
            (Some(pattern), _) => ("matchPattern", pattern),
            (None, Some(name)) => ("matchName", name),
            (None, None) => continue,
        };
        let yaml = serde_json::json!([{ field: pattern }]).to_string();
        let source = Source::new("names.yaml", yaml);
        let mut report = Report::new(&source);
        let documents = text::documents(&mut report);
        let patterns: Vec<_> = documents
            .iter()
            .flat_map(|node| fqdn::read_list(node, "toFQDNs", &mut report))
            .collect();
        let refused = patterns.is_empty();
        let matches = patterns.iter().any(|pattern| pattern.matches(&case.name));
        if refused == case.error.is_some() && (refused || matches == case.matches) {
            tally.pass();
        } else {
            tally.fail(|| format!("  {case:?}: refused {refused}, matches {matches}"));
        }
    }
    tally
}
