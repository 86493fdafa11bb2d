//! From policies and the world to the image of this node. Pure and deterministic:
//! equal input gives equal words. It does not read text and loads nothing.

use std::collections::BTreeMap;

use hostfw_datapath::{
    ABI_VERSION,
    image::{self, IN_FORCE, MAGIC},
};

use crate::{
    compiled::{Compiled, MatchingRules, Subject},
    conflict,
    encode::{
        Writer, protocols,
        tree::{self, Verdicts},
        trie4, trie6,
    },
    identity::Known,
    matrix::Matrix,
    node::{Options, ThisNode},
    parts::{Parts, PeerPorts, Uses},
    peers::Division,
    policy::Policy,
    ports::Service,
    rows::{RowId, Rows},
    rule_set::RuleSets,
    select::{Force, select},
    services,
    terms::TermIndex,
    world::World,
};

/// Why policies that were accepted cannot become an image. The generation is
/// refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The image would exceed [`MAX_IMAGE_WORDS`].
    #[error("the rules need an image of more than {} MiB", (MAX_IMAGE_WORDS * 4) >> 20)]
    TooLarge,
    /// More peer classes than a peer word can name.
    #[error("the rules tell apart more than 16777216 groups of peers")]
    TooManyPeerClasses,
    /// More port classes than a row can hold.
    #[error("the rules tell apart more than 65536 groups of ports")]
    TooManyPortClasses,
    /// Two rules want different things of the same connections.
    #[error("{what}: {first} and {second}")]
    Conflict {
        /// What they do not agree on.
        what: &'static str,
        /// One rule, as `policy (file:line)`.
        first: String,
        /// The other one.
        second: String,
    },
}

/// No image is larger, so that four of them fit into the memory of a small node
/// (64 MiB each).
pub const MAX_IMAGE_WORDS: usize = 1 << 24;

const MAX_PORT_CLASSES: u32 = 1 << 16;

/// Compiles the policies for one node.
///
/// # Errors
/// The rules contradict each other or need more room than an image has; nothing
/// of them may be used.
pub fn compile(
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
    generation: u32,
) -> Result<Compiled, CompileError> {
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
    let behind_services = parts.terms.behind_services(world);
    let index = TermIndex::new(&parts.terms, &behind_services, world, options);
    let known = Known::of(world, node, options);
    let mut term_sets = RuleSets::default();
    let peers =
        Division { index: &index, known: &known, options, sets: &mut term_sets }.divide()?;

    let mut sets = RuleSets::default();
    let mut table = Rows::new(ports.n_classes)?;
    let mut matrix =
        Matrix { terms: &term_sets, ports: &ports, sets: &mut sets, table: &mut table };
    let mut rows: Vec<[Vec<RowId>; 2]> = Vec::with_capacity(uses.len());
    for [ingress, egress] in &uses {
        rows.push([matrix.rows(ingress, &peers.sets)?, matrix.rows(egress, &peers.sets)?]);
    }

    let mut writer = Writer::new();
    let mut verdicts = Verdicts::new(&sets, &parts.parts);
    let mut of_profile: Vec<Vec<u32>> = Vec::with_capacity(rows.len());
    for (profile, rows) in selected.profiles.iter().zip(&rows) {
        let mut words = Vec::new();
        for (force, rows) in [profile.ingress, profile.egress].into_iter().zip(rows) {
            words.extend(direction(&mut writer, &table, rows, &mut verdicts, force)?);
        }
        of_profile.push(words);
    }
    let at_v4 = trie4::write(&mut writer, &peers.v4)?;
    let at_v6 = trie6::write(&mut writer, &peers.v6)?;
    let at_protocols = protocols::write(&mut writer, &ports)?;
    let subject_words: Vec<u32> = selected
        .subjects
        .iter()
        .filter_map(|(_, profile)| of_profile.get(*profile))
        .flatten()
        .copied()
        .collect();
    let at_subjects = writer.append(&subject_words)?;
    let (at_verdicts, of_verdict) = verdicts.write(&mut writer)?;

    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    for (at, word) in [
        (image::AT_MAGIC, MAGIC),
        (image::AT_ABI, ABI_VERSION),
        (image::AT_GENERATION, generation),
        (image::AT_V4, at_v4),
        (image::AT_V6, at_v6),
        (image::AT_PROTOCOLS, at_protocols),
        (image::AT_SUBJECTS, at_subjects),
        (image::AT_N_SUBJECTS, count(selected.subjects.len())),
        (image::AT_VERDICTS, at_verdicts),
        (image::AT_N_VERDICTS, count(of_verdict.len())),
        (image::AT_N_RULES, count(selected.rules.len())),
        (image::AT_N_PEER_CLASSES, count(peers.sets.len())),
        (image::AT_N_PORT_CLASSES, ports.n_classes),
    ] {
        writer.header(at, word);
    }
    let of_part = parts.parts.iter().map(|part| part.rule).collect();
    let l7: BTreeMap<_, _> =
        (0..).zip(&parts.parts).filter_map(|(id, part)| Some((id, part.l7?.clone()))).collect();
    let subjects = selected.subjects.iter().filter_map(|(name, profile)| {
        let profile = selected.profiles.get(*profile)?;
        Some(Subject {
            name: name.clone(),
            ingress_in_force: profile.ingress.in_force,
            egress_in_force: profile.egress.in_force,
        })
    });
    Ok(Compiled {
        words: writer.finish(),
        subjects: subjects.collect(),
        rules: selected.rules.iter().map(|rule| rule.listed.clone()).collect(),
        verdicts: MatchingRules { sets, of_verdict, of_part, l7 },
        policies: selected.policies,
        placeless: peers.placeless,
    })
}

/// The words of a subject for one direction.
fn direction(
    writer: &mut Writer,
    table: &Rows,
    rows: &[RowId],
    verdicts: &mut Verdicts<'_>,
    force: Force,
) -> Result<[u32; 8], CompileError> {
    let (root, levels) = tree::write_rows(writer, table, rows, verdicts, force.default)?;
    let flags = if force.in_force { IN_FORCE } else { 0 };
    Ok([flags, root, levels, table.levels(), 0, 0, 0, 0])
}
