//! The one place where something is done: each effect in its arm, with the
//! event that answers it. Nothing is decided here.

use hostfw_control::{Effect, Event, GenerationReport, Layer};
use hostfw_datapath::packet;

use crate::{answer, clock, log, service, shell::Shell, sockets};

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
                let result = self.kernel.load(&generation.words, &generation.addresses);
                let number = generation.number;
                Some(Event::Loaded { number, result: result.map_err(chain) })
            }
            Effect::Switch(word) => {
                let next = word.in_force(clock::now_ms()).slot;
                let left = self.control.live().filter(|live| live.slot != next);
                let result = self.kernel.switch(word);
                if let (Ok(()), Some(left)) = (&result, left) {
                    self.keep_counts(&left);
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

    /// Adds up what the generation that was left has counted. A failure costs
    /// counts, never enforcement.
    fn keep_counts(&mut self, left: &GenerationReport) {
        let Some(generation) = &left.generation else { return };
        let kept = self.kernel.rule_counts(left.slot).map_err(chain).and_then(|counts| {
            self.tally.add(&generation.rules, &counts, clock::unix_now_s());
            self.state.store_tally(&self.tally).map_err(chain)
        });
        if let Err(why) = kept {
            tracing::warn!(why, "counts of rules are not kept");
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

/// An error with its causes on one line.
pub(crate) fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
