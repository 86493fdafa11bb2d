//! From files that read cleanly to a generation in force: when to compile,
//! what to load into the kernel, when to switch, and what to keep when any of
//! it fails. The live generation is only ever replaced by one that compiled,
//! loaded and verified as a whole.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use hostfw_datapath::{
    checksum,
    control_word::{ControlWord, InForce},
    image::{AT_CHECKSUM, AT_GENERATION, HEADER_WORDS},
};
use hostfw_policy::Complaint;

use crate::{
    effect::{Effect, Note},
    inputs::{Generation, Inputs, Last},
    retry::Progress,
    withdrawal::Withdrawal,
};

/// The generation that an earlier daemon left in force in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Slot and audit mode.
    pub in_force: InForce,
    /// Its number, from the header of the image.
    pub number: u32,
    /// Its checksum, from the header of the image.
    pub checksum: u32,
    /// Since when it is in force, on the clock of the events.
    pub since_ms: u64,
}

/// What the kernel enforces.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) in_force: InForce,
    pub(crate) number: u32,
    pub(crate) since_ms: u64,
    /// None when an earlier daemon loaded it and its record does not match.
    pub(crate) generation: Option<Arc<Generation>>,
    /// False while it is only adopted: then it stays exactly as it was found.
    ours: bool,
}

/// Why a set that read cleanly makes no generation.
#[derive(Clone, Debug)]
pub(crate) struct CompileFailure {
    pub(crate) since_ms: u64,
    pub(crate) complaint: Complaint,
}

#[derive(Debug)]
struct Staged {
    generation: Arc<Generation>,
    load: Progress,
    slot: u32,
}

/// Spec, record and status of generations.
#[derive(Debug)]
pub(crate) struct Generations {
    next_number: u32,
    /// What the wanted generation was compiled from.
    inputs: Option<Inputs>,
    last: Last,
    /// Sets that did not compile, with the reason.
    failed: Vec<(Inputs, CompileFailure)>,
    wanted: Option<Arc<Generation>>,
    /// What the disk holds, where the kernel holds nothing.
    stored: Option<Arc<Generation>>,
    staged: Option<Staged>,
    live: Option<Live>,
    switching: Option<Live>,
    /// What connections that live through the switch are asked.
    withdrawal: Option<Withdrawal>,
    switch: Progress,
    /// Whether the disk holds the live generation.
    store: Progress,
    /// What the authors of the live generation probably meant otherwise.
    warnings: Vec<Complaint>,
    /// Whether those are still to be found, because it is a new one.
    unwarned: bool,
}

impl Generations {
    /// Starts with what an earlier daemon left in the kernel and on the disk.
    /// Numbers go on from the highest that was ever given.
    pub(crate) fn new(
        adopted: Option<Adopted>,
        stored: Option<Arc<Generation>>,
        last_number: u32,
    ) -> Self {
        let newest = adopted.as_ref().map_or(0, |one| one.number).max(last_number);
        let kept = if adopted.is_none() { stored.clone() } else { None };
        let live = adopted.map(|adopted| Live {
            in_force: adopted.in_force,
            number: adopted.number,
            since_ms: adopted.since_ms,
            generation: stored.filter(|stored| {
                stored.number == adopted.number
                    && word(&stored.words, AT_CHECKSUM) == Some(adopted.checksum)
            }),
            ours: false,
        });
        Self {
            next_number: following(newest),
            inputs: None,
            last: None,
            failed: Vec::new(),
            wanted: None,
            stored: kept,
            staged: None,
            live,
            switching: None,
            withdrawal: None,
            switch: Progress::Open,
            store: Progress::Done,
            warnings: Vec::new(),
            unwarned: false,
        }
    }

    /// Compiles the first candidate that is new and compiles. Candidates stand
    /// in order of preference; the last ones are sets that compiled before.
    pub(crate) fn offer(
        &mut self,
        now_ms: u64,
        candidates: Vec<Inputs>,
        effects: &mut VecDeque<Effect>,
    ) {
        self.failed.retain(|(inputs, _)| candidates.iter().any(|one| one.is_same(inputs)));
        for candidate in candidates {
            if self.inputs.as_ref().is_some_and(|inputs| inputs.is_same(&candidate)) {
                return;
            }
            if self.failed.iter().any(|(inputs, _)| inputs.is_same(&candidate)) {
                continue;
            }
            match candidate.compile(&mut self.last, self.next_number) {
                Ok(generation) => {
                    self.wanted = Some(Arc::new(generation));
                    self.inputs = Some(candidate);
                    self.unwarned = true;
                    return;
                }
                Err(complaint) => {
                    effects.push_back(Effect::Note(Note::Failed {
                        what: "compile".into(),
                        why: complaint.what.clone(),
                    }));
                    let failure = CompileFailure { since_ms: now_ms, complaint: *complaint };
                    self.failed.push((candidate, failure));
                }
            }
        }
    }

    /// Takes what the disk holds where nothing is in force and the files are
    /// refused: the last good generation outlives a boot too. It is as old as
    /// the files that it was made from.
    pub(crate) fn fall_back(&mut self) {
        if self.wanted.is_none() && self.live.is_none() {
            self.wanted = self.stored.take();
        }
    }

    /// Asks for whatever brings the wanted generation nearer. `prepared` says
    /// that every reply of what this host started can be recognised; `judged`
    /// are the addresses of filtered devices.
    pub(crate) fn advance(
        &mut self,
        now_ms: u64,
        audit: bool,
        audit_was_asked: bool,
        prepared: bool,
        judged: &BTreeSet<IpAddr>,
        effects: &mut VecDeque<Effect>,
    ) {
        self.stage();
        if let Some(Staged { generation, load, .. }) = &mut self.staged
            // One that could not be switched to is loaded anew when that is due.
            && (*load != Progress::Open || self.switch.is_due(now_ms))
            && load.ask(now_ms)
        {
            self.next_number = following(generation.number);
            effects.push_back(Effect::Load(Arc::clone(generation)));
        }
        match self.target(audit, audit_was_asked, prepared) {
            Some(target) if self.switch.ask(now_ms) => {
                self.withdrawal = self.withdrawal(&target, judged);
                effects.extend(self.withdrawal.clone().map(Effect::Keep));
                effects.push_back(Effect::Switch(ControlWord::confirmed(target.in_force)));
                self.switching = Some(target);
            }
            Some(_) => {}
            // What failed is no longer wanted, unless it is loaded anew.
            None if self.switching.is_none() && !self.loads() => self.switch = Progress::Open,
            None => {}
        }
        if let Some(Live { generation: Some(generation), since_ms, .. }) = &self.live
            && self.store.ask(now_ms)
        {
            let generation = Arc::clone(generation);
            effects.push_back(Effect::StoreGeneration { generation, since_ms: *since_ms });
        }
    }

    /// Compares the wanted generation with the live and the staged one. Equal
    /// images need no work in the kernel; only their names and lines may be new.
    fn stage(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        if self.switching.is_some() {
            return;
        }
        if let Some(live) = &mut self.live
            && let Some(generation) = &mut live.generation
            && is_same_image(&generation.words, &wanted.words)
        {
            self.staged = None;
            live.ours = true;
            if let Some(renamed) = renamed(generation, wanted) {
                *generation = renamed;
                self.store = Progress::Open;
            }
            return;
        }
        if let Some(staged) = &mut self.staged
            && is_same_image(&staged.generation.words, &wanted.words)
        {
            if let Some(renamed) = renamed(&staged.generation, wanted) {
                staged.generation = renamed;
            }
            return;
        }
        let generation = Arc::clone(wanted);
        // What failed was another one.
        self.switch = Progress::Open;
        self.staged = Some(Staged { generation, load: Progress::Open, slot: 0 });
    }

    /// Finds the warnings about a set whose image is in force, for somebody who
    /// asks: they decide nothing, and take as long as compiling.
    pub(crate) fn warn(&mut self) {
        if self.unwarned
            && self.staged.is_none()
            && self.switching.is_none()
            && let (Some(inputs), Some((last, standing))) = (&self.inputs, &self.last)
            && inputs.is_same(last)
        {
            self.warnings = inputs.warnings(standing.compiled());
            self.unwarned = false;
        }
    }

    /// What should be in force now, where it differs from what is.
    fn target(&self, audit: bool, audit_was_asked: bool, prepared: bool) -> Option<Live> {
        if self.switching.is_some() {
            return None;
        }
        if let Some(Staged { generation, load: Progress::Done, slot }) = &self.staged {
            return (prepared || self.live.is_some()).then(|| Live {
                in_force: InForce { slot: *slot, audit },
                number: generation.number,
                since_ms: 0,
                generation: Some(Arc::clone(generation)),
                ours: true,
            });
        }
        let live = self.live.as_ref()?;
        let may_change = live.ours || audit_was_asked;
        (may_change && live.in_force.audit != audit)
            .then(|| Live { in_force: InForce { slot: live.in_force.slot, audit }, ..live.clone() })
    }

    /// True while an image is to be loaded, for the first time or anew, and nothing has
    /// gone wrong with that.
    fn loads(&self) -> bool {
        let load = self.staged.as_ref().map(|staged| &staged.load);
        load.is_some_and(|load| matches!(load, Progress::Open | Progress::Asked { .. }))
    }

    /// What a switch means for live connections, where it can be known.
    fn withdrawal(&self, target: &Live, judged: &BTreeSet<IpAddr>) -> Option<Withdrawal> {
        let before = match &self.live {
            None => None,
            Some(live) => Some((Arc::clone(live.generation.as_ref()?), live.in_force.audit)),
        };
        Withdrawal::new(before, target.generation.as_ref()?, target.in_force.audit, judged)
    }

    /// The slot by whose image the programs can learn before anything is in
    /// force.
    pub(crate) fn to_learn_by(&self) -> Option<u32> {
        match &self.staged {
            Some(Staged { load: Progress::Done, slot, .. }) if self.live.is_none() => Some(*slot),
            _ => None,
        }
    }

    /// Takes the kernel's answer to a load.
    pub(crate) fn loaded(
        &mut self,
        now_ms: u64,
        number: u32,
        result: Result<u32, String>,
        effects: &mut VecDeque<Effect>,
    ) {
        let Some(staged) = &mut self.staged else { return };
        if staged.generation.number != number || !staged.load.is_asked() {
            return;
        }
        // A slot in force is never written; a kernel side that says it did
        // must not be believed.
        let in_force = self.live.as_ref().map(|live| live.in_force.slot);
        let result = result.and_then(|slot| {
            if Some(slot) == in_force { Err(format!("slot {slot} is in force")) } else { Ok(slot) }
        });
        if staged.load.answer(now_ms, &result) {
            let why = staged.load.failure().unwrap_or_default().to_owned();
            let what = format!("load generation {number}");
            effects.push_back(Effect::Note(Note::Failed { what, why }));
        }
        if let Ok(slot) = result {
            staged.slot = slot;
        }
    }

    /// Takes the kernel's answer to a switch.
    pub(crate) fn switched(
        &mut self,
        now_ms: u64,
        result: Result<(), String>,
        effects: &mut VecDeque<Effect>,
    ) {
        let Some(mut target) = self.switching.take() else { return };
        let withdrawal = self.withdrawal.take();
        if self.switch.answer(now_ms, &result) {
            let why = self.switch.failure().unwrap_or_default().to_owned();
            let what = format!("switch to generation {}", target.number);
            effects.push_back(Effect::Note(Note::Failed { what, why }));
        }
        if result.is_err() {
            // The kernel may have lost what was loaded.
            if let Some(staged) = &mut self.staged
                && staged.generation.number == target.number
            {
                staged.load = Progress::Open;
            }
            return;
        }
        self.switch = Progress::Open;
        effects.extend(withdrawal.map(Effect::End));
        let is_new = self.live.as_ref().is_none_or(|live| live.number != target.number);
        if is_new {
            target.since_ms = now_ms;
            self.store = Progress::Open;
        }
        if self.staged.as_ref().is_some_and(|staged| staged.generation.number == target.number) {
            self.staged = None;
        }
        effects.push_back(Effect::Note(Note::InForce {
            number: target.number,
            slot: target.in_force.slot,
            audit: target.in_force.audit,
            n_rules: target.generation.as_ref().map_or(0, |one| one.rules.len()),
        }));
        self.live = Some(target);
    }

    /// Takes the disk's answer.
    pub(crate) fn stored(
        &mut self,
        now_ms: u64,
        result: Result<(), String>,
        effects: &mut VecDeque<Effect>,
    ) {
        if self.store.is_asked() && self.store.answer(now_ms, &result) {
            let why = self.store.failure().unwrap_or_default().to_owned();
            effects.push_back(Effect::Note(Note::Failed { what: "store generation".into(), why }));
        }
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// Warnings about what is in force.
    pub(crate) fn warnings(&self) -> &[Complaint] {
        &self.warnings
    }

    /// What the wanted generation was compiled from.
    pub(crate) fn inputs(&self) -> Option<&Inputs> {
        self.inputs.as_ref()
    }

    /// Why the preferred set did not compile.
    pub(crate) fn compile_failure(&self) -> Option<&CompileFailure> {
        self.failed.first().map(|(_, failure)| failure)
    }

    /// True while the kernel or the disk owes an answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.switching.is_some()
            || self.store.is_asked()
            || self.staged.as_ref().is_some_and(|staged| staged.load.is_asked())
    }

    /// What the kernel has refused of what is wanted, one sentence each.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = String> {
        let load = self.staged.as_ref().and_then(|staged| {
            let number = staged.generation.number;
            let why = staged.load.failure()?;
            Some(format!("generation {number} is not loaded: {why}"))
        });
        let switch = self.switch.failure().map(|why| format!("switching failed: {why}"));
        load.into_iter().chain(switch)
    }

    /// What could not be done, one sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let store =
            self.store.failure().map(|why| format!("the generation in force is not stored: {why}"));
        let unknown = self.live.as_ref().filter(|live| live.generation.is_none()).map(|live| {
            format!("generation {} was adopted and its rules are not known", live.number)
        });
        unknown.into_iter().chain(self.refusals()).chain(store).collect()
    }

    /// When something is tried again.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let load = self.staged.as_ref().and_then(|staged| staged.load.deadline_ms());
        [load, self.switch.deadline_ms(), self.store.deadline_ms()].into_iter().flatten().min()
    }
}

/// A generation with what another one of the same image says about it, unless
/// nothing that an operator sees differs.
fn renamed(generation: &Generation, other: &Generation) -> Option<Arc<Generation>> {
    // The words stay those of the kernel: their header carries the number.
    let renamed = Generation {
        number: generation.number,
        words: Arc::clone(&generation.words),
        ..other.clone()
    };
    (renamed != *generation).then(|| Arc::new(renamed))
}

/// True when two images differ in their number at most.
fn is_same_image(one: &Arc<Vec<u32>>, other: &Arc<Vec<u32>>) -> bool {
    if Arc::ptr_eq(one, other) {
        return true;
    }
    // Most that differ are told apart by their checksums.
    if checksum::content(one) != checksum::content(other) {
        return false;
    }
    let header = to_index(HEADER_WORDS);
    let (Some((one, one_rest)), Some((other, other_rest))) =
        (one.split_at_checked(header), other.split_at_checked(header))
    else {
        return one == other;
    };
    let is_count = |at: u32| [AT_GENERATION, AT_CHECKSUM].contains(&at);
    let is_same = |((at, one), other)| is_count(at) || one == other;
    (0..).zip(one).zip(other).all(is_same) && one_rest == other_rest
}

fn word(words: &[u32], at: u32) -> Option<u32> {
    words.get(to_index(at)).copied()
}

fn to_index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Zero stays free: it is no generation.
fn following(number: u32) -> u32 {
    number.wrapping_add(1).max(1)
}
