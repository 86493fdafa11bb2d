//! Columns: aligned, titled, and fitted to the page by chosen columns that are
//! shortened or wrapped. Lines that stand in no column may be put between the
//! rows.

use crate::render::page::{Page, Paint, printable, shorten};

/// A table under construction.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
    indent: usize,
}

/// One column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    fit: Fit,
}

/// What a column does when the page is too narrow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Stays as wide as it is.
    Whole,
    /// Gives up the middle of its longest texts.
    Shorten,
    /// Goes on in the next line. Only the last column can.
    Wrap,
}

/// One entry from top to bottom.
enum Row {
    /// A text for each column.
    Cells(Vec<Cell>),
    /// A line at a distance from the edge.
    Line(usize, Cell),
}

/// One piece of text in one colour.
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

/// A column of words.
pub(crate) const fn left(title: &'static str) -> Column {
    Column { title, right: false, fit: Fit::Whole }
}

/// A column of figures.
pub(crate) const fn right(title: &'static str) -> Column {
    Column { title, right: true, fit: Fit::Whole }
}

/// A column of words that are shortened when the page is too narrow.
pub(crate) const fn shrinking(title: &'static str) -> Column {
    Column { title, right: false, fit: Fit::Shorten }
}

/// A last column of words that goes on in the next line.
pub(crate) const fn wrapping(title: &'static str) -> Column {
    Column { title, right: false, fit: Fit::Wrap }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: printable(&text.into()), paint: Paint::Plain }
    }
}

impl Cell {
    /// The same text in a colour.
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: printable(&text.into()), paint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Spaces between columns.
const GAP: usize = 2;

impl Table {
    pub(crate) fn new(indent: usize, columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new(), indent }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row::Cells(cells.into_iter().collect()));
    }

    /// A line that stands in no column, this far from the edge.
    pub(crate) fn line(&mut self, indent: usize, cell: impl Into<Cell>) {
        self.rows.push(Row::Line(indent, cell.into()));
    }

    /// The text; a table without rows is empty, titles included.
    pub(crate) fn render(&self, page: &Page) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        let widths = self.widths(page);
        if self.columns.iter().any(|column| !column.title.is_empty()) {
            let title = |column: &Column| Cell::painted(column.title, Paint::Faint);
            let titles: Vec<Cell> = self.columns.iter().map(title).collect();
            self.cells(&mut text, page, &widths, &titles);
        }
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.cells(&mut text, page, &widths, cells),
                Row::Line(indent, cell) => {
                    let fitted = shorten(&cell.text, page.width.saturating_sub(*indent));
                    text.push_str(&" ".repeat(*indent));
                    text.push_str(&page.paint(&fitted, cell.paint));
                    text.push('\n');
                }
            }
        }
        text
    }

    fn widths(&self, page: &Page) -> Vec<usize> {
        let rows = || {
            self.rows.iter().filter_map(|row| match row {
                Row::Cells(cells) => Some(cells),
                Row::Line(..) => None,
            })
        };
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = rows().filter_map(|cells| cells.get(index));
                cells.map(Cell::width).chain([column.title.len()]).max().unwrap_or(0)
            })
            .collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        let used = self.indent + gaps + widths.iter().sum::<usize>();
        let mut over = used.saturating_sub(page.width);
        for (column, width) in self.columns.iter().zip(&mut widths).rev() {
            let narrowest = match column.fit {
                Fit::Whole => continue,
                Fit::Shorten => NARROWEST.max(column.title.len()),
                Fit::Wrap => NARROWEST_WRAPPED,
            };
            let taken = over.min(width.saturating_sub(narrowest));
            *width -= taken;
            over -= taken;
        }
        widths
    }

    fn cells(&self, text: &mut String, page: &Page, widths: &[usize], cells: &[Cell]) {
        let (mut edge, mut pending) = (self.indent, self.indent);
        let mut rest = None;
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let fitted = match column.fit {
                Fit::Wrap => {
                    let (first, others) = wrap(&cell.text, *width);
                    rest = others.map(|others| (others, edge, *width, cell.paint));
                    first
                }
                Fit::Whole | Fit::Shorten => shorten(&cell.text, *width),
            };
            let padding = width - fitted.chars().count();
            if column.right {
                pending += padding;
            }
            if !fitted.is_empty() {
                text.push_str(&" ".repeat(pending));
                text.push_str(&page.paint(&fitted, cell.paint));
                pending = 0;
            }
            pending += GAP + if column.right { 0 } else { padding };
            edge += GAP + width;
        }
        text.push('\n');
        while let Some((others, indent, width, paint)) = rest.take() {
            let (next, others) = wrap(&others, width);
            text.push_str(&" ".repeat(indent));
            text.push_str(&page.paint(&next, paint));
            text.push('\n');
            rest = others.map(|others| (others, indent, width, paint));
        }
    }
}

/// As many whole words as fit, and what is left; a word that is longer than
/// the line is shortened.
fn wrap(text: &str, width: usize) -> (String, Option<String>) {
    let mut line = String::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if line.is_empty() {
            line = shorten(word, width);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            let left: Vec<&str> = std::iter::once(word).chain(words).collect();
            return (line, Some(left.join(" ")));
        }
    }
    (line, None)
}

/// A column is never shortened below this.
const NARROWEST: usize = 12;
/// A column is never wrapped below this.
const NARROWEST_WRAPPED: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_end_without_spaces() {
        let mut table = Table::new(2, [left("NAME"), right("N"), left("")]);
        table.row(["a".into(), "1".into(), "x".into()]);
        table.row(["longer".into(), "".into(), "y".into()]);
        table.row(["b".into(), "100".into(), "".into()]);
        let text = table.render(&Page::PLAIN);
        assert_eq!(text, "  NAME      N\n  a         1  x\n  longer       y\n  b       100\n");
    }

    #[test]
    fn the_shrinking_column_gives_way() {
        let mut table = Table::new(0, [shrinking("PATH"), left("END")]);
        table.row(["/a/very/long/path/to/a/file.yaml".into(), "end".into()]);
        table.line(20, "a line");
        let page = Page { width: 25, colour: false };
        let text = table.render(&page);
        assert_eq!(
            text,
            "PATH                  END\n/a/ver…o/a/file.yaml  end\n                    a…ine\n"
        );
    }

    #[test]
    fn the_wrapping_column_goes_on_below_itself() {
        let mut table = Table::new(1, [left("N"), wrapping("WORDS")]);
        table.row(["1".into(), "these are more words than the width of this page".into()]);
        let page = Page { width: 30, colour: false };
        let text = table.render(&page);
        assert_eq!(text, " N  WORDS\n 1  these are more words than\n    the width of this page\n");
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(Table::new(0, [left("NAME")]).render(&Page::PLAIN), "");
    }
}
