//! A compilation and everything that it found out on the way: which terms name
//! whom, which class a set of terms is, what was written where. A one-time image
//! needs only its words; an image that follows the world needs the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::repeat,
    net::IpAddr,
    sync::Arc,
};

use hostfw_datapath::{
    ABI_VERSION, Address,
    image::{self, AT_OWN_V4, AT_OWN_V6, IN_FORCE, LOCAL, MAGIC, MAX_OWN_V4, MAX_OWN_V6},
};

use crate::{
    compile::CompileError,
    compiled::{Compiled, MatchingRules, Subject, SubjectName},
    conflict,
    encode::{
        Writer, protocols,
        tree::{Placed, Tree, Verdicts},
        trie,
    },
    identity::Known,
    matrix::Matrix,
    neighbours::{self, Found},
    node::{Options, ThisNode},
    parts::{Parts, PeerPorts, Uses},
    peers::{Classes, Division},
    policy::Policy,
    ports::Service,
    rows::Rows,
    rule_set::RuleSets,
    select::{Force, Profile, ProfileFinder, select},
    services::{self, PortClasses},
    terms::TermIndex,
    world::World,
};

const MAX_PORT_CLASSES: u32 = 1 << 16;

/// What a compilation found out.
#[derive(Debug)]
pub(crate) struct Compilation {
    pub(crate) index: TermIndex,
    /// Sets of terms.
    pub(crate) term_sets: RuleSets,
    pub(crate) classes: Classes,
    /// Addresses that two claim.
    pub(crate) contested: BTreeSet<IpAddr>,
    pub(crate) peer_ports: PeerPorts,
    pub(crate) ports: PortClasses,
    /// Sets of parts.
    pub(crate) sets: RuleSets,
    pub(crate) table: Rows,
    pub(crate) verdicts: Verdicts,
    pub(crate) writer: Writer,
    pub(crate) finder: ProfileFinder,
    pub(crate) profiles: Vec<Written>,
    /// The profile of every subject, in their order.
    pub(crate) subjects: Vec<usize>,
    /// The addresses on this host's devices.
    own: Vec<Address>,
}

/// What stands in the image for those with one profile.
#[derive(Debug)]
pub(crate) struct Written {
    /// By direction, ingress first.
    pub(crate) directions: [WrittenDirection; 2],
}

/// One direction of a profile.
#[derive(Debug)]
pub(crate) struct WrittenDirection {
    pub(crate) uses: Uses,
    pub(crate) force: Force,
    /// Its rows.
    pub(crate) placed: Placed,
}

impl Compilation {
    /// Compiles everything. The words, and the sets behind verdicts, are left
    /// here and are missing from what listings want to know.
    pub(crate) fn new(
        policies: &[Policy],
        world: &World,
        node: &ThisNode,
        options: &Options,
        generation: u32,
    ) -> Result<(Self, Compiled), CompileError> {
        let selected = select(policies, world, node, options);
        let peer_ports = PeerPorts::of(&selected.rules, world);
        let mut parts = Parts::new(&selected.rules, &peer_ports);
        let uses: Vec<[Uses; 2]> = selected.profiles.iter().map(|one| parts.uses(one)).collect();
        conflict::refuse(&selected.rules, &parts, &uses)?;

        let lists: Vec<&[Service]> = parts.lists.iter().map(Vec::as_slice).collect();
        let ports = services::classify(&lists);
        if ports.n_classes > MAX_PORT_CLASSES {
            return Err(CompileError::TooManyPortClasses);
        }
        let index = TermIndex::new(&parts.terms, world, options);
        let known = Known::of(world, node, options);
        let mut term_sets = RuleSets::default();
        let mut peers =
            Division { index: &index, known: &known, options, sets: &mut term_sets }.divide()?;
        let of_host = selected.subjects.first().and_then(|(_, host)| uses.get(*host));
        let found = neighbours::group(&mut peers, &term_sets, of_host);

        let of_part = parts.parts.iter().map(|part| part.rule).collect();
        let l7: BTreeMap<_, _> =
            (0..).zip(&parts.parts).filter_map(|(id, part)| Some((id, part.l7?.clone()))).collect();
        let verdicts = Verdicts::new(&parts.parts, count(selected.rules.len()));
        let subjects = selected.subjects.iter().filter_map(|(name, profile)| {
            Some(Subject::new(name.clone(), selected.profiles.get(*profile)?))
        });
        let compiled = Compiled {
            words: Arc::default(),
            subjects: subjects.collect(),
            verdicts: MatchingRules {
                sets: RuleSets::default(),
                of_verdict: Vec::new(),
                of_part,
                l7,
            },
            placeless: peers.placeless,
            rules: Arc::new(selected.rules.iter().map(|rule| rule.listed.clone()).collect()),
            policies: selected.policies,
        };
        let mut compilation = Self {
            table: Rows::new(ports.n_classes)?,
            index,
            term_sets,
            classes: peers.classes,
            contested: known.contested,
            peer_ports,
            ports,
            sets: RuleSets::default(),
            verdicts,
            writer: Writer::new(),
            finder: selected.finder,
            profiles: Vec::with_capacity(uses.len()),
            subjects: selected.subjects.iter().map(|(_, profile)| *profile).collect(),
            own: node
                .addresses
                .iter()
                .map(|address| Address::from(address.to_canonical()))
                .collect(),
        };
        // A prefix is matched by itself somewhere, so there is a set and a row.
        let n_prefixes = compilation.index.prefixes.len();
        compilation.sets.reserve(n_prefixes);
        compilation.table.reserve(n_prefixes);
        for (profile, uses) in selected.profiles.iter().zip(uses) {
            compilation.write_profile(profile, uses, &found)?;
        }
        let forward = compiled.subject(&SubjectName::Forward).unwrap_or(image::HOST);
        let writer = &mut compilation.writer;
        trie::write(writer, &peers.v4, &peers.v6)?;
        protocols::write(writer, &compilation.ports)?;
        for (at, word) in [
            (image::AT_MAGIC, MAGIC),
            (image::AT_ABI, ABI_VERSION),
            (image::AT_FORWARD, forward),
            (image::AT_N_RULES, count(compiled.rules.len())),
            (image::AT_N_PORT_CLASSES, compilation.ports.n_classes),
        ] {
            writer.set(at, word);
        }
        compilation.write_subjects()?;
        compilation.write_verdicts()?;
        compilation.finish(generation);
        compilation.table.forget();
        compilation.verdicts.forget();
        Ok((compilation, compiled))
    }

    /// Writes the rows of a profile.
    fn write_profile(
        &mut self,
        profile: &Profile,
        uses: [Uses; 2],
        found: &Found,
    ) -> Result<(), CompileError> {
        let mut rows = Vec::with_capacity(2);
        for uses in &uses {
            let Self { term_sets: terms, ports, sets, table, .. } = self;
            let of_found = Matrix { terms, ports, sets, table }.rows(uses, &found.sets)?;
            rows.push(found.by_number(&of_found));
        }
        let [ingress, egress] = uses;
        let is_host = self.subjects.first() == Some(&self.profiles.len());
        let width = self.ports.n_classes;
        let mut write = |uses, rows: Option<&Vec<_>>, force: Force| {
            let rows = rows.map_or(&[][..], Vec::as_slice);
            let mut tree = self.tree(force);
            let dense = if is_host && force.in_force { tree.dense(rows, width)? } else { None };
            let placed = dense.map_or_else(|| tree.rows(rows), Ok)?;
            Ok(WrittenDirection { uses, force, placed })
        };
        let ingress = write(ingress, rows.first(), profile.ingress)?;
        let egress = write(egress, rows.get(1), profile.egress)?;
        self.profiles.push(Written { directions: [ingress, egress] });
        Ok(())
    }

    /// Writes trees of rows.
    pub(crate) fn tree(&mut self, force: Force) -> Tree<'_> {
        Tree {
            writer: &mut self.writer,
            table: &self.table,
            sets: &self.sets,
            verdicts: &mut self.verdicts,
            default: force.default,
        }
    }

    /// Writes what stands for every subject.
    pub(crate) fn write_subjects(&mut self) -> Result<(), CompileError> {
        let words: Vec<u32> = self
            .subjects
            .iter()
            .filter_map(|profile| self.profiles.get(*profile))
            .flat_map(|profile| &profile.directions)
            .flat_map(|one| {
                let flags = if one.force.in_force { IN_FORCE } else { 0 };
                let Placed { root, levels, row, .. } = one.placed;
                [flags, root, levels, row]
            })
            .collect();
        let host = usize::try_from(image::SUBJECT_WORDS).unwrap_or(0).min(words.len());
        let (host, others) = words.split_at(host);
        for (at, word) in (image::AT_HOST..).zip(host) {
            self.writer.set(at, *word);
        }
        let at = self.writer.append(others)?;
        self.writer.set(image::AT_SUBJECTS, at);
        self.writer.set(image::AT_N_SUBJECTS, count(self.subjects.len()));
        Ok(())
    }

    /// Writes what verdicts say.
    pub(crate) fn write_verdicts(&mut self) -> Result<(), CompileError> {
        let at = self.verdicts.write(&mut self.writer)?;
        self.writer.set(image::AT_VERDICTS, at);
        self.writer.set(image::AT_N_VERDICTS, count(self.verdicts.of_verdict.len()));
        Ok(())
    }

    /// Lists own addresses in the header, as far as the image says that they
    /// are.
    fn list_own(&mut self) {
        let is_own = |address: &&Address| image::peer(&self.writer.all(), address) & LOCAL != 0;
        let own: Vec<Address> = self.own.iter().filter(is_own).copied().collect();
        let v4 = own.iter().filter(|one| one.is_v4()).map(Address::low32);
        let v6 = own.iter().filter(|one| !one.is_v4());
        let v6 = v6.flat_map(|one| [one.high >> 32, one.high, one.low >> 32, one.low]);
        let v6 = v6.map(|word| u32::try_from(word & 0xffff_ffff).unwrap_or(0));
        let n_v6_words = MAX_OWN_V6 * 4;
        let words = (AT_OWN_V4..AT_OWN_V4 + MAX_OWN_V4).zip(v4.chain(repeat(0)));
        for (at, word) in words.chain((AT_OWN_V6..AT_OWN_V6 + n_v6_words).zip(v6.chain(repeat(0))))
        {
            self.writer.set(at, word);
        }
    }

    /// Completes the header.
    pub(crate) fn finish(&mut self, generation: u32) {
        self.writer.set(image::AT_GENERATION, generation);
        self.writer.set(image::AT_N_PEER_CLASSES, count(self.classes.sets.len()));
        self.list_own();
        self.writer.finish();
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
