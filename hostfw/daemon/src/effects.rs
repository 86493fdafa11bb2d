//! The one place where something is done: each effect in its arm, with the
//! event that answers it. Nothing is decided here.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use hostfw_control::{Effect, Event, Generation, Layer, Withdrawal};
use hostfw_daemon::kernel::Counts;
use hostfw_datapath::{flow::FlowKey, packet};
use hostfw_policy::ExistingConnections as Fate;

use crate::{
    answer, clock,
    live::{self, Live},
    log, service,
    shell::Shell,
    sockets, tally, translations,
};

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
            Effect::Seed { learn, addresses } => {
                let learning = learn.map_or(Ok(()), |slot| self.kernel.learn(slot));
                let addresses = addresses.into_iter().collect();
                let result = learning.map_err(chain).and_then(|()| self.seed(&addresses));
                Some(Event::Seeded(result))
            }
            Effect::Load(generation) => {
                self.denied.learn(&generation);
                // Room for more rules than ever comes with new counters, for
                // the generation in force too.
                let grows = !self.kernel.has_room(&generation.words);
                let before = grows.then(|| self.counted()).flatten();
                let result = self.kernel.load(&generation.words, &generation.addresses);
                if let Some(before) = before
                    && let Some(after) = self.counted()
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
            Effect::Keep(withdrawal) => {
                self.withdraw(&withdrawal, Fate::Keep);
                None
            }
            Effect::End(withdrawal) => {
                // Some may have come since.
                self.withdraw(&withdrawal, Fate::Keep);
                self.withdraw(&withdrawal, Fate::Kill);
                None
            }
            Effect::StoreGeneration { generation, since_ms } => {
                self.denied.learn(&generation);
                let result = self.state.store_generation(&generation, since_ms).map_err(chain);
                // The last thing that a new generation needs is done.
                self.prepare();
                self.memory.give_back();
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

    /// Makes room for the next image while nobody waits for it. A failure costs
    /// the next load that time, or fails again there.
    pub(crate) fn prepare(&mut self) {
        if let Err(error) = self.kernel.prepare() {
            tracing::warn!(why = chain(error), "the next generation is not prepared for");
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

    fn seed(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<Vec<String>, String> {
        let sockets = sockets::list().map_err(chain)?;
        let n_sockets = self.kernel.seed(&sockets).map_err(chain)?;
        let tracked = self.note_tracked(addresses);
        let gaps = tracked.as_ref().err().map(|why| {
            tracing::warn!(why, "flows that the kernel tracks are not known");
            format!("answers to what containers opened before hostfw may be dropped: {why}")
        });
        let n_tracked = tracked.unwrap_or(0);
        tracing::info!(n_sockets, n_tracked, "seeded");
        Ok(gaps.into_iter().collect())
    }

    /// Takes over what the kernel's own tracking knows. A failure costs answers
    /// to old flows, never enforcement.
    fn note_tracked(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<usize, String> {
        let mut tracked = translations::list(addresses).map_err(chain)?.unwrap_or_default();
        let n_more = tracked.len().saturating_sub(MOST_TRACKED);
        tracked.truncate(MOST_TRACKED);
        let noted = self.kernel.note(&tracked).map_err(chain)?;
        if n_more == 0 {
            Ok(noted)
        } else {
            Err(format!("{n_more} are more than there is room for"))
        }
    }

    /// Does to live connections what their policy wants. A failure leaves them
    /// to the next packet, which the new generation judges.
    fn withdraw(&mut self, withdrawal: &Withdrawal, fate: Fate) {
        let live = match live::list() {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!(why = chain(error), "live connections cannot be listed");
                return;
            }
        };
        let concerned = live.iter().filter(|one| withdrawal.fate(&one.connection) == Some(fate));
        let concerned: Vec<&Live> = concerned.collect();
        let flows: Vec<FlowKey> = concerned.iter().map(|one| one.flow).collect();
        // The reset of a connection that ends must pass too.
        if let Err(error) = self.kernel.keep(&flows, withdrawal.number()) {
            tracing::warn!(why = chain(error), "live connections cannot be kept");
        }
        if fate == Fate::Keep {
            if !flows.is_empty() {
                tracing::info!(n_connections = flows.len(), "connections are kept");
            }
            return;
        }
        let (mut n_ended, mut refused) = (0, None);
        for one in concerned {
            match live::end(one) {
                Ok(()) => n_ended += 1,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => refused = Some(error),
            }
        }
        if let Err(error) = self.kernel.forget(&flows) {
            tracing::warn!(why = chain(error), "ended connections are still in the tables");
        }
        if let Some(error) = refused {
            tracing::warn!(why = chain(error), "some connections could not be ended");
        }
        if n_ended > 0 {
            self.n_ended += n_ended;
            tracing::info!(n_connections = n_ended, "connections are ended");
        }
    }
}

/// A generation with what its rules have counted, by rule id.
type Counted = (Arc<Generation>, Vec<Counts>);

/// Half of what the table of own flows holds.
const MOST_TRACKED: usize = 131_072;

/// An error with its causes on one line.
pub(crate) fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
