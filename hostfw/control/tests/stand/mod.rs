//! A stand for `Control`: performs its effects on a small model of a kernel and
//! a disk, answers them, and writes each down as one line.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use hostfw_control::{
    Adopted, Control, Effect, Event, Generation, Link, LinkAddress, Note, Origin, ReadFailure,
    Reply, Request, Service, Snapshot, Start, StatusReport, StoredAudit, Token, Withdrawal,
    read_config,
};
use hostfw_datapath::{
    control_word::{ControlWord, SLOTS},
    image,
};
use hostfw_policy::Source;

/// Allows SSH to this node.
pub(crate) const SSH: &str = "\
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: ssh}
spec:
  nodeSelector: {}
  ingress:
  - fromCIDR: [198.51.100.0/24]
    toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]
";

/// Allows HTTPS to this node.
pub(crate) const WEB: &str = "\
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: web}
spec:
  nodeSelector: {}
  ingress:
  - fromEntities: [all]
    toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]
";

/// Is no policy.
pub(crate) const BROKEN: &str = "kind: [";

/// What happens to everything that is asked of the shell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) attach: BTreeSet<u32>,
    pub(crate) seed: bool,
    pub(crate) load: bool,
    pub(crate) switch: bool,
    pub(crate) disk: bool,
}

/// The part of the world that outlives a daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) slots: BTreeMap<u32, Arc<Generation>>,
    pub(crate) word: Option<ControlWord>,
    pub(crate) attached: BTreeSet<u32>,
    pub(crate) stored: Option<(Arc<Generation>, u64)>,
    pub(crate) audit: Option<StoredAudit>,
    pub(crate) policies: Option<Result<Snapshot, ReadFailure>>,
    pub(crate) cluster: Option<Result<Snapshot, ReadFailure>>,
    pub(crate) config: String,
}

pub(crate) struct Stand {
    pub(crate) control: Control,
    pub(crate) now_ms: u64,
    pub(crate) world: World,
    pub(crate) faults: Faults,
    pub(crate) lines: Vec<String>,
    pub(crate) replies: Vec<(Token, Reply)>,
    pub(crate) withdrawals: Vec<Withdrawal>,
}

impl Stand {
    /// A daemon that starts in a world.
    pub(crate) fn start(world: World, now_ms: u64) -> Self {
        let source = Source::new("hostfw.yaml", world.config.clone());
        let adopted = world.word.map(|word| {
            let in_force = word.in_force(now_ms);
            let generation = &world.slots[&in_force.slot];
            Adopted {
                in_force,
                number: generation.number,
                checksum: generation.words[image::AT_CHECKSUM as usize],
                since_ms: 0,
            }
        });
        let stored = world.stored.as_ref().map(|(generation, _)| Generation::clone(generation));
        let last_number = stored.as_ref().map_or(0, |stored| stored.number);
        let start = Start {
            config: read_config(&source).expect("the stand's configuration is clean"),
            config_source: source,
            hostname: "node-1".into(),
            adopted,
            attached: world.attached.clone(),
            stored,
            last_number,
            audit: world.audit,
        };
        Self {
            control: Control::new(now_ms, start),
            now_ms,
            world,
            faults: Faults::default(),
            lines: Vec::new(),
            replies: Vec::new(),
            withdrawals: Vec::new(),
        }
    }

    /// The same world under a new daemon.
    pub(crate) fn restart(self) -> Self {
        Self::start(self.world, self.now_ms + 1)
    }

    /// A daemon that has seen its links and its directories.
    pub(crate) fn started(files: &[&str]) -> Self {
        let mut stand = Self::start(World::default(), 1_000);
        stand.first_snapshots(files);
        stand
    }

    pub(crate) fn first_snapshots(&mut self, files: &[&str]) {
        self.event(Event::Links(Ok(vec![loopback(), eth0()])));
        self.event(Event::World(Ok(Snapshot::default())));
        self.files(files);
    }

    /// A new state of the directory of policies.
    pub(crate) fn files(&mut self, files: &[&str]) {
        self.event(Event::Policies(Ok(snapshot(files))));
    }

    /// Lets time pass until nothing is due any more.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        let mut n_ticks = 0;
        while let Some(due_ms) = self.control.deadline_ms().filter(|due_ms| *due_ms <= end_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.event(Event::Tick);
            n_ticks += 1;
            assert!(n_ticks < 1_000, "a deadline is due that nothing happens at");
        }
        self.now_ms = end_ms;
        self.event(Event::Tick);
    }

    /// Hands an event over and performs everything that follows from it.
    pub(crate) fn event(&mut self, event: Event) {
        // What was read once is read again when the daemon asks.
        if let Event::Policies(result) = &event {
            self.world.policies = Some(result.clone());
        }
        if let Event::World(result) = &event {
            self.world.cluster = Some(result.clone());
        }
        if let Event::Config(Ok(source)) = &event {
            self.world.config = String::from_utf8(source.bytes.to_vec()).expect("text");
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.control.handle(self.now_ms, event);
            while let Some(effect) = self.control.next_effect() {
                events.extend(self.perform(effect));
            }
        }
    }

    /// The lines since the last call.
    pub(crate) fn script(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }

    pub(crate) fn status(&mut self) -> StatusReport {
        let Reply::Status(status) = self.ask(Request::Status) else { panic!("asked for status") };
        *status
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        let n_lines = self.lines.len();
        self.event(Event::Request { token: Token(77), request });
        if request == Request::Status {
            self.lines.truncate(n_lines);
        }
        self.replies.pop().expect("answered").1
    }

    /// Number and audit mode of what the kernel enforces.
    pub(crate) fn in_force(&self) -> Option<(u32, bool)> {
        let in_force = self.world.word?.in_force(self.now_ms);
        Some((self.world.slots[&in_force.slot].number, in_force.audit))
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        let failed = |fails: bool| if fails { Err("it failed".to_owned()) } else { Ok(()) };
        let (line, event) = match effect {
            Effect::Read(Origin::Policies) => {
                ("read policies".into(), self.world.policies.clone().map(Event::Policies))
            }
            Effect::Read(Origin::World) => {
                ("read cluster".into(), self.world.cluster.clone().map(Event::World))
            }
            Effect::Read(Origin::Config) => {
                ("read config".into(), Some(Event::Config(Ok(config(&self.world.config)))))
            }
            Effect::Attach(device) => {
                let index = device.index;
                let result = failed(self.faults.attach.contains(&index));
                if result.is_ok() {
                    self.world.attached.insert(index);
                }
                let result = result.map(|()| "tcx".to_owned());
                (format!("attach {}", device.name), Some(Event::Attached { index, result }))
            }
            Effect::Detach { index } => {
                self.world.attached.remove(&index);
                (format!("detach {index}"), Some(Event::Detached { index, result: Ok(()) }))
            }
            Effect::Seed { learn, .. } => {
                let line = match learn.and_then(|slot| self.world.slots.get(&slot)) {
                    Some(generation) => format!("learn by {} and seed", generation.number),
                    None => "seed".into(),
                };
                (line, Some(Event::Seeded(failed(self.faults.seed).map(|()| Vec::new()))))
            }
            Effect::Keep(withdrawal) => {
                self.withdrawals.push(withdrawal);
                ("keep".into(), None)
            }
            Effect::End(withdrawal) => {
                self.withdrawals.push(withdrawal);
                ("end".into(), None)
            }
            Effect::Load(generation) => {
                let number = generation.number;
                let active = self.world.word.map(|word| word.in_force(self.now_ms).slot);
                let slot = (0..SLOTS).find(|slot| Some(*slot) != active).expect("idle slot");
                let result = failed(self.faults.load).map(|()| slot);
                if result.is_ok() {
                    self.world.slots.insert(slot, generation);
                }
                (format!("load {number}"), Some(Event::Loaded { number, result }))
            }
            Effect::Switch(word) => {
                let in_force = word.in_force(self.now_ms);
                let number = self.world.slots[&in_force.slot].number;
                let mode = if in_force.audit { "audit" } else { "enforce" };
                let result = failed(self.faults.switch);
                if result.is_ok() {
                    self.world.word = Some(word);
                }
                (format!("switch {number} {mode}"), Some(Event::Switched(result)))
            }
            Effect::StoreGeneration { generation, since_ms } => {
                let number = generation.number;
                let result = failed(self.faults.disk);
                if result.is_ok() {
                    self.world.stored = Some((generation, since_ms));
                }
                (format!("store {number}"), Some(Event::GenerationStored(result)))
            }
            Effect::StoreAudit(audit) => {
                let result = failed(self.faults.disk);
                if result.is_ok() {
                    self.world.audit = audit;
                }
                let on = audit.map(|audit| audit.on);
                (format!("store audit {on:?}"), Some(Event::AuditStored(result)))
            }
            Effect::Reply { token, reply } => {
                self.replies.push((token, *reply));
                ("reply".into(), None)
            }
            Effect::Notify { service, status } => {
                let service = match service {
                    Service::Starting => "starting",
                    Service::Ready => "ready",
                    Service::Reloading => "reloading",
                };
                (format!("notify {service}: {status}"), None)
            }
            Effect::Note(note) => (format!("note {}", words(&note)), None),
        };
        self.lines.push(line);
        event
    }
}

fn words(note: &Note) -> String {
    match note {
        Note::Adopted { number, .. } => format!("adopted {number}"),
        Note::InForce { number, .. } => format!("in force {number}"),
        Note::Audit { on, .. } => format!("audit {on}"),
        Note::Attached { name, .. } => format!("attached {name}"),
        Note::Detached { name } => format!("detached {name}"),
        Note::Lost { name } => format!("lost {name}"),
        Note::Unfiltered { name, why } => format!("unfiltered {name}: {why}"),
        Note::Refused { origin, .. } => format!("refused {origin:?}"),
        Note::Accepted { origin } => format!("accepted {origin:?}"),
        Note::Ignored(ignored) => format!("ignored {}", ignored.len()),
        Note::Failed { what, .. } => format!("failed {what}"),
    }
}

pub(crate) fn config(text: &str) -> Source {
    Source::new("hostfw.yaml", text)
}

pub(crate) fn snapshot(files: &[&str]) -> Snapshot {
    let source =
        |(index, text): (usize, &&str)| Source::new(format!("policies.d/{index}.yaml"), *text);
    Snapshot { sources: files.iter().enumerate().map(source).collect(), ignored: Vec::new() }
}

pub(crate) fn unreadable(missing: bool) -> ReadFailure {
    ReadFailure { path: "policies.d".into(), why: "it failed".into(), missing }
}

pub(crate) fn loopback() -> Link {
    Link {
        index: 1,
        name: "lo".into(),
        link_layer: 772,
        loopback: true,
        up: true,
        ..Link::default()
    }
}

pub(crate) fn eth0() -> Link {
    ethernet(2, "eth0", "192.0.2.1")
}

pub(crate) fn ethernet(index: u32, name: &str, address: &str) -> Link {
    Link {
        index,
        name: name.into(),
        link_layer: 1,
        up: true,
        addresses: vec![LinkAddress {
            address: address.parse().expect("literal"),
            prefix_length: 24,
        }],
        ..Link::default()
    }
}
