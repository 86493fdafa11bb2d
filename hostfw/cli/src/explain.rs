//! `hostfw policy explain`: every policy of a file or directory in sentences.

use hostfw_policy::explain::explain as in_sentences;

use crate::{
    Outcome,
    arguments::ExplainWanted,
    offline::{self, Files},
    render::{Page, page::Paint},
};

/// Always yes; what is refused is an error.
pub(crate) fn explain(wanted: &ExplainWanted, page: &Page) -> anyhow::Result<Outcome> {
    let circumstances = &wanted.circumstances;
    let files = Files::accepted(circumstances)?;
    let options = offline::options(circumstances);
    let mut text = String::new();
    for policy in &files.policies {
        let explanation = in_sentences(policy, &files.world, &options);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&page.paint(&explanation.title, Paint::Heading));
        text.push('\n');
        for part in &explanation.parts {
            for sentence in &part.sentences {
                text.push_str(&page.words("  ", 2, sentence));
            }
            for (line, sentence) in &part.rules {
                text.push_str(&page.words(&format!("  {line:>5}: "), 9, sentence));
            }
        }
    }
    if text.is_empty() {
        text.push_str("There are no policies.\n");
    }
    Ok(Outcome { text, yes: true })
}
