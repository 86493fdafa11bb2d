//! The order of the keys that every Kubernetes object has. Everything else
//! keeps the order of its author.

use super::tree::{Collection, Document, Kind, Slot};

const KEYS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "specs"];

/// Sorts the outermost mapping of a document. Comments above its first key speak
/// of the whole document, and stay on top.
pub(super) fn sort(document: &mut Document) {
    // An alias must stay behind its anchor.
    if document.has_alias {
        return;
    }
    let Kind::Collection(Collection { is_map: true, slots, .. }) = &mut document.root.value.kind
    else {
        return;
    };
    let Some(first) = slots.first_mut() else { return };
    let mut top = std::mem::take(&mut first.above);
    let is_apart = std::mem::take(&mut first.is_apart);
    slots.sort_by_key(rank);
    let Some(first) = slots.first_mut() else { return };
    match first.above.first_mut() {
        Some(remark) => remark.is_apart = is_apart,
        None => first.is_apart = is_apart,
    }
    top.append(&mut first.above);
    first.above = top;
}

fn rank(slot: &Slot) -> usize {
    let Some(Kind::Leaf(leaf)) = slot.key.as_ref().map(|key| &key.kind) else {
        return KEYS.len();
    };
    KEYS.iter().position(|key| *key == leaf.text).unwrap_or(KEYS.len())
}
