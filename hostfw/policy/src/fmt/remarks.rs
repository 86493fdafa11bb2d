//! Which comment belongs to what. One behind content stays behind it; one on a
//! line of its own stands above what follows, or closes the innermost block
//! that ends there and is not indented further than the comment.

use std::{iter::Peekable, vec::IntoIter};

use super::{
    tokens::{BLANKS, Comment},
    tree::{Collection, Kind, Remark, Slot, Stream},
};

/// Puts every comment where it belongs, and marks what has a blank line above.
pub(super) fn attach(text: &str, comments: Vec<Comment>, stream: &mut Stream) {
    let mut queue = Queue { text, comments: comments.into_iter().peekable() };
    let begins: Vec<usize> = stream.documents.iter().map(|document| document.begin).collect();
    for (index, document) in stream.documents.iter_mut().enumerate() {
        queue.all_before(document.begin, &mut document.head);
        let behind = document.marker_end.and_then(|end| queue.on_the_line(end));
        if index == 0 {
            // Its marker goes away.
            let remark = |text| Remark { text, is_apart: false };
            document.root.above.extend(behind.map(remark));
        } else {
            document.behind = behind;
        }
        let end = begins.get(index + 1).copied().unwrap_or(text.len());
        let next = Next { begin: end, column: None };
        queue.slot(&mut document.root, Around { own: None, closing: None, next });
        document.root.hand_down();
        queue.all_before(end, &mut document.foot);
    }
    queue.all_before(text.len(), &mut stream.remarks);
}

/// What comes behind a block.
#[derive(Clone, Copy)]
struct Next {
    begin: usize,
    /// None at the end of a document, which ends every block.
    column: Option<usize>,
}

/// What surrounds a slot.
#[derive(Clone, Copy)]
struct Around {
    /// The column of the block that it stands in.
    own: Option<usize>,
    /// The same column where the slot is the last of that block.
    closing: Option<usize>,
    next: Next,
}

struct Queue<'t> {
    text: &'t str,
    comments: Peekable<IntoIter<Comment>>,
}

impl Queue<'_> {
    fn slot(&mut self, slot: &mut Slot, around: Around) {
        slot.is_apart = self.is_apart(slot.begin);
        self.all_before(slot.begin, &mut slot.above);
        let is_block =
            matches!(&slot.value.kind, Kind::Collection(Collection { is_flow: false, .. }));
        self.between(slot, slot.stem_end, slot.value.begin, is_block);
        let properties_end = slot.value.properties.as_ref().map(|properties| properties.end);
        self.between(slot, properties_end, slot.value.content, is_block);

        let (content, end) = (slot.value.content, slot.value.end);
        match &mut slot.value.kind {
            Kind::Empty => {
                if let Some(text) =
                    properties_end.or(slot.stem_end).and_then(|end| self.on_the_line(end))
                {
                    slot.hang(text);
                }
                let own = around.own;
                while let Some(own) = own
                    && let Some(remark) = self.next_if(around.next.begin, |column| column > own)
                {
                    slot.below.push(remark);
                }
            }
            Kind::Leaf(leaf) => {
                let is_block = leaf.is_block;
                // The comment in the header of a block scalar.
                self.between(slot, Some(content), end, false);
                if let Some(text) = self.on_the_line(end).filter(|_| !is_block) {
                    slot.hang(text);
                }
            }
            Kind::Collection(collection) if collection.is_flow => {
                let mut hanging = Vec::new();
                hanging.extend(self.on_the_line(content + 1));
                for inner in &mut collection.slots {
                    let next = Next { begin: end, column: None };
                    self.slot(inner, Around { own: None, closing: None, next });
                }
                self.all_before(end, &mut collection.foot);
                if collection.slots.is_empty() {
                    hanging.extend(collection.foot.drain(..).map(|remark| remark.text));
                }
                hanging.extend(self.on_the_line(end));
                hanging.into_iter().for_each(|text| slot.hang(text));
            }
            Kind::Collection(collection) => self.block(collection, around),
        }
        slot.hoist();
    }

    fn block(&mut self, collection: &mut Collection, around: Around) {
        let begins: Vec<usize> = collection.slots.iter().map(|slot| slot.begin).collect();
        let column = begins.first().map_or(0, |begin| self.column(*begin));
        for (index, slot) in collection.slots.iter_mut().enumerate() {
            let inner = match begins.get(index + 1) {
                Some(begin) => Around {
                    own: Some(column),
                    closing: None,
                    next: Next { begin: *begin, column: Some(column) },
                },
                None => Around { own: Some(column), closing: Some(column), next: around.next },
            };
            self.slot(slot, inner);
        }
        // Where a list begins in the column of its key, that column is the key's.
        let least = column + usize::from(around.closing == Some(column));
        while let Some(remark) =
            self.next_if(around.next.begin, |own| own >= least && Some(own) > around.next.column)
        {
            collection.foot.push(remark);
        }
    }

    /// Comments between a key, dash or property and what follows it. Those on
    /// further lines belong to the first line of a block.
    fn between(&mut self, slot: &mut Slot, from: Option<usize>, until: usize, is_block: bool) {
        while let Some(at) = self.peek().filter(|at| *at < until) {
            let gap = from.and_then(|from| self.text.get(from..at));
            let is_here = gap.is_some_and(|gap| !gap.contains('\n'));
            if is_block && !is_here {
                return;
            }
            let Some(comment) = self.comments.next() else { return };
            if is_here {
                slot.hang(comment.text);
            } else {
                slot.above.push(Remark { is_apart: self.is_apart(at), text: comment.text });
            }
        }
    }

    fn all_before(&mut self, until: usize, remarks: &mut Vec<Remark>) {
        while let Some(comment) = self.comments.next_if(|comment| comment.at < until) {
            let is_apart = self.is_apart(comment.at);
            remarks.push(Remark { text: comment.text, is_apart });
        }
    }

    /// The comment on the rest of a line on which nothing else follows.
    fn on_the_line(&mut self, from: usize) -> Option<String> {
        let at = self.peek()?;
        let gap = self.text.get(from..at)?;
        let is_here = gap.chars().all(|letter| matches!(letter, ' ' | '\t' | ',' | ':'));
        // Only a block scalar ends where a line begins.
        let is_here = is_here && !self.is_alone(at);
        is_here.then(|| self.comments.next().map(|comment| comment.text)).flatten()
    }

    /// The next comment, where it has a line of its own and a fitting column.
    fn next_if(&mut self, until: usize, fits: impl Fn(usize) -> bool) -> Option<Remark> {
        let at = self.peek().filter(|at| *at < until && self.is_alone(*at))?;
        if !fits(self.column(at)) {
            return None;
        }
        let is_apart = self.is_apart(at);
        self.comments.next().map(|comment| Remark { text: comment.text, is_apart })
    }

    fn peek(&mut self) -> Option<usize> {
        self.comments.peek().map(|comment| comment.at)
    }

    /// What stands on the line before an offset, and the lines above.
    fn before(&self, at: usize) -> (&str, Option<&str>) {
        let before = self.text.get(..at).unwrap_or_default();
        match before.rsplit_once('\n') {
            Some((above, line)) => (line, Some(above)),
            None => (before, None),
        }
    }

    fn column(&self, at: usize) -> usize {
        self.before(at).0.chars().count()
    }

    fn is_alone(&self, at: usize) -> bool {
        self.before(at).0.trim_matches(BLANKS).is_empty()
    }

    /// Whether what begins here begins its line, and the line above is blank.
    fn is_apart(&self, at: usize) -> bool {
        let (line, above) = self.before(at);
        let above = above.map(|above| above.rsplit('\n').next().unwrap_or_default());
        line.chars().all(|letter| matches!(letter, ' ' | '\t' | '-' | '?'))
            && above.is_some_and(|above| above.trim_matches(BLANKS).is_empty())
    }
}

impl Slot {
    /// Takes a comment behind its line, or above where there is one already.
    fn hang(&mut self, text: String) {
        match &self.behind {
            None => self.behind = Some(text),
            Some(_) => self.above.push(Remark { text, is_apart: false }),
        }
    }

    /// What stands above a document's block stands above the first line of it.
    fn hand_down(&mut self) {
        if self.value.properties.is_none()
            && let Kind::Collection(Collection { is_flow: false, slots, .. }) = &mut self.value.kind
            && let Some(first) = slots.first_mut()
        {
            self.above.append(&mut first.above);
            first.above = std::mem::take(&mut self.above);
            first.is_apart = std::mem::take(&mut self.is_apart);
        }
    }

    /// Where a block begins on the line of a dash, there is no room for comments
    /// between them: they stand above the dash.
    fn hoist(&mut self) {
        if self.key.is_none()
            && self.behind.is_none()
            && self.value.properties.is_none()
            && let Kind::Collection(collection) = &mut self.value.kind
            && let Some(first) = collection.slots.first_mut()
        {
            self.above.append(&mut first.above);
        }
    }
}
