//! A file as a tree of what is printed: every node knows how it was written and
//! where it stands, and has room for the comments around it.

use super::leaf::Leaf;

/// A file.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Documents with content.
    pub(super) documents: Vec<Document>,
    /// The comments of a file that holds nothing else.
    pub(super) remarks: Vec<Remark>,
}

/// A document that is not empty.
#[derive(Debug)]
pub(super) struct Document {
    /// Where what belongs to it begins: its `---`, or the end of the last one.
    pub(super) begin: usize,
    /// The end of its `---`, where it has one.
    pub(super) marker_end: Option<usize>,
    /// Whether an alias stands in it, which must stay behind its anchor.
    pub(super) has_alias: bool,
    /// The comment behind its `---`.
    pub(super) behind: Option<String>,
    /// Comments on top, apart from the content.
    pub(super) head: Vec<Remark>,
    /// The content, as a slot without key.
    pub(super) root: Slot,
    /// Comments behind everything.
    pub(super) foot: Vec<Remark>,
}

/// A comment on a line of its own.
#[derive(Debug)]
pub(super) struct Remark {
    /// From `#` on.
    pub(super) text: String,
    /// Whether a blank line stands above it.
    pub(super) is_apart: bool,
}

/// An entry of a mapping, an item of a list, or what a document holds.
#[derive(Debug)]
pub(super) struct Slot {
    /// Where its dash, its key or its content begins.
    pub(super) begin: usize,
    /// Where its dash or its key ends.
    pub(super) stem_end: Option<usize>,
    pub(super) key: Option<Node>,
    pub(super) value: Node,
    /// Whether a blank line stands right above it.
    pub(super) is_apart: bool,
    /// Comments on lines of their own above it.
    pub(super) above: Vec<Remark>,
    /// The comment behind its line.
    pub(super) behind: Option<String>,
    /// Comments below a key or dash without a value, deeper than it.
    pub(super) below: Vec<Remark>,
}

impl Slot {
    /// A slot without comments.
    pub(super) fn new(
        begin: usize,
        stem_end: Option<usize>,
        key: Option<Node>,
        value: Node,
    ) -> Self {
        Self {
            begin,
            stem_end,
            key,
            value,
            is_apart: false,
            above: Vec::new(),
            behind: None,
            below: Vec::new(),
        }
    }
}

/// A node as it was written.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins, properties included.
    pub(super) begin: usize,
    /// Where it begins without them.
    pub(super) content: usize,
    pub(super) end: usize,
    /// Anchor and tag.
    pub(super) properties: Option<Properties>,
    pub(super) kind: Kind,
}

/// Anchor and tag, and where both have ended.
#[derive(Debug)]
pub(super) struct Properties {
    pub(super) text: String,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing at all.
    Empty,
    /// A scalar or an alias.
    Leaf(Leaf),
    /// A list or a mapping.
    Collection(Collection),
}

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) is_map: bool,
    pub(super) is_flow: bool,
    pub(super) slots: Vec<Slot>,
    /// Comments behind the last slot.
    pub(super) foot: Vec<Remark>,
}
