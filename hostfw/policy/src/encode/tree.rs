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
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// What every part comes to by itself.
    parts: Vec<Outcome>,
    numbers: FxHashMap<(Answer, SetId), u32>,
    /// First the reserved verdict 0.
    words: Vec<u32>,
    /// The set behind each.
    pub(crate) of_verdict: Vec<SetId>,
    /// Per set: what its parts come to.
    outcomes: FxHashMap<SetId, Outcome>,
    /// Per node of a row, its level and the default: where it stands.
    written: FxHashMap<(u32, u32, Answer), u32>,
}

impl Verdicts {
    /// Only the reserved one yet.
    pub(crate) fn new(parts: &[Part<'_>]) -> Self {
        Self {
            parts: parts.iter().map(Outcome::of).collect(),
            numbers: FxHashMap::default(),
            words: vec![answer_word(Answer::Broken), NO_RULE],
            of_verdict: vec![EMPTY],
            outcomes: FxHashMap::default(),
            written: FxHashMap::default(),
        }
    }

    /// The verdict of a set; `default` where nothing in it decides.
    fn number(&mut self, sets: &RuleSets, set: SetId, default: Answer) -> u32 {
        let (answer, proxy, rule) = self.outcome(sets, set).decide(default);
        let next = u32::try_from(self.of_verdict.len()).unwrap_or(0);
        let number = *self.numbers.entry((answer, set)).or_insert(next);
        if number == next {
            self.words.extend([answer_word(answer) | proxy << PROXY_SHIFT, rule]);
            self.of_verdict.push(set);
        }
        number
    }

    fn outcome(&mut self, sets: &RuleSets, set: SetId) -> Outcome {
        match sets.parts(set) {
            Parts::Empty => Outcome::default(),
            Parts::One(part) => {
                let part = usize::try_from(part).ok().and_then(|at| self.parts.get(at));
                part.copied().unwrap_or_default()
            }
            Parts::Two { low, high, .. } => {
                if let Some(known) = self.outcomes.get(&set) {
                    return *known;
                }
                let outcome = self.outcome(sets, low).with(self.outcome(sets, high));
                self.outcomes.insert(set, outcome);
                outcome
            }
        }
    }

    /// Writes all verdicts and gives their offset.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<u32, CompileError> {
        let n_words = u32::try_from(self.of_verdict.len()).unwrap_or(0) * VERDICT_WORDS;
        debug_assert_eq!(u32::try_from(self.words.len()), Ok(n_words));
        writer.append(&self.words)
    }
}

/// Writes the rows of one direction of a subject, and their tree over the peer
/// classes.
pub(crate) struct Tree<'a> {
    pub(crate) writer: &'a mut Writer,
    pub(crate) table: &'a Rows,
    pub(crate) sets: &'a RuleSets,
    pub(crate) verdicts: &'a mut Verdicts,
    /// The answer where no rule matches.
    pub(crate) default: Answer,
}

impl Tree<'_> {
    /// Writes the row of every class; gives the offset of the root of the tree
    /// and its levels. Classes that are still to come have the row of peers
    /// that nothing names.
    pub(crate) fn rows(&mut self, rows: &[RowId]) -> Result<(u32, u32), CompileError> {
        let mut nodes = Vec::with_capacity(rows.len());
        // Neighbours are often equal, and equal ones stand at one place.
        let mut last = None;
        for row in rows {
            let at = match last {
                Some((known, at)) if known == *row => at,
                _ => self.row(*row)?,
            };
            last = Some((*row, at));
            nodes.push(at);
        }
        let mut unnamed = self.row(self.table.empty())?;
        let mut levels = 0;
        while levels == 0 || nodes.len() > 1 {
            let mut above = Vec::with_capacity(nodes.len() / 256 + 1);
            for chunk in nodes.chunks(256) {
                let mut block = [unnamed; 256];
                for (word, node) in block.iter_mut().zip(chunk) {
                    *word = *node;
                }
                above.push(self.writer.block(&block)?);
            }
            unnamed = self.writer.block(&[unnamed; 256])?;
            nodes = above;
            levels += 1;
        }
        Ok((nodes.first().copied().unwrap_or(0), levels))
    }

    /// The offset of the tree that differs from another one in the row of one
    /// class. It shares everything else.
    pub(crate) fn with_row(
        &mut self,
        root: u32,
        levels: u32,
        class: u32,
        row: RowId,
    ) -> Result<u32, CompileError> {
        let at = self.row(row)?;
        self.with_node(root, levels, class, at)
    }

    fn with_node(
        &mut self,
        node: u32,
        levels: u32,
        class: u32,
        at: u32,
    ) -> Result<u32, CompileError> {
        let Some(below) = levels.checked_sub(1) else { return Ok(at) };
        let way = usize::try_from((class >> (8 * below)) & 0xff).unwrap_or(0);
        let mut block = self.writer.words(node, 256).to_vec();
        let Some(child) = block.get_mut(way) else { return Err(CompileError::TooLarge) };
        *child = self.with_node(*child, below, class, at)?;
        self.writer.block(&block)
    }

    /// Writes a row and gives its offset.
    fn row(&mut self, row: RowId) -> Result<u32, CompileError> {
        self.node(row, self.table.levels() - 1)
    }

    fn node(&mut self, node: u32, level: u32) -> Result<u32, CompileError> {
        if let Some(at) = self.verdicts.written.get(&(node, level, self.default)) {
            return Ok(*at);
        }
        let mut block = self.table.children(node);
        // Neighbours are mostly equal, and equal ones have one answer.
        let mut last = None;
        for child in &mut block {
            let before = *child;
            *child = match last {
                Some((known, answer)) if known == before => answer,
                _ if level == 0 => self.verdicts.number(self.sets, before, self.default),
                _ => self.node(before, level - 1)?,
            };
            last = Some((before, *child));
        }
        let at = self.writer.block(&block)?;
        self.verdicts.written.insert((node, level, self.default), at);
        Ok(at)
    }
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
