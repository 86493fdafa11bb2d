//! The dense form of the rows of one direction: a verdict index for each port class
//! and peer class. A packet finds its cell by one load, where trees take one for each
//! level; nothing is shared, so it is for one subject, this host, and as long as
//! there is room.

use hostfw_datapath::image::DENSE;

use super::tree::{Placed, Tree};
use crate::{compile::CompileError, rows::RowId};

/// Words of the largest (8 MiB): 100,000 peer classes with 20 port classes.
const MAX_WORDS: usize = 1 << 21;

/// Rows for peer classes that are still to come: a part of all that there are,
/// and some.
const fn room(n_rows: usize) -> usize {
    n_rows + n_rows / 16 + 64
}

impl Tree<'_> {
    /// Writes the row of every class, and rows of peers that nothing names for
    /// classes that are still to come; `None` where that is too much.
    pub(crate) fn dense(
        &mut self,
        rows: &[RowId],
        width: u32,
    ) -> Result<Option<Placed>, CompileError> {
        let n_words = usize::try_from(width).unwrap_or(usize::MAX);
        let n_rows = room(rows.len());
        if n_rows.saturating_mul(n_words) > MAX_WORDS {
            return Ok(None);
        }
        let mut words = vec![0; n_rows * n_words];
        // Neighbours are often equal.
        let (mut last, mut cells) = (None, Vec::with_capacity(n_words));
        let rows = rows.iter().copied().chain(std::iter::repeat(self.table.empty()));
        for (class, row) in rows.take(n_rows).enumerate() {
            if last != Some(row) {
                cells.clear();
                self.fill(&mut cells, n_words, row, self.table.levels() - 1);
                last = Some(row);
            }
            for (word, cell) in words.iter_mut().skip(class).step_by(n_rows).zip(&cells) {
                *word = *cell;
            }
        }
        let root = self.writer.append(&words)?;
        let room = u32::try_from(n_rows).unwrap_or(0);
        Ok(Some(Placed { root, levels: DENSE, row: room, room: room.into(), width }))
    }

    /// Exchanges the row of one class, where it stands.
    pub(crate) fn set_dense_row(&mut self, placed: &Placed, class: u32, row: RowId) {
        let n_words = usize::try_from(placed.width).unwrap_or(0);
        let mut cells = Vec::with_capacity(n_words);
        self.fill(&mut cells, n_words, row, self.table.levels() - 1);
        let mut at = placed.root.wrapping_add(class);
        for cell in cells {
            self.writer.set(at, cell);
            at = at.wrapping_add(placed.row);
        }
    }

    /// Adds the verdict indexes of a row, until there are so many.
    fn fill(&mut self, cells: &mut Vec<u32>, n_words: usize, node: u32, level: u32) {
        let mut last = None;
        for child in self.table.children(node) {
            if cells.len() == n_words {
                return;
            }
            if level != 0 {
                self.fill(cells, n_words, child, level - 1);
                continue;
            }
            let cell = match last {
                Some((known, cell)) if known == child => cell,
                _ => self.verdicts.number(self.sets, child, self.default),
            };
            last = Some((child, cell));
            cells.push(cell);
        }
    }
}
