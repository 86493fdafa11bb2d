//! Prints a tree with its comments in the canonical form.

use super::{
    WIDTH,
    leaf::Leaf,
    tree::{Collection, Document, Kind, Node, Remark, Slot, Stream},
};

const INDENT: usize = 2;

/// The text of a file.
pub(super) fn print(stream: &Stream) -> String {
    let mut printer = Printer { text: String::new(), is_first: true, keeps_blank_lines: false };
    for (index, document) in stream.documents.iter().enumerate() {
        if index > 0 {
            printer.word("---");
            printer.end_of_line(document.behind.as_deref());
            printer.is_first = true;
        }
        printer.document(document);
    }
    printer.remarks(&stream.remarks, 0);
    printer.text
}

struct Printer {
    text: String,
    /// Whether the next line is the first of its block: it has no blank line
    /// above.
    is_first: bool,
    /// Whether a blank line would belong to the scalar above.
    keeps_blank_lines: bool,
}

impl Printer {
    fn document(&mut self, document: &Document) {
        self.remarks(&document.head, 0);
        if !document.head.is_empty() {
            self.apart(true);
            self.is_first = true;
        }
        let root = &document.root;
        self.remarks(&root.above, 0);
        self.apart(root.is_apart);
        match &root.value.kind {
            Kind::Collection(collection) => {
                if !self.flow(root, collection) {
                    if root.behind.is_some() || root.value.properties.is_some() {
                        self.properties(&root.value);
                        self.end_of_line(root.behind.as_deref());
                        self.is_first = true;
                    }
                    self.slots(collection, 0, false);
                }
            }
            Kind::Leaf(_) | Kind::Empty => self.value(root, 0),
        }
        self.remarks(&document.foot, 0);
    }

    /// The lines of a block; the first one may have been begun by a dash.
    fn slots(&mut self, collection: &Collection, indent: usize, is_begun: bool) {
        for (index, slot) in collection.slots.iter().enumerate() {
            if index > 0 || !is_begun {
                self.remarks(&slot.above, indent);
                self.apart(slot.is_apart);
                self.indent(indent);
            }
            match &slot.key {
                Some(key) => self.key(key),
                None => self.word("-"),
            }
            self.value(slot, indent);
        }
        self.remarks(&collection.foot, indent);
    }

    fn key(&mut self, key: &Node) {
        self.properties(key);
        if let Kind::Leaf(leaf) = &key.kind {
            self.word(leaf.only_line().unwrap_or_default());
            // A colon may be part of an alias.
            self.text.push_str(if leaf.is_alias { " :" } else { ":" });
        }
    }

    /// The rest of a line that a key or dash has begun, and what hangs below.
    fn value(&mut self, slot: &Slot, indent: usize) {
        match &slot.value.kind {
            Kind::Empty => {
                self.properties(&slot.value);
                self.end_of_line(slot.behind.as_deref());
                self.is_first = !slot.below.is_empty();
                self.remarks(&slot.below, indent + INDENT);
            }
            Kind::Leaf(leaf) => {
                self.properties(&slot.value);
                self.leaf(leaf, slot.behind.as_deref(), indent + INDENT);
            }
            Kind::Collection(collection) if self.flow(slot, collection) => {}
            Kind::Collection(collection) => {
                let is_begun =
                    slot.key.is_none() && slot.behind.is_none() && slot.value.properties.is_none();
                if !is_begun {
                    self.properties(&slot.value);
                    self.end_of_line(slot.behind.as_deref());
                    self.is_first = true;
                }
                // A dash is indent enough, as in what kubectl prints.
                let is_list_of_key = slot.key.is_some() && !collection.is_map;
                let deeper = if is_list_of_key { 0 } else { INDENT };
                self.slots(collection, indent + deeper, is_begun);
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf, behind: Option<&str>, indent: usize) {
        let mut lines = leaf.lines.iter();
        self.word(lines.next().map(String::as_str).unwrap_or_default());
        if leaf.is_block {
            self.end_of_line(behind);
        }
        for line in lines {
            if !leaf.is_block {
                self.end_of_line(None);
            }
            if !line.is_empty() {
                self.indent(indent);
                self.text.push_str(line);
            }
            if leaf.is_block {
                self.end_of_line(None);
            }
        }
        if !leaf.is_block {
            self.end_of_line(behind);
        }
        self.keeps_blank_lines = leaf.keeps_blank_lines;
    }

    /// Prints a flow collection that may stay one, and says whether it did.
    fn flow(&mut self, slot: &Slot, collection: &Collection) -> bool {
        if !collection.is_flow {
            return false;
        }
        let line = self.text.rsplit('\n').next().unwrap_or_default();
        let mut flow = String::new();
        let room = WIDTH.saturating_sub(line.chars().count() + 1);
        if one_line(&slot.value, room, &mut flow).is_none() {
            return false;
        }
        self.word(&flow);
        self.end_of_line(slot.behind.as_deref());
        true
    }

    fn properties(&mut self, node: &Node) {
        if let Some(properties) = &node.properties {
            self.word(&properties.text);
        }
    }

    fn remarks(&mut self, remarks: &[Remark], indent: usize) {
        for remark in remarks {
            self.apart(remark.is_apart);
            self.indent(indent);
            self.word(&remark.text);
            self.end_of_line(None);
        }
    }

    fn apart(&mut self, is_apart: bool) {
        if is_apart && !self.is_first && !self.keeps_blank_lines {
            self.text.push('\n');
        }
    }

    fn indent(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
    }

    fn word(&mut self, word: &str) {
        if !self.text.is_empty() && !self.text.ends_with(['\n', ' ']) {
            self.text.push(' ');
        }
        self.text.push_str(word);
    }

    fn end_of_line(&mut self, behind: Option<&str>) {
        if let Some(remark) = behind {
            self.word(remark);
        }
        self.text.push('\n');
        self.is_first = false;
        self.keeps_blank_lines = false;
    }
}

/// Appends a node of a flow collection, unless it is longer than a line or holds
/// what a line has no place for: comments, scalars of several lines, nothing.
fn one_line(node: &Node, room: usize, text: &mut String) -> Option<()> {
    if let Some(properties) = &node.properties {
        text.push_str(&properties.text);
        text.push(' ');
    }
    match &node.kind {
        Kind::Empty => return None,
        Kind::Leaf(leaf) => text.push_str(leaf.only_line()?),
        Kind::Collection(Collection { is_map, slots, foot, .. }) => {
            if !foot.is_empty() {
                return None;
            }
            text.push(if *is_map { '{' } else { '[' });
            for (index, slot) in slots.iter().enumerate() {
                if !slot.above.is_empty() || slot.behind.is_some() || !slot.below.is_empty() {
                    return None;
                }
                if index > 0 {
                    text.push_str(", ");
                }
                if let Some(key) = &slot.key {
                    one_line(key, room, text)?;
                    let is_alias = matches!(&key.kind, Kind::Leaf(leaf) if leaf.is_alias);
                    text.push_str(if is_alias { " : " } else { ": " });
                }
                one_line(&slot.value, room, text)?;
            }
            text.push(if *is_map { '}' } else { ']' });
        }
    }
    (text.chars().count() <= room).then_some(())
}
