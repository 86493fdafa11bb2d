//! The rows of one subject in one direction: for every peer class the parts
//! that match, by port class. Classes share most of their terms, and so the
//! rows are built over the sets of terms, each subset once.

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::{
    compile::CompileError,
    parts::Uses,
    rows::{RowId, Rows},
    rule_set::{Parts, RuleSets, SetId},
    services::PortClasses,
    terms::TermId,
};

/// What rows are made of.
pub(crate) struct Matrix<'a> {
    /// Sets of terms.
    pub(crate) terms: &'a RuleSets,
    pub(crate) ports: &'a PortClasses,
    /// Sets of parts.
    pub(crate) sets: &'a mut RuleSets,
    pub(crate) table: &'a mut Rows,
}

impl Matrix<'_> {
    /// The row of every class, given its set of terms.
    pub(crate) fn rows(
        &mut self,
        uses: &Uses,
        classes: &[SetId],
    ) -> Result<Vec<RowId>, CompileError> {
        let used: Vec<TermId> = uses.keys().copied().collect();
        let mut known = FxHashMap::with_capacity_and_hasher(uses.len(), FxBuildHasher);
        classes.iter().map(|set| self.row(*set, uses, &used, &mut known)).collect()
    }

    fn row(
        &mut self,
        set: SetId,
        uses: &Uses,
        used: &[TermId],
        known: &mut FxHashMap<SetId, RowId>,
    ) -> Result<RowId, CompileError> {
        match self.terms.parts(set) {
            Parts::Empty => return Ok(self.table.empty()),
            Parts::One(term) if used.binary_search(&term).is_err() => {
                return Ok(self.table.empty());
            }
            // Most classes differ in terms that this subject does not know.
            Parts::Two { prefix, bit, .. } if !is_any_within(used, prefix, bit) => {
                return Ok(self.table.empty());
            }
            Parts::One(_) | Parts::Two { .. } => {}
        }
        if let Some(row) = known.get(&set) {
            return Ok(*row);
        }
        let row = match self.terms.parts(set) {
            Parts::Empty => self.table.empty(),
            Parts::One(term) => self.row_of_term(term, uses)?,
            Parts::Two { low, high, .. } => {
                let low = self.row(low, uses, used, known)?;
                let high = self.row(high, uses, used, known)?;
                self.table.union(self.sets, low, high)?
            }
        };
        known.insert(set, row);
        Ok(row)
    }

    fn row_of_term(&mut self, term: TermId, uses: &Uses) -> Result<RowId, CompileError> {
        let mut row = self.table.empty();
        for one in uses.get(&term).into_iter().flatten() {
            let classes =
                one.list.map(|list| self.ports.of_list.get(list).map_or(&[][..], Vec::as_slice));
            row = self.table.with(self.sets, row, one.part, classes)?;
        }
        Ok(row)
    }
}

/// True when one of the terms may lie in a split set.
fn is_any_within(used: &[TermId], prefix: u32, bit: u32) -> bool {
    let last = prefix | bit | (bit - 1);
    used.get(used.partition_point(|term| *term < prefix)).is_some_and(|term| *term <= last)
}
