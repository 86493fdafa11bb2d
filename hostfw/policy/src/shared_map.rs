//! A sorted map whose copies share what they have in common: fifty thousand pods
//! of which one has changed cost one small piece, to copy and to compare. It
//! reads like a `BTreeMap` and knows nothing about what it holds.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    iter::{FusedIterator, Peekable},
    sync::Arc,
};

/// A sorted list of entries in sorted pieces, none of them empty.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    pieces: Vec<Arc<Piece<K, V>>>,
    n_entries: usize,
}

type Piece<K, V> = Vec<(K, V)>;

/// A piece that grows beyond this is cut in halves.
const MOST_ENTRIES: usize = 128;

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let piece = self.pieces.get(self.piece_of(key))?;
        let at = piece.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
        piece.get(at).map(|(_, value)| value)
    }

    /// Whether there is a value for a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value in place, and gives the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let number = self.piece_of(&key);
        let Some(piece) = self.pieces.get_mut(number) else {
            self.pieces.push(Arc::new(vec![(key, value)]));
            self.n_entries += 1;
            return None;
        };
        let piece = Arc::make_mut(piece);
        let at = match piece.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => {
                let old = piece.get_mut(at).map(|(_, old)| old);
                return old.map(|old| std::mem::replace(old, value));
            }
            Err(at) => at,
        };
        piece.insert(at, (key, value));
        self.n_entries += 1;
        if piece.len() > MOST_ENTRIES {
            // What comes in order leaves full pieces behind.
            let is_last = at + 1 == piece.len();
            let rest = piece.split_off(if is_last { at } else { piece.len() / 2 });
            self.pieces.insert(number + 1, Arc::new(rest));
        }
        None
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let number = self.piece_of(key);
        let piece = self.pieces.get_mut(number)?;
        let at = piece.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
        let piece = Arc::make_mut(piece);
        let (_, value) = piece.remove(at);
        if piece.is_empty() {
            self.pieces.remove(number);
        }
        self.n_entries -= 1;
        Some(value)
    }

    /// The entries that are not the same in another map, in order, with the
    /// values here and there. Pieces that both share are passed over.
    pub fn differences<'m>(&'m self, other: &'m Self) -> Vec<(&'m K, Option<&'m V>, Option<&'m V>)>
    where
        V: PartialEq,
    {
        let shared: BTreeSet<*const Piece<K, V>> = self.pieces.iter().map(Arc::as_ptr).collect();
        let both: BTreeSet<*const Piece<K, V>> =
            other.pieces.iter().map(Arc::as_ptr).filter(|piece| shared.contains(piece)).collect();
        let own = |map: &'m Self| {
            let pieces = map.pieces.iter().filter(|piece| !both.contains(&Arc::as_ptr(piece)));
            pieces.flat_map(|piece| piece.iter()).collect::<Vec<_>>().into_iter().peekable()
        };
        differences(own(self), own(other))
    }

    /// Where a key is, or belongs: the last piece that does not begin behind it.
    fn piece_of(&self, key: &K) -> usize {
        let behind =
            |piece: &Arc<Piece<K, V>>| piece.first().is_some_and(|(first, _)| first <= key);
        self.pieces.partition_point(behind).saturating_sub(1)
    }
}

/// Walks through two sorted lists.
fn differences<'m, K: Ord, V: PartialEq>(
    mut here: Peekable<std::vec::IntoIter<&'m (K, V)>>,
    mut there: Peekable<std::vec::IntoIter<&'m (K, V)>>,
) -> Vec<(&'m K, Option<&'m V>, Option<&'m V>)> {
    let mut found = Vec::new();
    loop {
        let order = match (here.peek(), there.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let one = if order.is_le() { here.next() } else { None };
        let other = if order.is_ge() { there.next() } else { None };
        let value = |entry: Option<&'m (K, V)>| entry.map(|(_, value)| value);
        if let Some((key, _)) = one.or(other)
            && value(one) != value(other)
        {
            found.push((key, value(one), value(other)));
        }
    }
}

impl<K, V> SharedMap<K, V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.n_entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.n_entries == 0
    }

    /// All entries, in the order of the keys.
    pub fn iter(&self) -> Entries<'_, K, V> {
        Entries { pieces: self.pieces.iter(), piece: [].iter() }
    }

    /// All values, in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// Entries in the order of their keys.
pub struct Entries<'m, K, V> {
    pieces: std::slice::Iter<'m, Arc<Piece<K, V>>>,
    piece: std::slice::Iter<'m, (K, V)>,
}

impl<'m, K, V> Iterator for Entries<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.piece.next() {
                return Some((key, value));
            }
            self.piece = self.pieces.next()?.iter();
        }
    }
}

impl<K, V> FusedIterator for Entries<'_, K, V> {}

impl<'m, K, V> IntoIterator for &'m SharedMap<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = Entries<'m, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { pieces: Vec::new(), n_entries: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.n_entries == other.n_entries && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(
            first in prop::collection::vec((0..600_u32, 0..4_u8), 0..900),
            changes in prop::collection::vec((0..600_u32, prop::option::of(0..4_u8)), 0..60),
        ) {
            let mut map: SharedMap<u32, u8> = first.iter().copied().collect();
            let mut tree: BTreeMap<u32, u8> = first.iter().copied().collect();
            let (map_before, tree_before) = (map.clone(), tree.clone());
            for (key, value) in changes {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), tree.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                }
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(map.contains_key(&key), tree.contains_key(&key));
            }
            prop_assert!(map.iter().eq(tree.iter()) && map.len() == tree.len());
            prop_assert!(map_before.iter().eq(tree_before.iter()));
            let keys: BTreeSet<u32> =
                tree.keys().chain(tree_before.keys()).copied().collect();
            let expected: Vec<_> = keys
                .iter()
                .map(|key| (*key, tree_before.get(key), tree.get(key)))
                .filter(|(_, before, after)| before != after)
                .collect();
            let found: Vec<_> = map_before
                .differences(&map)
                .into_iter()
                .map(|(key, before, after)| (*key, before, after))
                .collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(map == map_before, tree == tree_before);
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_pieces() {
        let map: SharedMap<u32, ()> = (0..10_000).map(|key| (key, ())).collect();
        assert_eq!(map.pieces.len(), 10_000_usize.div_ceil(MOST_ENTRIES));
    }
}
