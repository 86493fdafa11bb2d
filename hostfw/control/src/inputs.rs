//! What a generation is compiled from, and how it becomes one: compiled, or
//! made from the last one where only pods and nodes have changed, and held against the
//! guardrails and the cases that lie beside the policies.

use std::{net::IpAddr, sync::Arc};

use hostfw_datapath::image::{self, Image as _};
use hostfw_policy::{
    CompileError, Compiled, Complaint, Direction, Options, Policy, PolicyStatus, Rule, Severity,
    Standing, ThisNode, World,
    atlas::Atlas,
    cases, changes,
    guardrails::{self, read_guardrails},
    lint,
};

use crate::directory::Texts;

/// One compiled set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Counted over restarts too.
    pub number: u32,
    /// The image.
    pub words: Arc<Vec<u32>>,
    /// What names its rules, by their ids.
    pub rules: Arc<Vec<Rule>>,
    /// Every policy it was compiled from, those of other nodes included.
    pub policies: Vec<PolicyStatus>,
    /// Whether incoming packets are judged.
    pub ingress_in_force: bool,
    /// Whether outgoing packets are judged.
    pub egress_in_force: bool,
    /// Addresses of this host that it was compiled for.
    pub addresses: Vec<IpAddr>,
    /// Whether the directory of the world had files.
    pub has_world: bool,
}

impl Generation {
    /// Whether packets that this host forwards are judged.
    pub fn forward_in_force(&self) -> bool {
        self.words.as_slice().word(image::AT_FORWARD) != image::HOST
    }
}

/// Everything that a generation is compiled from.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) policies: Arc<Texts<Vec<Policy>>>,
    pub(crate) world: Arc<Texts<World>>,
    pub(crate) node: ThisNode,
    pub(crate) options: Options,
}

impl Inputs {
    /// Unchanged snapshots keep their allocation, so identity is equality.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policies, &other.policies)
            && Arc::ptr_eq(&self.world, &other.world)
            && self.node == other.node
            && self.options == other.options
    }

    /// The next generation of an earlier one, where that needs no compilation.
    fn follow(&self, (before, standing): (Self, Standing), number: u32) -> Option<Standing> {
        let Self { policies, world, node, options } = self;
        let is_alike = Arc::ptr_eq(policies, &before.policies)
            && *node == before.node
            && *options == before.options;
        let changes = is_alike.then(|| changes(&before.world.parsed, &world.parsed)).flatten()?;
        standing.follow(&changes, &world.parsed, node, options, number)
    }

    /// The first rule that a guardrail does not let pass, with the number of
    /// all others.
    fn hold_against_guardrails(&self) -> Result<(), Box<Complaint>> {
        let Self { policies, world, node, options } = self;
        let sources = &policies.snapshot.sources;
        let (guardrails, mut complaints) = read_guardrails(guardrails::among(sources));
        let found =
            guardrails::check(&guardrails, sources, &policies.parsed, &world.parsed, node, options);
        complaints.extend(found.map_err(|error| Box::new(refused(&error)))?);
        first_of(complaints.into_iter().filter(|one| one.severity == Severity::Error))
    }

    /// The first case that is wrong or fails, with the number of all others.
    fn test(&self) -> Result<(), Box<Complaint>> {
        let Self { policies, world, node, options } = self;
        let sources = &policies.snapshot.sources;
        let (cases, complaints) = cases::read_cases(sources, &world.parsed, node);
        if let Some(complaint) = complaints.into_iter().find(|one| one.severity == Severity::Error)
        {
            return Err(Box::new(complaint));
        }
        let mut atlas = Atlas::new(&policies.parsed, &world.parsed, node, options);
        let results = cases::run(cases, &mut atlas);
        let failed = results.iter().filter(|result| !result.passed());
        first_of(failed.map(|result| cases::complaint(result, sources)))
    }

    /// Compiles the policies, and holds them against the guardrails and the
    /// cases beside them. `last` is the last compilation, which this one goes
    /// on from where only pods and nodes have changed since.
    pub(crate) fn compile(
        &self,
        last: &mut Last,
        number: u32,
    ) -> Result<Generation, Box<Complaint>> {
        let Self { policies, world, node, options } = self;
        let standing = match last.take().and_then(|last| self.follow(last, number)) {
            Some(standing) => standing,
            None => Standing::new(&policies.parsed, &world.parsed, node, options, number)
                .map_err(|error| Box::new(refused(&error)))?,
        };
        let (_, standing) = last.insert((self.clone(), standing));
        let compiled = standing.compiled();
        self.hold_against_guardrails()?;
        self.test()?;
        let [ingress_in_force, egress_in_force] =
            [Direction::Ingress, Direction::Egress].map(|way| compiled.in_force(way));
        Ok(Generation {
            number,
            words: Arc::clone(&compiled.words),
            rules: Arc::clone(&compiled.rules),
            policies: compiled.policies.clone(),
            ingress_in_force,
            egress_in_force,
            addresses: node.addresses.clone(),
            has_world: !world.snapshot.sources.is_empty(),
        })
    }

    /// What the authors of a compiled set probably meant otherwise. It decides
    /// nothing, and takes as long as compiling.
    pub(crate) fn warnings(&self, compiled: &Compiled) -> Vec<Complaint> {
        let Self { policies, world, node, options } = self;
        let mut warnings = policies.warnings.clone();
        warnings.extend_from_slice(&world.warnings);
        let (sources, parsed) = (&policies.snapshot.sources, &policies.parsed);
        let about_rules = lint(sources, parsed, &world.parsed, Some(node), options, Some(compiled));
        warnings.extend(about_rules);
        warnings
    }
}

/// The last compilation, and what it was made from.
pub(crate) type Last = Option<(Inputs, Standing)>;

/// The first complaint, with the number of all others.
fn first_of(mut complaints: impl Iterator<Item = Complaint>) -> Result<(), Box<Complaint>> {
    let Some(mut first) = complaints.next() else { return Ok(()) };
    let n_others = complaints.count();
    if n_others > 0 {
        first.what.push_str(&format!(" (and {n_others} more)"));
    }
    Err(Box::new(first))
}

/// Policies that cannot be compiled, as a complaint about all of them.
fn refused(error: &CompileError) -> Complaint {
    Complaint {
        path: String::new(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        code: "compile",
        what: error.to_string(),
        instead: String::new(),
        excerpt: String::new(),
    }
}
