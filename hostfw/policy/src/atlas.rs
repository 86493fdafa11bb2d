//! Who may reach whom in the known world: both ends of a connection are judged,
//! each by the image of its own node. Images are compiled when they are first
//! needed; every answer is theirs.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use hostfw_datapath::{
    Address, Direction, Image as _,
    image::{self, CLASS, Question},
    verdict::Answer,
};

use crate::{
    compile::{CompileError, compile},
    compiled::{Compiled, Rule, SubjectName},
    entity::Entity,
    node::{Options, ThisNode},
    policy::Policy,
    what::What,
    world::World,
};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever has an address.
    Address(IpAddr),
    /// A node by its name.
    Node(String),
    /// A pod by its namespace and name.
    Pod(String, String),
    /// A role; as a subject nobody.
    Entity(Entity),
}

/// What becomes of a connection at one of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whose policy says so.
    pub subject: End,
    /// The node that the subject is on.
    pub node: String,
    /// As the subject sees the connection.
    pub direction: Direction,
    /// Whether policy is in force there.
    pub in_force: bool,
    /// The answer of the image; [`Answer::Allow`] where nothing is in force.
    pub answer: Answer,
    /// The rule that decides, where one does.
    pub rule: Option<Rule>,
    /// All other rules that match.
    pub also_matching: Vec<Rule>,
    /// What a proxy would look at, in words.
    pub l7: Vec<String>,
}

impl Judgement {
    /// Whether the connection may pass here, if only through a proxy.
    pub fn passes(&self) -> bool {
        self.answer.allows() || self.answer == Answer::Redirect
    }

    /// The answer in a few words.
    pub fn said(&self) -> &'static str {
        match self.answer {
            _ if !self.in_force => "allowed: no policy is in force",
            Answer::Allow => "allowed",
            Answer::Redirect => "allowed through a proxy",
            Answer::Deny => "denied",
            Answer::DefaultDeny => "denied: no rule allows it",
            Answer::DefaultAllow => "allowed: no rule denies it",
            Answer::Broken => "no answer: the image is broken",
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtlasError {
    /// There is nobody of this name.
    #[error("`{0}` is no address, no node, no NAMESPACE/POD of the world and no entity")]
    Unknown(String),
    /// The end is the node that the daemon runs on, and nobody said which.
    #[error("`{0}` is the node itself, and no node is named")]
    NoNode(String),
    /// A part of a list of labels that is none.
    #[error("`{part}` in `{list}` is no label: write KEY=VALUE,...")]
    NoLabel {
        /// The part.
        part: String,
        /// All that was written.
        list: String,
    },
    /// An end has no address, and so no peer can be told by it.
    #[error("{0} has no known address")]
    NoAddress(End),
    /// A protocol of the other family.
    #[error("{what} does not go with {end}")]
    Family {
        /// The protocol.
        what: What,
        /// The end.
        end: End,
    },
    /// Neither end is somebody whose policy is known.
    #[error("neither {0} nor {1} is a node or a pod of the known world")]
    NoSubject(End, End),
    /// The policies cannot be compiled for a node.
    #[error("compile the policies for {0}: {1}")]
    Compile(String, CompileError),
}

/// The images of all nodes.
pub struct Atlas<'a> {
    policies: &'a [Policy],
    world: &'a World,
    options: Options,
    this: &'a ThisNode,
    images: BTreeMap<String, Compiled>,
}

impl End {
    /// Reads an end: an address, `host`, an entity, the name of a node,
    /// `NAMESPACE/POD`, or labels `KEY=VALUE,...` for the first pod that has
    /// them.
    ///
    /// # Errors
    /// Nobody is meant, or what looks like labels is none.
    pub fn read(text: &str, world: &World, this: &ThisNode) -> Result<Self, AtlasError> {
        Self::read_for(text, world, Some(this))
    }

    /// The same, maybe for no node in particular.
    pub(crate) fn read_for(
        text: &str,
        world: &World,
        this: Option<&ThisNode>,
    ) -> Result<Self, AtlasError> {
        let unknown = || AtlasError::Unknown(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        match this {
            Some(this) if text == "host" || text == this.name => {
                return Ok(Self::Node(this.name.clone()));
            }
            None if text == "host" => return Err(AtlasError::NoNode(text.to_owned())),
            Some(_) | None => {}
        }
        if world.nodes.contains_key(text) {
            return Ok(Self::Node(text.to_owned()));
        }
        if let Some(entity) = Entity::ALL.iter().find(|entity| entity.name() == text) {
            return Ok(Self::Entity(*entity));
        }
        if text.contains('=') {
            let label = |part: &str| {
                let label = part.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = label.ok_or_else(|| AtlasError::NoLabel {
                    part: part.to_owned(),
                    list: text.to_owned(),
                })?;
                Ok((key.to_owned(), value.to_owned()))
            };
            let wanted: Vec<(String, String)> =
                text.split(',').map(str::trim).map(label).collect::<Result<_, AtlasError>>()?;
            let has_all = |labels: &BTreeMap<String, String>| {
                wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            };
            let pod = world.pods.iter().find(|(_, pod)| has_all(&pod.workload.labels));
            let ((namespace, name), _) = pod.ok_or_else(unknown)?;
            return Ok(Self::Pod(namespace.clone(), name.clone()));
        }
        let (namespace, name) = text.split_once('/').ok_or_else(unknown)?;
        let key = (namespace.to_owned(), name.to_owned());
        if world.pods.contains_key(&key) { Ok(Self::Pod(key.0, key.1)) } else { Err(unknown()) }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Node(name) => write!(f, "the node {name}"),
            Self::Pod(namespace, name) => write!(f, "the pod {namespace}/{name}"),
            Self::Entity(entity) => write!(f, "the entity {}", entity.name()),
        }
    }
}

impl<'a> Atlas<'a> {
    /// No image is compiled yet. `this` is used for the node of its name, which
    /// the world need not know.
    pub fn new(
        policies: &'a [Policy],
        world: &'a World,
        this: &'a ThisNode,
        options: &Options,
    ) -> Self {
        let options = Options { pods: true, ..*options };
        Self { policies, world, options, this, images: BTreeMap::new() }
    }

    /// Judges a connection at every end whose policy is known: first where it
    /// leaves, then where it arrives.
    ///
    /// # Errors
    /// It cannot exist, or nothing is known about either end.
    pub fn judge(
        &mut self,
        from: &End,
        to: &End,
        what: What,
    ) -> Result<Vec<Judgement>, AtlasError> {
        let mut found = Vec::new();
        for (subject, peer, direction) in
            [(from, to, Direction::Egress), (to, from, Direction::Ingress)]
        {
            if let Some(subject) = self.subject(subject) {
                found.push(self.judge_at(subject, peer, direction, what)?);
            }
        }
        if found.is_empty() {
            return Err(AtlasError::NoSubject(from.clone(), to.clone()));
        }
        Ok(found)
    }

    /// Judges a connection that a node forwards: by its sender, then by its
    /// destination. What is translated on the way is judged twice, under each
    /// pair of ends.
    ///
    /// # Errors
    /// It cannot exist.
    pub fn judge_forwarded(
        &mut self,
        node: &str,
        from: &End,
        to: &End,
        what: What,
    ) -> Result<[Judgement; 2], AtlasError> {
        let subject = (End::Node(node.to_owned()), node.to_owned(), SubjectName::Forward);
        Ok([
            self.judge_at(subject.clone(), from, Direction::Ingress, what)?,
            self.judge_at(subject, to, Direction::Egress, what)?,
        ])
    }

    /// The image of a node.
    ///
    /// # Errors
    /// The policies do not fit.
    pub fn image(&mut self, node: &str) -> Result<&Compiled, AtlasError> {
        if !self.images.contains_key(node) {
            let named = ThisNode { name: node.to_owned(), ..ThisNode::default() };
            let this = if node == self.this.name { self.this } else { &named };
            let compiled = compile(self.policies, self.world, this, &self.options, 1)
                .map_err(|error| AtlasError::Compile(node.to_owned(), error))?;
            self.images.insert(node.to_owned(), compiled);
        }
        self.images.get(node).ok_or_else(|| AtlasError::Unknown(node.to_owned()))
    }

    /// Whose policy concerns an end: a node, or a pod of a known node.
    fn subject(&self, end: &End) -> Option<(End, String, SubjectName)> {
        match end {
            End::Node(name) => Some((end.clone(), name.clone(), SubjectName::Host)),
            End::Pod(namespace, name) => {
                let pod = self.world.pods.get(&(namespace.clone(), name.clone()))?;
                let subject = SubjectName::Pod { namespace: namespace.clone(), name: name.clone() };
                Some((end.clone(), pod.node.clone()?, subject))
            }
            End::Address(address) => self.subject(&self.owner(*address)?),
            End::Entity(_) => None,
        }
    }

    /// Who has an address.
    fn owner(&self, address: IpAddr) -> Option<End> {
        if self.this.addresses.contains(&address) {
            return Some(End::Node(self.this.name.clone()));
        }
        let node = self.world.nodes.iter().find(|(_, node)| node.addresses.contains(&address));
        if let Some((name, _)) = node {
            return Some(End::Node(name.clone()));
        }
        let pod = self.world.pods.iter().find(|(_, pod)| pod.addresses.contains(&address));
        pod.map(|((namespace, name), _)| End::Pod(namespace.clone(), name.clone()))
    }

    /// The first address of an end.
    fn address(&self, end: &End) -> Option<IpAddr> {
        match end {
            End::Address(address) => Some(*address),
            End::Node(name) => {
                let own = (*name == self.this.name).then(|| self.this.addresses.first().copied());
                let known = self.world.nodes.get(name).and_then(|node| node.addresses.first());
                own.flatten().or(known.copied())
            }
            End::Pod(namespace, name) => {
                let pod = self.world.pods.get(&(namespace.clone(), name.clone()))?;
                pod.addresses.first().copied()
            }
            End::Entity(Entity::KubeApiserver) => self.world.api_servers.first().copied(),
            End::Entity(_) => None,
        }
    }

    fn judge_at(
        &mut self,
        (subject, node, name): (End, String, SubjectName),
        peer: &End,
        direction: Direction,
        what: What,
    ) -> Result<Judgement, AtlasError> {
        let address = self.address(peer);
        if let Some(address) = address.filter(|address| !what.fits(address)) {
            return Err(AtlasError::Family { what, end: End::Address(address) });
        }
        let is_v4 = match (peer, address) {
            (_, Some(address)) => address.is_ipv4(),
            (End::Entity(Entity::WorldIpv6), None) => false,
            (_, None) => true,
        };
        let compiled = self.image(&node)?;
        let image = &compiled.words.as_slice();
        let class = match (peer, address) {
            (_, Some(address)) => Some(image::peer(image, &Address::from(address)) & CLASS),
            (End::Entity(Entity::World), None) => compiled.class_of(Entity::WorldIpv4),
            (End::Entity(entity), None) => compiled.class_of(*entity),
            (End::Address(_) | End::Node(_) | End::Pod(..), None) => None,
        };
        // Nobody's policy may be about what is forwarded; everybody else of the
        // known world is a subject.
        let number = compiled.subject(&name);
        let (Some(peer_class), true) = (class, number.is_some() || name == SubjectName::Forward)
        else {
            return Err(AtlasError::NoAddress(peer.clone()));
        };
        let (protocol, port) = what.towards(is_v4);
        let is_judged = |number| image::in_force(image, image::subject(image, number, direction));
        let subject_number = number.filter(|number| is_judged(*number));
        let in_force = subject_number.is_some();
        let mut judgement = Judgement {
            subject,
            node,
            direction,
            in_force,
            answer: Answer::Allow,
            rule: None,
            also_matching: Vec::new(),
            l7: Vec::new(),
        };
        if let Some(subject) = subject_number {
            let question = Question { subject, direction, peer_class, protocol, port };
            let verdict = image.find(question);
            let (answer, rule) = image::verdict(image, verdict);
            judgement.answer = answer;
            judgement.rule = compiled.rule(rule).cloned();
            let others = compiled.matching_rules(verdict).into_iter();
            judgement.also_matching = others.filter(|other| other.id != rule).cloned().collect();
            let shown = compiled.verdicts.l7(verdict).into_iter();
            judgement.l7 = shown.map(|(_, l7)| l7.shown()).collect();
        }
        Ok(judgement)
    }
}
