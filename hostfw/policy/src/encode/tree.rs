//! The rows, row and verdict tables of an image. What the parts of a set come to
//! is said in `outcome`.

use hostfw_datapath::{
    image::{NO_RULE, PROXY_SHIFT, VERDICT_WORDS},
    verdict::Answer,
};
use rustc_hash::FxHashMap;

use super::Writer;
use crate::{
    compile::CompileError,
    outcome::Outcome,
    parts::Part,
    rows::{RowId, Rows},
    rule_set::{EMPTY, Parts, RuleSets, SetId},
};

/// Verdicts by the answer and the parts behind it.
pub(crate) struct Verdicts<'a> {
    sets: &'a RuleSets,
    parts: &'a [Part<'a>],
    numbers: FxHashMap<(Answer, SetId), u32>,
    /// First the reserved verdict 0.
    words: Vec<u32>,
    of_verdict: Vec<SetId>,
    /// Per set: what its parts come to.
    outcomes: FxHashMap<SetId, Outcome>,
    /// Per node of a row, its level and the default: where it stands.
    written: FxHashMap<(u32, u32, Answer), u32>,
}

impl<'a> Verdicts<'a> {
    /// Only the reserved one yet.
    pub(crate) fn new(sets: &'a RuleSets, parts: &'a [Part<'a>]) -> Self {
        Self {
            sets,
            parts,
            numbers: FxHashMap::default(),
            words: vec![answer_word(Answer::Broken), NO_RULE],
            of_verdict: vec![EMPTY],
            outcomes: FxHashMap::default(),
            written: FxHashMap::default(),
        }
    }

    /// The verdict of a set; `default` where nothing in it decides.
    fn number(&mut self, set: SetId, default: Answer) -> u32 {
        let (answer, proxy, rule) = self.outcome(set).decide(default);
        let next = u32::try_from(self.of_verdict.len()).unwrap_or(0);
        let number = *self.numbers.entry((answer, set)).or_insert(next);
        if number == next {
            self.words.extend([answer_word(answer) | proxy << PROXY_SHIFT, rule]);
            self.of_verdict.push(set);
        }
        number
    }

    fn outcome(&mut self, set: SetId) -> Outcome {
        match self.sets.parts(set) {
            Parts::Empty => Outcome::default(),
            Parts::One(part) => {
                let part = usize::try_from(part).ok().and_then(|at| self.parts.get(at));
                part.map(Outcome::of).unwrap_or_default()
            }
            Parts::Two { low, high, .. } => {
                if let Some(known) = self.outcomes.get(&set) {
                    return *known;
                }
                let outcome = self.outcome(low).with(self.outcome(high));
                self.outcomes.insert(set, outcome);
                outcome
            }
        }
    }

    /// Writes the verdicts; gives their offset, and the set behind each.
    pub(crate) fn write(self, writer: &mut Writer) -> Result<(u32, Vec<SetId>), CompileError> {
        debug_assert_eq!(u32::try_from(self.words.len()), Ok(self.n_words()));
        Ok((writer.append(&self.words)?, self.of_verdict))
    }

    fn n_words(&self) -> u32 {
        u32::try_from(self.of_verdict.len()).unwrap_or(0) * VERDICT_WORDS
    }
}

/// The rows of one direction and their tree over the peer classes: the offset
/// of its root and its levels.
pub(crate) fn write_rows(
    writer: &mut Writer,
    table: &Rows,
    rows: &[RowId],
    verdicts: &mut Verdicts<'_>,
    default: Answer,
) -> Result<(u32, u32), CompileError> {
    let mut nodes = Vec::with_capacity(rows.len());
    // Neighbours are often equal, and equal ones stand at one place.
    let mut last = None;
    for row in rows {
        let at = match last {
            Some((known, at)) if known == *row => at,
            _ => write_row(writer, table, *row, table.levels() - 1, verdicts, default)?,
        };
        last = Some((*row, at));
        nodes.push(at);
    }
    let mut levels = 0;
    while levels == 0 || nodes.len() > 1 {
        let mut above = Vec::with_capacity(nodes.len() / 256 + 1);
        for chunk in nodes.chunks(256) {
            let mut block = [0; 256];
            for (word, node) in block.iter_mut().zip(chunk) {
                *word = *node;
            }
            above.push(writer.block(&block)?);
        }
        nodes = above;
        levels += 1;
    }
    Ok((nodes.first().copied().unwrap_or(0), levels))
}

fn write_row(
    writer: &mut Writer,
    table: &Rows,
    node: u32,
    level: u32,
    verdicts: &mut Verdicts<'_>,
    default: Answer,
) -> Result<u32, CompileError> {
    if let Some(at) = verdicts.written.get(&(node, level, default)) {
        return Ok(*at);
    }
    let mut block = table.children(node);
    // Neighbours are mostly equal, and equal ones have one answer.
    let mut last = None;
    for child in &mut block {
        let before = *child;
        *child = match last {
            Some((known, answer)) if known == before => answer,
            _ if level == 0 => verdicts.number(before, default),
            _ => write_row(writer, table, before, level - 1, verdicts, default)?,
        };
        last = Some((before, *child));
    }
    let at = writer.block(&block)?;
    verdicts.written.insert((node, level, default), at);
    Ok(at)
}

fn answer_word(answer: Answer) -> u32 {
    match answer {
        Answer::Broken => 0,
        Answer::Allow => 1,
        Answer::Deny => 2,
        Answer::DefaultDeny => 3,
        Answer::DefaultAllow => 4,
        Answer::Redirect => 5,
    }
}
