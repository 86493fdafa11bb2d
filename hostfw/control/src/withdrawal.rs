//! What becomes of connections that a new generation no longer allows: the
//! decision, for each connection that the shell finds. The policy that decides
//! has the word: the one whose deny rule matches, or the one that admitted the
//! connection before, or, where nothing was in force before, those that put the
//! direction in force (decision 11).

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use hostfw_datapath::{
    Address, Direction,
    image::{self, CLASS, HOST, Image, Question},
    verdict::Answer,
};
use hostfw_policy::{ExistingConnections, PolicyStatus, Rule};

use crate::inputs::Generation;

/// The step from one generation to the next.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    before: Option<(Arc<Generation>, bool)>,
    after: Arc<Generation>,
    audit: bool,
    /// Addresses of the devices that are filtered.
    judged: BTreeSet<IpAddr>,
}

/// A live connection of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveConnection {
    /// Egress when this host opened it, ingress when the other end did.
    pub direction: Direction,
    /// This end.
    pub local: IpAddr,
    /// The other end.
    pub remote: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// The port that was connected to.
    pub port: u16,
}

impl Withdrawal {
    /// The step to a generation, unless none of its policies, nor any of the
    /// one before, wants anything but the next packet to be judged.
    pub(crate) fn new(
        before: Option<(Arc<Generation>, bool)>,
        after: &Arc<Generation>,
        audit: bool,
        judged: &BTreeSet<IpAddr>,
    ) -> Option<Self> {
        let generations = before.iter().map(|(before, _)| before).chain([after]);
        let mut policies = generations.flat_map(|generation| &generation.policies);
        let is_special = policies.any(|one| one.existing != ExistingConnections::Recheck);
        drop(policies);
        let (after, judged) = (Arc::clone(after), judged.clone());
        is_special.then_some(Self { before, after, audit, judged })
    }

    /// The generation that follows.
    pub fn number(&self) -> u32 {
        self.after.number
    }

    /// What becomes of a connection; `None` when it is allowed, was not allowed
    /// before either, or does not run over a filtered device.
    pub fn fate(&self, connection: &LiveConnection) -> Option<ExistingConnections> {
        if !self.judged.contains(&connection.local)
            || self.after.addresses.contains(&connection.remote)
        {
            return None;
        }
        let now = ask(&self.after, connection);
        if now.answer.passes(self.audit) {
            return None;
        }
        if let Some(denier) = now.policy {
            let was_allowed = match &self.before {
                Some((before, audit)) => ask(before, connection).answer.passes(*audit),
                None => true,
            };
            return was_allowed.then_some(denier.existing);
        }
        let Some((before, audit)) = &self.before else { return Some(self.of_all(connection)) };
        let then = ask(before, connection);
        if !then.answer.passes(*audit) {
            return None;
        }
        Some(match then.policy {
            // What it says today counts, if it is still there.
            Some(old) => find(&self.after, old).unwrap_or(old).existing,
            None => self.of_all(connection),
        })
    }

    /// The strictest of the policies that have rules for a direction.
    fn of_all(&self, connection: &LiveConnection) -> ExistingConnections {
        let rules = self.after.rules.iter();
        let rules = rules.filter(|rule| rule.direction == connection.direction);
        let policies = rules.filter_map(|rule| policy_of(&self.after, rule));
        policies.map(|policy| policy.existing).max().unwrap_or_default()
    }
}

/// What a generation says, and the policy of the rule that decided.
struct Said<'g> {
    answer: Answer,
    policy: Option<&'g PolicyStatus>,
}

fn ask<'g>(generation: &'g Generation, connection: &LiveConnection) -> Said<'g> {
    let LiveConnection { direction, remote, protocol, port, .. } = *connection;
    let words = generation.words.as_slice();
    if !image::in_force(&words, image::subject(&words, HOST, direction)) {
        return Said { answer: Answer::DefaultAllow, policy: None };
    }
    let peer_class = image::peer(&words, &Address::from(remote)) & CLASS;
    let question = Question { subject: HOST, direction, peer_class, protocol, port };
    let (answer, rule) = image::verdict(&words, words.find(question));
    let rule = usize::try_from(rule).ok().and_then(|rule| generation.rules.get(rule));
    Said { answer, policy: rule.and_then(|rule| policy_of(generation, rule)) }
}

/// The policy that a rule belongs to; none for those that are built in.
fn policy_of<'g>(generation: &'g Generation, rule: &Rule) -> Option<&'g PolicyStatus> {
    let mut policies = generation.policies.iter();
    policies.find(|one| *one.name == *rule.policy && *one.path == *rule.path)
}

/// A policy of an older generation in a newer one; it may have changed its file.
fn find<'g>(generation: &'g Generation, old: &PolicyStatus) -> Option<&'g PolicyStatus> {
    let named = || generation.policies.iter().filter(|one| one.name == old.name);
    named().find(|one| one.path == old.path).or_else(|| named().next())
}
