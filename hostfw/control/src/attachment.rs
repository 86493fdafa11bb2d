//! Which devices have our programs, compared with which should. Keeps one
//! entry for each device that is, was or shall be filtered, until the kernel
//! confirmed what was asked of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    device::Device,
    effect::{Effect, Note},
    retry::Progress,
};

/// Every device that is, was or shall be filtered, by index.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    devices: BTreeMap<u32, Attachment>,
}

#[derive(Debug)]
struct Attachment {
    device: Device,
    /// False when the snapshot no longer lists it: nothing is lost then when
    /// detaching fails.
    present: bool,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    Attach(Progress),
    Detach(Progress),
}

impl Attachments {
    /// Devices on which the kernel still has programs of an earlier daemon.
    pub(crate) fn adopted(indices: &BTreeSet<u32>) -> Self {
        let entry = |index: &u32| {
            let layer = crate::device::Layer::Ethernet;
            let device = Device { index: *index, name: format!("device {index}"), layer };
            (*index, Attachment { device, present: false, goal: Goal::Attach(Progress::Done) })
        };
        Self { devices: indices.iter().map(entry).collect() }
    }

    /// Takes what is wanted; `present` are all devices that exist.
    ///
    /// A device whose programs were adopted is attached again: that puts the
    /// programs of this daemon in place of those of its predecessor.
    pub(crate) fn want(&mut self, wanted: &BTreeMap<u32, Device>, present: &BTreeSet<u32>) {
        for (index, device) in wanted {
            match self.devices.get_mut(index) {
                Some(Attachment { device: known, present, goal: Goal::Attach(_) })
                    if *present && known.layer == device.layer =>
                {
                    known.name.clone_from(&device.name);
                }
                Some(_) | None => {
                    let goal = Goal::Attach(Progress::Open);
                    let fresh = Attachment { device: device.clone(), present: true, goal };
                    self.devices.insert(*index, fresh);
                }
            }
        }
        for (index, attachment) in &mut self.devices {
            attachment.present = present.contains(index);
            if !wanted.contains_key(index) && matches!(attachment.goal, Goal::Attach(_)) {
                attachment.goal = Goal::Detach(Progress::Open);
            }
        }
    }

    /// Compares with what the kernel says is attached, and repairs.
    pub(crate) fn prove(&mut self, proven: &BTreeSet<u32>, effects: &mut VecDeque<Effect>) {
        for (index, attachment) in &mut self.devices {
            if let Goal::Attach(progress @ Progress::Done) = &mut attachment.goal
                && attachment.present
                && !proven.contains(index)
            {
                *progress = Progress::Open;
                let name = attachment.device.name.clone();
                effects.push_back(Effect::Note(Note::Lost { name }));
            }
        }
    }

    /// Asks for everything that is due.
    pub(crate) fn advance(&mut self, now_ms: u64, effects: &mut VecDeque<Effect>) {
        for (index, attachment) in &mut self.devices {
            match &mut attachment.goal {
                Goal::Attach(progress) => {
                    if progress.ask(now_ms) {
                        effects.push_back(Effect::Attach(attachment.device.clone()));
                    }
                }
                Goal::Detach(progress) => {
                    if progress.ask(now_ms) {
                        effects.push_back(Effect::Detach { index: *index });
                    }
                }
            }
        }
    }

    /// Takes the kernel's answer to an attachment. True when a device is newly
    /// filtered.
    pub(crate) fn attached(
        &mut self,
        now_ms: u64,
        index: u32,
        result: Result<String, String>,
        effects: &mut VecDeque<Effect>,
    ) -> bool {
        let Some(attachment) = self.devices.get_mut(&index) else { return false };
        let Goal::Attach(progress) = &mut attachment.goal else { return false };
        let news = progress.answer(now_ms, &result);
        let name = attachment.device.name.clone();
        match result {
            Ok(how) => {
                effects.push_back(Effect::Note(Note::Attached { name, how }));
                true
            }
            Err(why) => {
                if news {
                    let what = format!("attach to {name}");
                    effects.push_back(Effect::Note(Note::Failed { what, why }));
                }
                false
            }
        }
    }

    /// Takes the kernel's answer to a detachment.
    pub(crate) fn detached(
        &mut self,
        now_ms: u64,
        index: u32,
        result: Result<(), String>,
        effects: &mut VecDeque<Effect>,
    ) {
        let Some(attachment) = self.devices.get_mut(&index) else { return };
        let Goal::Detach(progress) = &mut attachment.goal else { return };
        let news = progress.answer(now_ms, &result);
        let name = attachment.device.name.clone();
        match result {
            Err(why) if attachment.present => {
                if news {
                    let what = format!("detach from {name}");
                    effects.push_back(Effect::Note(Note::Failed { what, why }));
                }
            }
            Ok(()) | Err(_) => {
                self.devices.remove(&index);
                effects.push_back(Effect::Note(Note::Detached { name }));
            }
        }
    }

    /// True when every device that shall be filtered is, or was tried.
    pub(crate) fn is_settled(&self) -> bool {
        !self.devices.values().any(|attachment| match &attachment.goal {
            Goal::Attach(progress) => matches!(progress, Progress::Open | Progress::Asked { .. }),
            Goal::Detach(_) => false,
        })
    }

    /// True while the kernel owes an answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.devices.values().any(|attachment| match &attachment.goal {
            Goal::Attach(progress) | Goal::Detach(progress) => progress.is_asked(),
        })
    }

    /// Whether programs are attached as far as this daemon knows, and what is
    /// in the way.
    pub(crate) fn state(&self, index: u32) -> (bool, Option<&str>) {
        match self.devices.get(&index).map(|attachment| &attachment.goal) {
            Some(Goal::Attach(progress)) => {
                (matches!(progress, Progress::Done), progress.failure())
            }
            Some(Goal::Detach(_)) | None => (false, None),
        }
    }

    /// What could not be done, one sentence each.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        self.devices.values().filter_map(|attachment| {
            let name = &attachment.device.name;
            match &attachment.goal {
                Goal::Attach(progress) => {
                    progress.failure().map(|why| format!("{name} is not filtered: {why}"))
                }
                Goal::Detach(progress) => {
                    progress.failure().map(|why| format!("{name} is still filtered: {why}"))
                }
            }
        })
    }

    /// When something is tried again.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let due = |attachment: &Attachment| match &attachment.goal {
            Goal::Attach(progress) | Goal::Detach(progress) => progress.deadline_ms(),
        };
        self.devices.values().filter_map(due).min()
    }
}
