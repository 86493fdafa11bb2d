//! Rows: for one peer, the set of matching rules of every port class, as a
//! 16-way tree whose equal nodes are stored once. Adding a rule to a row copies
//! one path for every class the rule is about and shares all the rest.

use indexmap::IndexSet;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::{
    compile::{CompileError, MAX_IMAGE_WORDS},
    rule_set::{EMPTY, RuleSets},
};

/// Ways of a node.
const WAYS: usize = 16;

/// Sets that are not shared mean rows that are not shared: rules that need more
/// parts than these (some 200 MiB) do not fit into an image.
const MAX_SET_PARTS: usize = 1 << 22;

/// The number of a row: its root node.
pub(crate) type RowId = u32;

/// All rows of one compilation.
#[derive(Debug)]
pub(crate) struct Rows {
    /// By their numbers.
    nodes: IndexSet<[u32; WAYS], FxBuildHasher>,
    levels: u32,
    /// By level: the node that no rule matches.
    empty: Vec<u32>,
    /// What two nodes of a level came to.
    unions: FxHashMap<(u32, u32, u32), u32>,
}

impl Rows {
    /// Rows over so many port classes.
    pub(crate) fn new(n_classes: u32) -> Result<Self, CompileError> {
        let mut levels = 1;
        while n_classes > 1 << (4 * levels) {
            levels += 1;
        }
        let mut rows = Self {
            nodes: IndexSet::default(),
            levels,
            empty: Vec::new(),
            unions: FxHashMap::default(),
        };
        let mut node = EMPTY;
        for _ in 0..levels {
            node = rows.intern([node; WAYS])?;
            rows.empty.push(node);
        }
        Ok(rows)
    }

    /// Makes room for so many more nodes at once.
    pub(crate) fn reserve(&mut self, n_nodes: usize) {
        self.nodes.reserve(n_nodes);
    }

    /// Gives up what only saves time while much is written; a few more nodes have
    /// room.
    pub(crate) fn forget(&mut self) {
        self.unions = FxHashMap::default();
        self.nodes.shrink_to(self.nodes.len() + self.nodes.len() / 16);
    }

    /// Levels of every row.
    pub(crate) fn levels(&self) -> u32 {
        self.levels
    }

    /// The children of a node: sets at the last level, nodes above it.
    pub(crate) fn children(&self, node: u32) -> [u32; WAYS] {
        usize::try_from(node)
            .ok()
            .and_then(|at| self.nodes.get_index(at))
            .copied()
            .unwrap_or([0; WAYS])
    }

    /// The row that no rule matches.
    pub(crate) fn empty(&self) -> RowId {
        self.empty.last().copied().unwrap_or(0)
    }

    /// The row of the rules of both.
    pub(crate) fn union(
        &mut self,
        sets: &mut RuleSets,
        one: RowId,
        other: RowId,
    ) -> Result<RowId, CompileError> {
        if sets.n_parts() > MAX_SET_PARTS {
            return Err(CompileError::TooLarge);
        }
        self.union_nodes(sets, one, other, self.levels - 1)
    }

    fn union_nodes(
        &mut self,
        sets: &mut RuleSets,
        one: u32,
        other: u32,
        level: u32,
    ) -> Result<u32, CompileError> {
        let empty = usize::try_from(level).ok().and_then(|level| self.empty.get(level)).copied();
        if one == other || Some(other) == empty {
            return Ok(one);
        }
        if Some(one) == empty {
            return Ok(other);
        }
        let key = (one.min(other), one.max(other), level);
        if let Some(known) = self.unions.get(&key) {
            return Ok(*known);
        }
        let mut children = self.children(one);
        // Neighbours are mostly equal, and equal ones have one answer.
        let mut last = None;
        for (child, beside) in children.iter_mut().zip(self.children(other)) {
            let pair = (*child, beside);
            *child = match last {
                Some((known, answer)) if known == pair => answer,
                _ if level == 0 => sets.union(pair.0, pair.1),
                _ => self.union_nodes(sets, pair.0, pair.1, level - 1)?,
            };
            last = Some((pair, *child));
        }
        let node = self.intern(children)?;
        self.unions.insert(key, node);
        Ok(node)
    }

    /// The row with one more rule, which is about the given classes, ascending;
    /// `None` for every class.
    pub(crate) fn with(
        &mut self,
        sets: &mut RuleSets,
        row: RowId,
        rule: u32,
        classes: Option<&[u32]>,
    ) -> Result<RowId, CompileError> {
        if sets.n_parts() > MAX_SET_PARTS {
            return Err(CompileError::TooLarge);
        }
        match classes {
            Some(classes) => self.with_some(sets, row, rule, classes, self.levels - 1),
            None => self.with_all(sets, row, rule, self.levels - 1),
        }
    }

    fn with_some(
        &mut self,
        sets: &mut RuleSets,
        node: u32,
        rule: u32,
        classes: &[u32],
        level: u32,
    ) -> Result<u32, CompileError> {
        let mut children = self.children(node);
        let way_of = |class: &u32| usize::try_from((class >> (level * 4)) & 15).unwrap_or(0);
        for alike in classes.chunk_by(|left, right| way_of(left) == way_of(right)) {
            let Some(child) = alike.first().and_then(|class| children.get_mut(way_of(class)))
            else {
                continue;
            };
            *child = if level == 0 {
                sets.with(*child, rule)
            } else {
                self.with_some(sets, *child, rule, alike, level - 1)?
            };
        }
        self.intern(children)
    }

    fn with_all(
        &mut self,
        sets: &mut RuleSets,
        node: u32,
        rule: u32,
        level: u32,
    ) -> Result<u32, CompileError> {
        let mut children = self.children(node);
        // Neighbours are mostly equal, and equal ones have one answer.
        let mut last = None;
        for child in &mut children {
            let before = *child;
            *child = match last {
                Some((known, answer)) if known == before => answer,
                _ if level == 0 => sets.with(before, rule),
                _ => self.with_all(sets, before, rule, level - 1)?,
            };
            last = Some((before, *child));
        }
        self.intern(children)
    }

    fn intern(&mut self, children: [u32; WAYS]) -> Result<u32, CompileError> {
        // Intermediate rows are never written, so a multiple of the image may
        // be needed; what needs more will not fit either.
        if self.nodes.len() * WAYS > MAX_IMAGE_WORDS * 4 {
            return Err(CompileError::TooLarge);
        }
        Ok(u32::try_from(self.nodes.insert_full(children).0).unwrap_or(u32::MAX))
    }
}
