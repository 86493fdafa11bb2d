//! The rows, row and verdict tables of an image. What the parts of a set come to
//! is said in `outcome`.

use hostfw_datapath::{
    image::{DENSE, NO_RULE, PROXY_SHIFT, VERDICT_WORDS},
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
    /// First the reserved verdict 0, then the plain ones, as
    /// [`hostfw_datapath::image::AT_N_RULES`] says.
    words: Vec<u32>,
    /// The set behind each; a plain one may have none yet.
    pub(crate) of_verdict: Vec<SetId>,
    /// Whether the plain ones stay as they are.
    is_settled: bool,
    /// Per set: what its parts come to.
    outcomes: FxHashMap<SetId, Outcome>,
    /// Per node of a row, its level and the default: where it stands.
    written: FxHashMap<(u32, u32, Answer), u32>,
}

impl Verdicts {
    /// Only the reserved one yet, and what rules say that allow, by their ids.
    pub(crate) fn new(parts: &[Part<'_>], n_rules: u32) -> Self {
        let rules = (0..n_rules).flat_map(|rule| [answer_word(Answer::Allow), rule]);
        let mut words: Vec<u32> =
            [answer_word(Answer::Broken), NO_RULE].into_iter().chain(rules).collect();
        let mut numbers = FxHashMap::default();
        if n_rules != 0 {
            words.extend([answer_word(Answer::DefaultDeny), NO_RULE]);
            numbers.insert((Answer::DefaultDeny, EMPTY), n_rules + 1);
        }
        Self {
            parts: parts.iter().map(Outcome::of).collect(),
            numbers,
            of_verdict: vec![EMPTY; words.len() / 2],
            words,
            is_settled: false,
            outcomes: FxHashMap::default(),
            written: FxHashMap::default(),
        }
    }

    /// The verdict of a set; `default` where nothing in it decides.
    pub(super) fn number(&mut self, sets: &RuleSets, set: SetId, default: Answer) -> u32 {
        let (answer, proxy, rule) = self.outcome(sets, set).decide(default);
        if let Some(known) = self.numbers.get(&(answer, set)) {
            return *known;
        }
        let number = self.plain(answer, rule, set).unwrap_or_else(|| {
            self.words.extend([answer_word(answer) | proxy << PROXY_SHIFT, rule]);
            self.of_verdict.push(set);
            u32::try_from(self.of_verdict.len() - 1).unwrap_or(0)
        });
        self.numbers.insert((answer, set), number);
        number
    }

    /// The plain verdict of a rule, for the first set in which it allows.
    fn plain(&mut self, answer: Answer, rule: u32, set: SetId) -> Option<u32> {
        if answer != Answer::Allow || self.is_settled {
            return None;
        }
        let number = rule.checked_add(1)?;
        let behind = self.of_verdict.get_mut(usize::try_from(number).ok()?)?;
        if *behind != EMPTY {
            return None;
        }
        *behind = set;
        Some(number)
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

    /// Gives up what only saves time while much is written: equal nodes are found
    /// by their words, too. The sets behind the verdicts that there are stay as they
    /// are from now on.
    pub(crate) fn forget(&mut self) {
        self.is_settled = true;
        self.written = FxHashMap::default();
    }

    /// Writes all verdicts and gives their offset.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<u32, CompileError> {
        let n_words = u32::try_from(self.of_verdict.len()).unwrap_or(0) * VERDICT_WORDS;
        debug_assert_eq!(u32::try_from(self.words.len()), Ok(n_words));
        writer.append(&self.words)
    }
}

/// Where the rows of one direction of a subject stand, as its words say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) root: u32,
    /// Of the rows, or [`hostfw_datapath::image::DENSE`].
    pub(crate) levels: u32,
    /// Levels of a row; where they are dense, how many there is room for.
    pub(crate) row: u32,
    /// Port classes of a row, where they are dense.
    pub(crate) width: u32,
    /// Peer classes that it has room for.
    pub(crate) room: u64,
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
    /// Writes the row of every class. Classes that are still to come have the row
    /// of peers that nothing names.
    pub(crate) fn rows(&mut self, rows: &[RowId]) -> Result<Placed, CompileError> {
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
        let root = nodes.first().copied().unwrap_or(0);
        Ok(Placed { root, levels, row: self.table.levels(), width: 0, room: 1 << (8 * levels) })
    }

    /// Rows that differ from others in the row of one class. A tree shares
    /// everything else with the one before, dense rows are changed in place.
    pub(crate) fn with_row(
        &mut self,
        placed: Placed,
        class: u32,
        row: RowId,
    ) -> Result<Placed, CompileError> {
        if placed.levels == DENSE {
            self.set_dense_row(&placed, class, row);
            return Ok(placed);
        }
        let at = self.row(row)?;
        let root = self.with_node(placed.root, placed.levels, class, at)?;
        Ok(Placed { root, ..placed })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hostfw_datapath::{
        Direction, Image,
        image::{
            AT_HOST, AT_N_RULES, AT_VERDICTS, HOST, IN_FORCE, Question, plain_verdict, verdict,
        },
    };
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::{
        encode::protocols,
        policy::{Action, Tier},
        ports::TCP,
        services::PortClasses,
    };

    /// Rule, and the port classes that it is about; all of them without.
    type Term = (u32, Option<BTreeSet<u32>>);
    /// The terms of a row.
    type Row = Vec<Term>;

    const N_RULES: u32 = 6;

    /// Every third rule denies.
    fn action(rule: u32) -> Action {
        if rule % 3 == 2 { Action::Deny } else { Action::Allow }
    }

    fn row(n_classes: u32) -> impl Strategy<Value = Row> {
        let classes = prop_oneof![
            1 => Just(None),
            4 => proptest::collection::btree_set(0..n_classes, 1..12).prop_map(Some),
        ];
        vec((0..N_RULES, classes), 0..4)
    }

    /// What a cell says, by going through its terms: a deny rule beats allow
    /// rules, and of equal ones the first is named.
    fn expected(row: &Row, class: u32) -> (Answer, u32) {
        let rules = row
            .iter()
            .filter(|(_, classes)| classes.as_ref().is_none_or(|it| it.contains(&class)))
            .map(|(rule, _)| *rule);
        let first = |wanted| rules.clone().filter(|rule| action(*rule) == wanted).min();
        match (first(Action::Deny), first(Action::Allow)) {
            (Some(rule), _) => (Answer::Deny, rule),
            (None, Some(rule)) => (Answer::Allow, rule),
            (None, None) => (Answer::DefaultDeny, NO_RULE),
        }
    }

    struct Encoded {
        writer: Writer,
        table: Rows,
        sets: RuleSets,
        verdicts: Verdicts,
        n_classes: u32,
    }

    impl Encoded {
        fn new(n_classes: u32) -> Self {
            let parts: Vec<Part<'_>> = (0..N_RULES)
                .map(|rule| Part {
                    rule,
                    tier: Some(Tier::Normal),
                    priority: 0,
                    action: action(rule),
                    l7: None,
                })
                .collect();
            let table = Rows::new(n_classes).expect("few classes");
            let verdicts = Verdicts::new(&parts, N_RULES);
            let sets = RuleSets::default();
            Self { writer: Writer::new(), table, sets, verdicts, n_classes }
        }

        fn row(&mut self, row: &Row) -> RowId {
            row.iter().fold(self.table.empty(), |known, (rule, classes)| {
                let classes: Option<Vec<u32>> =
                    classes.as_ref().map(|classes| classes.iter().copied().collect());
                self.table
                    .with(&mut self.sets, known, *rule, classes.as_deref())
                    .expect("a small row")
            })
        }

        fn placed(&mut self, rows: &[RowId], is_dense: bool) -> Placed {
            let n_classes = self.n_classes;
            if is_dense {
                self.tree().dense(rows, n_classes).expect("a small image").expect("room")
            } else {
                self.tree().rows(rows).expect("a small tree")
            }
        }

        fn tree(&mut self) -> Tree<'_> {
            Tree {
                writer: &mut self.writer,
                table: &self.table,
                sets: &self.sets,
                verdicts: &mut self.verdicts,
                default: Answer::DefaultDeny,
            }
        }

        /// Completes the image: a port is its own class.
        fn finish(&mut self, placed: Placed) {
            let starts = (0..u16::try_from(self.n_classes).expect("few")).map(|at| (at, at.into()));
            let mut classes = PortClasses::default();
            classes.ports.insert(TCP, starts.collect());
            protocols::write(&mut self.writer, &classes).expect("a small table");
            let verdicts = self.verdicts.write(&mut self.writer).expect("a small table");
            let subject = [IN_FORCE, placed.root, placed.levels, placed.row];
            for (at, word) in (AT_HOST..).zip(subject) {
                self.writer.set(at, word);
            }
            self.writer.set(AT_VERDICTS, verdicts);
            self.writer.set(AT_N_RULES, N_RULES);
        }

        /// Goes through every peer class with every port class.
        fn check(&self, rows: &[Row]) -> Result<(), TestCaseError> {
            let image = self.writer.all();
            let direction = Direction::Ingress;
            for (peer_class, row) in (0u32..).zip(rows) {
                for class in 0..self.n_classes {
                    let port = u16::try_from(class).expect("few");
                    let index = image.find(Question {
                        subject: HOST,
                        direction,
                        peer_class,
                        protocol: TCP,
                        port,
                    });
                    let found = verdict(&image, index);
                    let plain = plain_verdict(&image, index);
                    prop_assert!(
                        plain.is_none_or(|plain| plain == found),
                        "{} is {:?}",
                        index,
                        plain
                    );
                    prop_assert_eq!(found, expected(row, class), "{} x {}", peer_class, class);
                }
            }
            Ok(())
        }
    }

    /// Port classes, different rows, and how many peer classes have them.
    fn shape() -> impl Strategy<Value = (u32, Vec<Row>, Vec<Index>)> {
        let n_classes = prop_oneof![Just(1u32), 1..40u32, Just(16), Just(17), 250..300u32];
        n_classes.prop_flat_map(|n_classes| {
            let n_peers = prop_oneof![3 => 1..20usize, 1 => 255..259usize, 1 => 500..600usize];
            (
                Just(n_classes),
                vec(row(n_classes), 1..8),
                n_peers.prop_flat_map(|n| vec(any::<Index>(), n)),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_peer_class_and_port_class_meet_in_their_verdict(
            (n_classes, kinds, peers) in shape(), is_dense in any::<bool>(),
        ) {
            let mut encoded = Encoded::new(n_classes);
            let rows: Vec<Row> = peers.iter().map(|peer| peer.get(&kinds).clone()).collect();
            let ids: Vec<RowId> = rows.iter().map(|row| encoded.row(row)).collect();
            let placed = encoded.placed(&ids, is_dense);
            encoded.finish(placed);
            encoded.check(&rows)?;
            // A class that is still to come is one that nothing names.
            let room = u32::try_from(placed.room).expect("few");
            let coming = u32::try_from(rows.len()).expect("few");
            for peer_class in [coming, coming + 1, room - 1].into_iter().filter(|it| (coming..room).contains(it)) {
                let question =
                    Question { subject: HOST, direction: Direction::Ingress, peer_class, protocol: TCP, port: 0 };
                let image = encoded.writer.all();
                prop_assert_eq!(verdict(&image, image.find(question)), (Answer::DefaultDeny, NO_RULE));
            }
        }

        #[test]
        fn giving_one_class_after_the_other_its_row_equals_building_anew(
            (n_classes, kinds, peers) in shape(), is_dense in any::<bool>(),
            changes in vec((any::<Index>(), any::<Index>()), 1..12),
        ) {
            let mut encoded = Encoded::new(n_classes);
            let mut rows: Vec<Row> = peers.iter().map(|peer| peer.get(&kinds).clone()).collect();
            let mut ids: Vec<RowId> = rows.iter().map(|row| encoded.row(row)).collect();
            let mut placed = encoded.placed(&ids, is_dense);
            for (at, kind) in changes {
                let (at, kind) = (at.index(rows.len()), kind.get(&kinds));
                let row = encoded.row(kind);
                let class = u32::try_from(at).expect("few");
                placed = encoded.tree().with_row(placed, class, row).expect("a small tree");
                rows[at] = kind.clone();
                ids[at] = row;
            }
            encoded.finish(placed);
            encoded.check(&rows)?;
            // Equal nodes stand at one place, so equal trees have one root.
            let anew = encoded.tree().rows(&ids).expect("a small tree");
            prop_assert!(is_dense || placed == anew);
        }

        #[test]
        fn the_row_of_two_sets_of_rules_is_that_of_all_of_them(
            (n_classes, kinds, _) in shape(), other in any::<Index>(),
        ) {
            let mut encoded = Encoded::new(n_classes);
            let (one, other) = (kinds[0].clone(), other.get(&kinds).clone());
            let (left, right) = (encoded.row(&one), encoded.row(&other));
            let both = encoded.row(&[one, other].concat());
            let Encoded { table, sets, .. } = &mut encoded;
            prop_assert_eq!(table.union(sets, left, right).expect("a small row"), both);
        }
    }
}
