//! From policies and the world to the image of this node. Pure and deterministic:
//! equal input gives equal words. It does not read text and loads nothing.

use std::collections::BTreeMap;

use hostfw_datapath::{
    ABI_VERSION, Direction,
    image::{self, IN_FORCE, MAGIC},
};

use crate::{
    compiled::{Compiled, MatchingRules},
    encode::{
        Writer, protocols,
        tree::{self, Verdicts},
        trie4, trie6,
    },
    identity,
    node::{Options, ThisNode},
    peers::{Division, PeerRule},
    policy::{Policy, PolicyRule},
    ports::{Service, Services},
    rows::{RowId, Rows},
    rule_set::RuleSets,
    select::select,
    services,
    world::World,
};

/// Why policies that were accepted cannot become an image. The generation is
/// refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// No image is larger, so that four of them fit into the memory of a small node
/// (64 MiB each).
pub const MAX_IMAGE_WORDS: usize = 1 << 24;

const MAX_PORT_CLASSES: u32 = 1 << 16;

/// Compiles the policies for one node.
///
/// # Errors
/// The rules need more room than an image has; nothing of them may be used.
pub fn compile(
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
    generation: u32,
) -> Result<Compiled, CompileError> {
    let selected = select(policies, world, node, options);
    let rules: Vec<&PolicyRule> = selected.rules.iter().map(|(_, rule)| rule.as_ref()).collect();

    let lists = Lists::of(&rules);
    let ports = services::classify(&lists.distinct);
    if ports.n_classes > MAX_PORT_CLASSES {
        return Err(CompileError::TooManyPortClasses);
    }
    let peer_rules: Vec<PeerRule<'_>> = rules
        .iter()
        .zip(&lists.of_rule)
        .map(|(rule, list)| PeerRule { rule, list: *list })
        .collect();
    let mut sets = RuleSets::default();
    let mut table = Rows::new(ports.n_classes);
    let peers = Division {
        rules: &peer_rules,
        ports: &ports,
        world,
        known: &identity::known_addresses(world, node, options),
        options,
        sets: &mut sets,
        table: &mut table,
    }
    .divide()?;

    let denies: Vec<bool> = rules.iter().map(|rule| rule.deny).collect();
    let mut verdicts = Verdicts::new(&sets, &denies);
    let mut writer = Writer::new();
    let mut subject = Vec::new();
    for (direction, force) in
        [(Direction::Ingress, selected.ingress), (Direction::Egress, selected.egress)]
    {
        let rows: Vec<RowId> = peers
            .rows
            .iter()
            .map(|pair| match direction {
                Direction::Ingress => pair.ingress,
                Direction::Egress => pair.egress,
            })
            .collect();
        let (root, levels) =
            tree::write_rows(&mut writer, &table, &rows, &mut verdicts, force.default)?;
        let flags = if force.in_force { IN_FORCE } else { 0 };
        subject.extend([flags, root, levels, table.levels(), 0, 0, 0, 0]);
    }
    let at_v4 = trie4::write(&mut writer, &peers.v4)?;
    let at_v6 = trie6::write(&mut writer, &peers.v6)?;
    let at_protocols = protocols::write(&mut writer, &ports)?;
    let at_subjects = writer.append(&subject)?;
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
        (image::AT_N_SUBJECTS, 1),
        (image::AT_VERDICTS, at_verdicts),
        (image::AT_N_VERDICTS, count(of_verdict.len())),
        (image::AT_N_RULES, count(rules.len())),
        (image::AT_N_PEER_CLASSES, count(peers.rows.len())),
        (image::AT_N_PORT_CLASSES, ports.n_classes),
    ] {
        writer.header(at, word);
    }
    Ok(Compiled {
        words: writer.finish(),
        rules: selected.rules.into_iter().map(|(rule, _)| rule).collect(),
        verdicts: MatchingRules { sets, of_verdict },
        policies: selected.policies,
        ingress_in_force: selected.ingress.in_force,
        egress_in_force: selected.egress.in_force,
    })
}

/// The distinct lists of services, and which of them each rule has.
struct Lists<'r> {
    distinct: Vec<&'r [Service]>,
    /// Per rule, `None` for every service.
    of_rule: Vec<Option<usize>>,
}

impl<'r> Lists<'r> {
    fn of(rules: &[&'r PolicyRule]) -> Self {
        let mut numbers: BTreeMap<&'r [Service], usize> = BTreeMap::new();
        let mut distinct = Vec::new();
        let of_rule = rules
            .iter()
            .map(|rule| match &rule.services {
                Services::Every => None,
                Services::Only(list) => Some(*numbers.entry(list).or_insert_with(|| {
                    distinct.push(list.as_slice());
                    distinct.len() - 1
                })),
            })
            .collect();
        Self { distinct, of_rule }
    }
}
