//! The one place where something is done: each effect in its arm, with the
//! event that answers it. Nothing is decided here.

use std::sync::Arc;

use hostfw_control::{Effect, Event, Generation, Layer};
use hostfw_daemon::kernel::Counts;
use hostfw_datapath::packet;

use crate::{answer, clock, log, service, shell::Shell, sockets, tally};

impl Shell {
    /// Carries out an effect.
    pub(crate) fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Read(origin) => Some(self.read(origin)),
            Effect::Attach(device) => {
                let layer = match device.layer {
                    Layer::Ethernet => packet::Layer::Ethernet,
                    Layer::Ip => packet::Layer::Ip,
                };
                let attached = self.kernel.attach(device.index, &device.name, layer);
                let result = attached.map(|one| one.how.name().to_owned()).map_err(chain);
                Some(Event::Attached { index: device.index, result })
            }
            Effect::Detach { index } => {
                let result = self.kernel.detach(index).map_err(chain);
                Some(Event::Detached { index, result })
            }
            Effect::Seed => Some(Event::Seeded(self.seed())),
            Effect::Load(generation) => {
                self.denied.learn(&generation);
                let before = self.counted();
                let result = self.kernel.load(&generation.words, &generation.addresses);
                // Room for more rules than ever comes with new counters, for
                // the generation in force too.
                if let (Some(before), Some(after)) = (before, self.counted())
                    && tally::began_anew(&before.1, &after.1)
                {
                    self.keep_counts(&before);
                }
                let number = generation.number;
                Some(Event::Loaded { number, result: result.map_err(chain) })
            }
            Effect::Switch(word) => {
                let next = word.in_force(clock::now_ms()).slot;
                let leaves = self.control.live().is_some_and(|live| live.slot != next);
                let result = self.kernel.switch(word);
                // Read after the switch, when nothing is added any more.
                if result.is_ok()
                    && leaves
                    && let Some(counted) = self.counted()
                {
                    self.keep_counts(&counted);
                }
                Some(Event::Switched(result.map_err(chain)))
            }
            Effect::StoreGeneration { generation, since_ms } => {
                self.denied.learn(&generation);
                let result = self.state.store_generation(&generation, since_ms).map_err(chain);
                Some(Event::GenerationStored(result))
            }
            Effect::StoreAudit(audit) => {
                Some(Event::AuditStored(self.state.store_audit(audit).map_err(chain)))
            }
            Effect::Reply { token, reply } => {
                if let Some((question, sender)) = self.asked.remove(&token) {
                    answer::send(sender, answer::reply(self, question, &reply));
                }
                None
            }
            Effect::Notify { service, status } => {
                service::tell(service, &status);
                None
            }
            Effect::Note(note) => {
                log::note(&note);
                None
            }
        }
    }

    /// What the generation that `control` holds for live has counted, as far as
    /// its rules are known.
    fn counted(&self) -> Option<Counted> {
        let live = self.control.live()?;
        let generation = live.generation?;
        match self.kernel.rule_counts(live.slot) {
            Ok(counts) => Some((generation, counts)),
            Err(error) => {
                tracing::warn!(why = chain(error), "counts of rules are not kept");
                None
            }
        }
    }

    fn keep_counts(&mut self, (generation, counts): &Counted) {
        self.tally.add(&generation.rules, counts, clock::unix_now_s());
        self.store_tally();
    }

    /// Keeps what earlier generations have counted on disk. A failure costs
    /// counts, never enforcement.
    pub(crate) fn store_tally(&self) {
        if let Err(error) = self.state.store_tally(&self.tally) {
            tracing::warn!(why = chain(error), "counts of rules are not stored");
        }
    }

    fn seed(&mut self) -> Result<(), String> {
        let sockets = sockets::list().map_err(chain)?;
        let slot = self.kernel.in_force().map(|in_force| in_force.slot);
        let slot = slot.and_then(|slot| self.kernel.slots().get(&slot));
        let generation = slot.map_or(0, |slot| slot.generation);
        let n_sockets = self.kernel.seed(&sockets, generation).map_err(chain)?;
        tracing::debug!(n_sockets, "seeded");
        Ok(())
    }
}

/// A generation with what its rules have counted, by rule id.
type Counted = (Arc<Generation>, Vec<Counts>);

/// An error with its causes on one line.
pub(crate) fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
