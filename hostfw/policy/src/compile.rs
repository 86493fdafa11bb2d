//! From policies and the world to the image of this node: which rules concern
//! it, what is in force, and the tables that say so. Pure and deterministic:
//! equal input gives equal words. It does not read text and loads nothing.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use hostfw_datapath::{
    ABI_VERSION, Direction,
    image::{self, IN_FORCE, MAGIC},
    verdict::Answer,
};

use crate::{
    builtin,
    encode::{
        Writer, protocols,
        tree::{self, Verdicts},
        trie4, trie6,
    },
    identity,
    peers::{Division, PeerRule},
    policy::{Policy, PolicyRule},
    ports::{Service, Services},
    rows::{RowId, Rows},
    rule_set::{RuleSets, SetId},
    services, summary,
    text::fingerprint,
    world::World,
};

/// What is known of the node that the image is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThisNode {
    /// Its name; the Node object of that name, where there is one, is its own.
    pub name: String,
    /// Labels on top of those of its Node object.
    pub labels: BTreeMap<String, String>,
    /// The addresses on its devices.
    pub addresses: Vec<IpAddr>,
    /// The tunnels that end here.
    pub tunnels: Vec<Tunnel>,
}

/// A tunnel that ends on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its protocol.
    pub kind: TunnelKind,
    /// The UDP port of the outer packets.
    pub port: u16,
    /// The device it ends at.
    pub device: String,
}

/// The protocol of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// WireGuard.
    WireGuard,
}

impl TunnelKind {
    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::WireGuard => "WireGuard",
        }
    }
}

/// How policies are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Prefixes match addresses of nodes too.
    pub cidr_match_nodes: bool,
    /// Prefixes match addresses of pods too.
    pub cidr_match_pods: bool,
    /// Labels are filtered as the reference filters them.
    pub cilium_labels: bool,
    /// What puts a direction in force.
    pub enforcement: Enforcement,
    /// Tunnels of this node with known nodes are allowed.
    pub allow_own_tunnels: bool,
    /// DHCP of this node is allowed.
    pub allow_dhcp_client: bool,
}

/// What puts a direction in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// A rule that selects this node.
    #[default]
    Default,
    /// Nothing is needed: both directions deny what no rule allows.
    Always,
    /// Nothing can: all is allowed.
    Never,
}

/// One compiled generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The image, checksum included.
    pub words: Vec<u32>,
    /// Rules of policies that select this node, then the built-in ones; the id
    /// of a rule is its index.
    pub rules: Vec<Rule>,
    /// The rules behind every verdict of the image.
    pub verdicts: MatchingRules,
    /// Every policy, in order.
    pub policies: Vec<PolicyStatus>,
    /// Whether ingress is in force.
    pub ingress_in_force: bool,
    /// Whether egress is in force.
    pub egress_in_force: bool,
}

/// A rule as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in this generation.
    pub id: u32,
    /// The policy it belongs to; `built-in` for those of the node itself.
    pub policy: String,
    /// The file, empty for built-in rules.
    pub path: String,
    /// The line of its first key, 0 for built-in rules.
    pub line: u32,
    /// The column of its first key, 0 for built-in rules.
    pub column: u32,
    /// The traffic it is about.
    pub direction: Direction,
    /// What it does.
    pub kind: RuleKind,
    /// One line in the words of the policy.
    pub summary: String,
    /// The same for the same words in the same policy, over reloads.
    pub hash: u64,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Allows.
    Allow,
    /// Denies, whatever else allows.
    Deny,
    /// Allows, and was written by nobody.
    BuiltIn,
}

/// What became of a policy on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: String,
    /// The line its document starts at.
    pub line: u32,
    /// Whether a part of it selects this node.
    pub selects_this_node: bool,
}

/// The matching rules of every verdict. Verdicts share the rules that they have
/// in common, so a list is made when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingRules {
    sets: RuleSets,
    of_verdict: Vec<SetId>,
}

impl MatchingRules {
    /// Number of verdicts, the reserved one included.
    pub fn len(&self) -> usize {
        self.of_verdict.len()
    }

    /// Never true: verdict 0 is always there.
    pub fn is_empty(&self) -> bool {
        self.of_verdict.is_empty()
    }

    /// The ids of all rules that match where a verdict applies, ascending;
    /// nothing for a default.
    pub fn of(&self, verdict: u32) -> Vec<u32> {
        let set = usize::try_from(verdict).ok().and_then(|at| self.of_verdict.get(at));
        set.map(|set| self.sets.ids(*set)).unwrap_or_default()
    }
}

impl Compiled {
    /// A rule by its id, as it stands in a verdict; `None` for
    /// [`image::NO_RULE`].
    pub fn rule(&self, id: u32) -> Option<&Rule> {
        usize::try_from(id).ok().and_then(|at| self.rules.get(at))
    }

    /// All rules that match where a verdict applies.
    pub fn matching_rules(&self, verdict: u32) -> Vec<&Rule> {
        self.verdicts.of(verdict).into_iter().filter_map(|id| self.rule(id)).collect()
    }

    /// Whether a direction is in force.
    pub fn in_force(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress_in_force,
            Direction::Egress => self.egress_in_force,
        }
    }
}

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

/// The name of the policy that built-in rules belong to.
const BUILT_IN: &str = "built-in";

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

/// What is in force in one direction.
#[derive(Clone, Copy)]
struct Force {
    in_force: bool,
    /// The answer where no rule matches.
    default: Answer,
}

/// The rules that concern this node, and what follows from them.
struct Selected<'p> {
    rules: Vec<(Rule, Cow<'p, PolicyRule>)>,
    policies: Vec<PolicyStatus>,
    ingress: Force,
    egress: Force,
}

fn select<'p>(
    policies: &'p [Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Selected<'p> {
    let labels = identity::own_labels(world, node, options);
    let mut rules: Vec<(Rule, Cow<'p, PolicyRule>)> = Vec::new();
    let mut statuses = Vec::new();
    // Per direction: a rule stands here; one of them denies by default.
    let mut found = [(false, false); 2];
    for policy in policies {
        let mut selects_this_node = false;
        for spec in policy.specs.iter().filter(|spec| spec.nodes.selects(&labels)) {
            selects_this_node = true;
            for rule in &spec.rules {
                let found = &mut found[usize::from(rule.direction == Direction::Egress)];
                found.0 = true;
                found.1 |= spec.default_deny(rule.direction);
                rules.push((listed(rules.len(), policy, rule), Cow::Borrowed(rule)));
            }
        }
        statuses.push(PolicyStatus {
            name: policy.name.clone(),
            path: policy.path.clone(),
            line: policy.at.line,
            selects_this_node,
        });
    }
    for (summary, rule) in builtin::rules(node, options) {
        let listed = Rule {
            id: id(rules.len()),
            policy: BUILT_IN.to_owned(),
            path: String::new(),
            line: 0,
            column: 0,
            direction: rule.direction,
            kind: RuleKind::BuiltIn,
            summary,
            hash: hash(BUILT_IN, &rule),
        };
        rules.push((listed, Cow::Owned(rule)));
    }
    let force = |(any, denies): (bool, bool)| match options.enforcement {
        Enforcement::Default => Force {
            in_force: any,
            default: if any && denies { Answer::DefaultDeny } else { Answer::DefaultAllow },
        },
        Enforcement::Always => Force { in_force: true, default: Answer::DefaultDeny },
        Enforcement::Never => Force { in_force: false, default: Answer::DefaultAllow },
    };
    let [ingress, egress] = found.map(force);
    Selected { rules, policies: statuses, ingress, egress }
}

fn listed(index: usize, policy: &Policy, rule: &PolicyRule) -> Rule {
    Rule {
        id: id(index),
        policy: policy.name.clone(),
        path: policy.path.clone(),
        line: rule.at.line,
        column: rule.at.column,
        direction: rule.direction,
        kind: if rule.deny { RuleKind::Deny } else { RuleKind::Allow },
        summary: summary::of(rule),
        hash: hash(&policy.name, rule),
    }
}

fn hash(policy: &str, rule: &PolicyRule) -> u64 {
    let list = [u8::from(rule.direction == Direction::Egress), u8::from(rule.deny)];
    fingerprint(fingerprint(rule.fingerprint, policy.as_bytes()), &list)
}

fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
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
