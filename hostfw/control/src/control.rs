//! The one place where everything meets: takes an event, changes what is known,
//! and compares what is wanted with what is confirmed. Each part decides for
//! itself; here is only the order in which they are asked, and it is the order
//! of safety: programs first, then what this host has open, then enforcement.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use hostfw_policy::{Complaint, Policy, Readings, Severity, Source, World, WorldReadings};

use crate::{
    attachment::Attachments,
    audit::{Audit, StoredAudit},
    config::{Config, read_config},
    device::Choice,
    directory::{Directory, Origin, ReadFailure, Snapshot},
    effect::{Effect, Note, Service},
    event::{Event, Request, Token},
    generation::{Adopted, Generations},
    inputs::{Generation, Inputs},
    link::Link,
    report::{GenerationReport, Refused, Reply},
    retry::Progress,
};

/// What the shell found before the first event.
#[derive(Debug)]
pub struct Start {
    /// The configuration; without a clean one the daemon does not start.
    pub config: Config,
    /// The file that it was read from.
    pub config_source: Source,
    /// Name of the node where the configuration gives none.
    pub hostname: String,
    /// What an earlier daemon left in force in the kernel.
    pub adopted: Option<Adopted>,
    /// Devices on which the kernel still has programs of an earlier daemon.
    pub attached: BTreeSet<u32>,
    /// The generation that was last stored on disk.
    pub stored: Option<Generation>,
    /// The highest number of a generation on disk, whether it can be used or not.
    pub last_number: u32,
    /// The audit mode that was last asked at run time.
    pub audit: Option<StoredAudit>,
}

/// What the daemon knows and wants.
#[derive(Debug)]
pub struct Control {
    pub(crate) hostname: String,
    pub(crate) config: Config,
    config_newest: Result<Source, ReadFailure>,
    pub(crate) config_refusal: Option<Refused>,
    pub(crate) policies: Directory<Vec<Policy>>,
    /// What the files of the newest snapshot hold, one by one.
    policy_files: Readings,
    world_files: WorldReadings,
    pub(crate) world: Directory<World>,
    /// Whether the directory of the world was ever there, over restarts too.
    world_was_there: bool,
    pub(crate) links: Option<Vec<Link>>,
    pub(crate) links_failure: Option<String>,
    pub(crate) proof_failure: Option<String>,
    pub(crate) choice: Choice,
    pub(crate) attachments: Attachments,
    pub(crate) seed: Progress,
    /// What the last seeding had to do without.
    pub(crate) seed_gaps: Vec<String>,
    pub(crate) generations: Generations,
    pub(crate) audit: Audit,
    pub(crate) restart_needed: bool,
    waiting: Vec<(Token, Request)>,
    reading: BTreeSet<Origin>,
    reloading: bool,
    told: Option<(Service, String)>,
    effects: VecDeque<Effect>,
}

impl Control {
    /// Starts with what the shell found. Nothing changes before the first
    /// snapshots are here.
    pub fn new(now_ms: u64, start: Start) -> Self {
        let mut effects = VecDeque::new();
        if let Some(adopted) = &start.adopted {
            effects.push_back(Effect::Note(Note::Adopted {
                number: adopted.number,
                slot: adopted.in_force.slot,
                audit: adopted.in_force.audit,
            }));
        }
        Self {
            audit: Audit::new(now_ms, start.config.audit, start.audit),
            hostname: start.hostname,
            config: start.config,
            config_newest: Ok(start.config_source),
            config_refusal: None,
            policies: Directory::new(),
            policy_files: Readings::default(),
            world_files: WorldReadings::default(),
            world: Directory::new(),
            world_was_there: start.stored.as_ref().is_some_and(|stored| stored.has_world),
            links: None,
            links_failure: None,
            proof_failure: None,
            choice: Choice::default(),
            attachments: Attachments::adopted(&start.attached),
            seed: Progress::Open,
            seed_gaps: Vec::new(),
            generations: Generations::new(
                start.adopted,
                start.stored.map(Arc::new),
                start.last_number,
            ),
            restart_needed: false,
            waiting: Vec::new(),
            reading: BTreeSet::new(),
            reloading: false,
            told: None,
            effects,
        }
    }

    /// Takes what happened. `now_ms` counts milliseconds on a clock that never
    /// goes back.
    pub fn handle(&mut self, now_ms: u64, event: Event) {
        let effects = &mut self.effects;
        match event {
            Event::Config(result) => self.take_config(now_ms, result),
            Event::Policies(result) => {
                self.reading.remove(&Origin::Policies);
                let before = self.policies.ignored().to_vec();
                let was_told = self.policies.was_told();
                let files = &mut self.policy_files;
                let taken = self.policies.take(now_ms, result, |sources, before| {
                    files.read_enforceable(sources, before)
                });
                if let Some(complaints) = taken {
                    effects.push_back(refused(Origin::Policies, complaints));
                }
                if was_told && self.policies.refusal().is_none() {
                    effects.push_back(Effect::Note(Note::Accepted { origin: Origin::Policies }));
                }
                if !self.policies.ignored().is_empty() && self.policies.ignored() != before {
                    effects
                        .push_back(Effect::Note(Note::Ignored(self.policies.ignored().to_vec())));
                }
            }
            Event::World(result) => self.take_world(now_ms, result),
            Event::Links(Ok(links)) => {
                self.links_failure = None;
                self.take_links(links);
            }
            Event::Links(Err(why)) => self.links_failure = Some(why),
            Event::Proof(Ok(proven)) => {
                self.proof_failure = None;
                self.attachments.prove(&proven, effects);
            }
            Event::Proof(Err(why)) => self.proof_failure = Some(why),
            Event::Attached { index, result } => {
                if self.attachments.attached(now_ms, index, result, effects) {
                    // What was opened through it before is not known yet.
                    self.seed = Progress::Open;
                }
            }
            Event::Detached { index, result } => {
                self.attachments.detached(now_ms, index, result, effects);
            }
            Event::Seeded(result) => {
                if self.seed.is_asked() && self.seed.answer(now_ms, &result) {
                    let why = self.seed.failure().unwrap_or_default().to_owned();
                    let what = "list what this host has open".into();
                    effects.push_back(Effect::Note(Note::Failed { what, why }));
                }
                if let Ok(gaps) = result {
                    self.seed_gaps = gaps;
                }
            }
            Event::Loaded { number, result } => {
                self.generations.loaded(now_ms, number, result, effects);
            }
            Event::Switched(result) => self.generations.switched(now_ms, result, effects),
            Event::GenerationStored(result) => {
                self.generations.stored(now_ms, result, effects);
            }
            Event::AuditStored(result) => {
                if self.audit.store.is_asked() && self.audit.store.answer(now_ms, &result) {
                    let why = self.audit.store.failure().unwrap_or_default().to_owned();
                    effects.push_back(Effect::Note(Note::Failed {
                        what: "store audit mode".into(),
                        why,
                    }));
                }
            }
            Event::Request { token, request } => self.take_request(now_ms, token, request),
            Event::Reload => self.read_everything(),
            Event::Tick => {}
        }
        self.advance(now_ms);
    }

    /// What is to be done next. The shell carries it out and reports back.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When a [`Event::Tick`] is needed at the latest.
    pub fn deadline_ms(&self) -> Option<u64> {
        [
            self.policies.deadline_ms(),
            self.world.deadline_ms(),
            self.attachments.deadline_ms(),
            self.seed.deadline_ms(),
            self.generations.deadline_ms(),
            self.audit.store.deadline_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The generation in force, as far as it is known.
    pub fn live(&self) -> Option<GenerationReport> {
        self.generation_report()
    }

    /// The configuration that holds.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn take_config(&mut self, now_ms: u64, newest: Result<Source, ReadFailure>) {
        self.reading.remove(&Origin::Config);
        if newest == self.config_newest {
            return;
        }
        let read = match &newest {
            Ok(source) => read_config(source),
            Err(failure) => Err(vec![failure.complaint()]),
        };
        self.config_newest = newest;
        match read {
            Ok(config) => {
                if self.config_refusal.take().is_some() {
                    self.effects.push_back(Effect::Note(Note::Accepted { origin: Origin::Config }));
                }
                self.restart_needed =
                    config.paths != self.config.paths || config.attach != self.config.attach;
                let (paths, attach) = (self.config.paths.clone(), self.config.attach);
                self.config = Config { paths, attach, ..config };
                self.audit.configure(now_ms, self.config.audit);
                if let Some(links) = self.links.take() {
                    self.take_links(links);
                }
            }
            Err(complaints) => {
                self.effects.push_back(refused(Origin::Config, &complaints));
                let since_ms = self.config_refusal.as_ref().map_or(now_ms, |old| old.since_ms);
                self.config_refusal = Some(Refused { since_ms, complaints });
            }
        }
    }

    fn take_world(&mut self, now_ms: u64, result: Result<Snapshot, ReadFailure>) {
        self.reading.remove(&Origin::World);
        // A node without a cluster has no such directory. One that was there
        // and vanished is another matter: its last state holds.
        let result = match result {
            Err(ReadFailure { missing: true, .. }) if !self.world_was_there => {
                Ok(Snapshot::default())
            }
            Ok(_) | Err(_) => {
                self.world_was_there = true;
                result
            }
        };
        let was_told = self.world.was_told();
        let files = &mut self.world_files;
        let taken = self.world.take(now_ms, result, |sources, before| files.read(sources, before));
        if let Some(complaints) = taken {
            self.effects.push_back(refused(Origin::World, complaints));
        }
        if was_told && self.world.refusal().is_none() {
            self.effects.push_back(Effect::Note(Note::Accepted { origin: Origin::World }));
        }
    }

    fn take_links(&mut self, links: Vec<Link>) {
        let choice = Choice::new(&links, &self.config.devices);
        let present = links.iter().map(|link| link.index).collect();
        self.attachments.want(&choice.filtered, &present);
        for device in choice.unfiltered.iter().filter(|device| device.up && !device.loopback) {
            if !self.choice.unfiltered.contains(device) {
                let (name, why) = (device.name.clone(), device.why.clone());
                self.effects.push_back(Effect::Note(Note::Unfiltered { name, why }));
            }
        }
        self.choice = choice;
        self.links = Some(links);
    }

    fn take_request(&mut self, now_ms: u64, token: Token, request: Request) {
        match request {
            Request::Status | Request::Rules | Request::Links | Request::Audit => {}
            Request::SetAudit(on) => {
                self.audit.ask(now_ms, on);
                let source = self.audit.state().source;
                self.effects.push_back(Effect::Note(Note::Audit { on, source }));
            }
            Request::Reload => self.read_everything(),
        }
        self.waiting.push((token, request));
    }

    fn read_everything(&mut self) {
        self.reloading = true;
        for origin in [Origin::Config, Origin::World, Origin::Policies] {
            if self.reading.insert(origin) {
                self.effects.push_back(Effect::Read(origin));
            }
        }
    }

    /// Asks each part for what is due, in the order of safety.
    fn advance(&mut self, now_ms: u64) {
        for (origin, due) in [
            (Origin::Policies, self.policies.reread(now_ms)),
            (Origin::World, self.world.reread(now_ms)),
        ] {
            if due && self.reading.insert(origin) {
                self.effects.push_back(Effect::Read(origin));
            }
        }
        self.attachments.advance(now_ms, &mut self.effects);
        let attached = self.links.is_some() && self.attachments.is_settled();
        let learn = self.generations.to_learn_by();
        let learns = learn.is_some() || self.generations.live().is_some();
        if attached && learns && self.seed.ask(now_ms) {
            let links = self.links.as_deref().unwrap_or_default();
            let addresses = self.config.this_node(&self.hostname, links).addresses;
            self.effects.push_back(Effect::Seed { learn, addresses });
        }
        let candidates = self.candidates();
        self.generations.offer(now_ms, candidates, &mut self.effects);
        let are_refused = self.policies.was_told() || self.world.was_told();
        if self.links.is_some() && (are_refused || self.generations.compile_failure().is_some()) {
            self.generations.fall_back();
        }
        let prepared = attached && self.seed == Progress::Done;
        let audit = self.audit.state().on;
        let audit_was_asked = self.audit.was_asked();
        let judged = self.judged_addresses();
        let Self { generations, effects, .. } = self;
        generations.advance(now_ms, audit, audit_was_asked, prepared, &judged, effects);
        if self.audit.store.ask(now_ms) {
            self.effects.push_back(Effect::StoreAudit(self.audit.to_store()));
        }
        let is_quiet = self.is_quiet();
        if is_quiet {
            self.reloading = false;
        }
        let (now, later) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, request)| {
                is_quiet || !matches!(request, Request::SetAudit(_) | Request::Reload)
            });
        self.waiting = later;
        let now: Vec<(Token, Request)> = now;
        if now.iter().any(|(_, request)| matches!(request, Request::Status | Request::Reload)) {
            self.generations.warn();
        }
        for (token, request) in now {
            let reply = Box::new(self.reply(request));
            self.effects.push_back(Effect::Reply { token, reply });
        }
        self.notify();
    }

    /// Sets to compile, the preferred one first. The others are the newest
    /// parts together with parts that compiled before: an address that changes
    /// must reach the kernel even while the newest policies do not compile.
    fn candidates(&self) -> Vec<Inputs> {
        let Some(links) = &self.links else { return Vec::new() };
        let (Some(policies), Some(world)) = (self.policies.offered(), self.world.offered()) else {
            return Vec::new();
        };
        let node = self.config.this_node(&self.hostname, links);
        let options = &self.config.options;
        let with = |policies: &Arc<_>, world: &Arc<_>| Inputs {
            policies: Arc::clone(policies),
            world: Arc::clone(world),
            node: node.clone(),
            options: *options,
        };
        let mut candidates = vec![with(policies, world)];
        if let Some(last) = self.generations.inputs() {
            candidates.push(with(&last.policies, world));
            candidates.push(with(&last.policies, &last.world));
        }
        candidates
    }

    /// Addresses of the devices that are filtered.
    fn judged_addresses(&self) -> BTreeSet<IpAddr> {
        let links = self.links.iter().flatten();
        let filtered = links.filter(|link| self.choice.filtered.contains_key(&link.index));
        filtered.flat_map(|link| &link.addresses).map(|one| one.address).collect()
    }

    /// True when nothing that was asked of the shell is still open.
    fn is_quiet(&self) -> bool {
        self.reading.is_empty()
            && !self.attachments.is_asked()
            && !self.seed.is_asked()
            && !self.generations.is_asked()
            && !self.audit.store.is_asked()
    }

    fn reply(&self, request: Request) -> Reply {
        match request {
            Request::Status | Request::Reload => Reply::Status(Box::new(self.status())),
            Request::Rules => Reply::Rules(self.rules()),
            Request::Links => Reply::Links(self.links_report()),
            Request::Audit | Request::SetAudit(_) => {
                Reply::Audit { audit: self.audit.state(), problems: self.problems() }
            }
        }
    }

    fn notify(&mut self) {
        // Refused files at the very first start put nothing in force, and
        // waiting longer would not change that: the operator must be able to
        // ask why.
        let decided = self.generations.live().is_some()
            || self.policies.is_settled() && self.policies.refusal().is_some()
            || self.world.is_settled() && self.world.refusal().is_some();
        let service = match (decided, self.reloading) {
            (false, _) => Service::Starting,
            (true, true) => Service::Reloading,
            (true, false) => Service::Ready,
        };
        let told = Some((service, self.status_line()));
        if told != self.told
            && let Some((service, status)) = told.clone()
        {
            self.effects.push_back(Effect::Notify { service, status });
            self.told = told;
        }
    }
}

fn refused(origin: Origin, complaints: &[Complaint]) -> Effect {
    let errors = complaints.iter().filter(|one| one.severity == Severity::Error).cloned();
    Effect::Note(Note::Refused { origin, complaints: errors.collect() })
}
