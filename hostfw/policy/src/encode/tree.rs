//! The rows, row and verdict tables of an image. It gives every set of matching
//! rules its verdict: deny wins over allow, and of several rules the first of
//! the document decides.

use std::collections::HashMap;

use hostfw_datapath::{
    image::{NO_RULE, VERDICT_WORDS},
    verdict::Answer,
};

use super::Writer;
use crate::{
    compile::CompileError,
    rows::{RowId, Rows},
    rule_set::{EMPTY, Parts, RuleSets, SetId},
};

/// Verdicts by the answer and the rules behind it.
pub(crate) struct Verdicts<'a> {
    sets: &'a RuleSets,
    /// Per rule: whether it denies.
    denies: &'a [bool],
    numbers: HashMap<(u32, SetId), u32>,
    /// First the reserved verdict 0.
    words: Vec<u32>,
    of_verdict: Vec<SetId>,
    /// Per set: its first deny rule and its first allow rule.
    firsts: HashMap<SetId, (u32, u32)>,
}

impl<'a> Verdicts<'a> {
    /// Only the reserved one yet.
    pub(crate) fn new(sets: &'a RuleSets, denies: &'a [bool]) -> Self {
        Self {
            sets,
            denies,
            numbers: HashMap::new(),
            words: vec![answer_word(Answer::Broken), NO_RULE],
            of_verdict: vec![EMPTY],
            firsts: HashMap::new(),
        }
    }

    /// The verdict of a set; `default` where it is empty.
    fn number(&mut self, set: SetId, default: Answer) -> u32 {
        let (answer, rule) = match self.first(set) {
            (NO_RULE, NO_RULE) => (default, NO_RULE),
            (NO_RULE, allow) => (Answer::Allow, allow),
            (deny, _) => (Answer::Deny, deny),
        };
        let word = answer_word(answer);
        let next = u32::try_from(self.of_verdict.len()).unwrap_or(0);
        let number = *self.numbers.entry((word, set)).or_insert(next);
        if number == next {
            self.words.extend([word, rule]);
            self.of_verdict.push(set);
        }
        number
    }

    /// The first deny and the first allow rule of a set.
    fn first(&mut self, set: SetId) -> (u32, u32) {
        match self.sets.parts(set) {
            Parts::Empty => (NO_RULE, NO_RULE),
            Parts::One(rule) => {
                let denies = usize::try_from(rule).ok().and_then(|at| self.denies.get(at));
                if denies == Some(&true) { (rule, NO_RULE) } else { (NO_RULE, rule) }
            }
            Parts::Two { low, high, .. } => {
                if let Some(known) = self.firsts.get(&set) {
                    return *known;
                }
                let (low, high) = (self.first(low), self.first(high));
                let first = (low.0.min(high.0), low.1.min(high.1));
                self.firsts.insert(set, first);
                first
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
    let mut written = HashMap::new();
    let mut nodes = Vec::with_capacity(rows.len());
    for row in rows {
        let level = table.levels() - 1;
        nodes.push(write_row(writer, table, *row, level, verdicts, default, &mut written)?);
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
    written: &mut HashMap<(u32, u32), u32>,
) -> Result<u32, CompileError> {
    if let Some(at) = written.get(&(node, level)) {
        return Ok(*at);
    }
    let mut block = table.children(node);
    for child in &mut block {
        *child = if level == 0 {
            verdicts.number(*child, default)
        } else {
            write_row(writer, table, *child, level - 1, verdicts, default, written)?
        };
    }
    let at = writer.block(&block)?;
    written.insert((node, level), at);
    Ok(at)
}

fn answer_word(answer: Answer) -> u32 {
    match answer {
        Answer::Broken => 0,
        Answer::Allow => 1,
        Answer::Deny => 2,
        Answer::DefaultDeny => 3,
        Answer::DefaultAllow => 4,
    }
}
