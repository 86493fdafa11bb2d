//! The loop: whatever happens becomes an event, whatever shall be done is done
//! and answered by another. One thread, so nothing happens at the same time as
//! anything else; the tasks that wait for files, links and requests only send.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use hostfw_control::{Control, Event, Origin, Request, Token};
use hostfw_daemon::{
    api::{self, Access, Answer, Asked, Groups, Question, Refusal, Right},
    kernel::{Events, Kernel, Listing},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    answer, clock,
    denied::{Denied, Summary},
    effects::chain,
    files::{self, Directory},
    links,
    memory::Memory,
    service,
    state::State,
    tally::Tally,
    watch,
};

/// What a task sends.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something that happened.
    Event(Event),
    /// Files may have changed.
    Files,
    /// Files were moved into the directory of the world.
    Moved {
        /// Their names.
        names: BTreeSet<String>,
        /// Whether they are all that has changed there; if not, they are not
        /// read yet.
        taken: oneshot::Sender<bool>,
    },
}

/// Everything that the loop works with.
pub(crate) struct Shell {
    pub(crate) control: Control,
    pub(crate) kernel: Kernel,
    pub(crate) listing: Arc<Mutex<Listing>>,
    pub(crate) records: Events,
    pub(crate) denied: Denied,
    pub(crate) access: Access,
    pub(crate) state: State,
    pub(crate) memory: Memory,
    pub(crate) tally: Tally,
    pub(crate) config_path: String,
    pub(crate) policies: Directory,
    pub(crate) world: Directory,
    pub(crate) started_ms: u64,
    pub(crate) asked: BTreeMap<Token, (Question, oneshot::Sender<Answer>)>,
    pub(crate) next_token: u64,
    /// Connections that were ended because their policy wants it.
    pub(crate) n_ended: u64,
    /// Whether programs were loaded that no device has needed.
    pub(crate) is_complete: bool,
}

impl Shell {
    /// Runs until somebody asks to stop. Enforcement stays as it is then.
    ///
    /// # Errors
    /// The API socket or the signals are not available.
    pub(crate) async fn run(mut self, listener: UnixListener) -> anyhow::Result<()> {
        let paths = self.control.config().paths.clone();
        let config = self.config_path.clone();
        let listener = listener.try_into().context("take over the API socket")?;
        let (inputs, mut received) = mpsc::channel(QUEUE);
        tokio::spawn(watch::follow(paths, config, inputs.clone()));
        let attached = self.kernel.attached().into_iter().map(|one| one.ifindex).collect();
        tokio::spawn(links::follow(attached, inputs));
        // A queue of their own: who asks often delays nobody but others who ask.
        let (questions, mut asked) = mpsc::channel(QUEUE);
        tokio::spawn(api::serve(listener, questions));

        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        // Whoever has just been denied is asked about soon; nobody is while
        // nothing happens.
        let (mut pause, mut drain_at) = (DRAIN, Instant::now() + DRAIN);
        let mut summary = interval(SUMMARY);
        let mut prove = interval(PROVE);
        let mut reread = interval(REREAD);
        let mut alive = interval(service::alive_every().unwrap_or(Duration::from_secs(3_600)));
        for timer in [&mut summary, &mut prove, &mut reread, &mut alive] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer.reset();
        }
        loop {
            let due_ms = self.control.deadline_ms().map(|due| due.saturating_sub(clock::now_ms()));
            let due = Duration::from_millis(due_ms.unwrap_or(LONGEST_SLEEP_MS));
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.happened(Event::Reload),
                Some(input) = received.recv() => self.take(input),
                Some(asked) = asked.recv() => self.question(asked),
                () = sleep(due) => self.happened(Event::Tick),
                () = sleep_until(drain_at) => {
                    let is_quiet = self.drain() == 0;
                    pause = if is_quiet { (pause * 2).min(LONGEST_DRAIN) } else { DRAIN };
                    drain_at = Instant::now() + pause;
                }
                _ = summary.tick() => summarise(self.denied.summary()),
                _ = prove.tick() => self.prove(),
                _ = reread.tick() => self.take(Input::Files),
                _ = alive.tick() => service::alive(),
            }
        }
        service::stopping();
        // Written at every switch already; here for a disk that was full then.
        self.store_tally();
        tracing::info!("stopping; enforcement stays as it is");
        Ok(())
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.happened(event),
            Input::Files => {
                for origin in [Origin::Config, Origin::World, Origin::Policies] {
                    let event = self.read(origin);
                    self.happened(event);
                }
            }
            Input::Moved { names, taken } => {
                let snapshot = self.world.read_moved(&names);
                if taken.send(snapshot.is_some()).is_err() {
                    tracing::debug!("the watch has ended");
                }
                if let Some(snapshot) = snapshot {
                    self.happened(Event::World(Ok(snapshot)));
                }
            }
        }
    }

    /// Hands an event over and carries out everything that follows from it.
    fn happened(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.control.handle(clock::now_ms(), event);
            while let Some(effect) = self.control.next_effect() {
                events.extend(self.perform(effect));
            }
        }
    }

    /// Reads what an origin has now.
    pub(crate) fn read(&mut self, origin: Origin) -> Event {
        match origin {
            Origin::Config => Event::Config(files::read_file(&self.config_path)),
            Origin::Policies => Event::Policies(self.policies.read()),
            Origin::World => Event::World(self.world.read()),
        }
    }

    /// Questions about the kernel are answered here, the others by `control`, and
    /// nobody is answered who may not ask.
    fn question(&mut self, Asked { question, peer, sender }: Asked) {
        let change_group = self.control.config().change_group.as_deref();
        let (uid, verb) = (peer.uid, question.name());
        if let Err(why) = self.access.judge(&peer, question, change_group, &Groups::read()) {
            tracing::warn!(uid, verb, "not permitted");
            answer::send(sender, Err(Refusal::NotPermitted(why)));
            return;
        }
        if question.right() == Right::Change {
            tracing::info!(uid, verb, "asked");
        }
        if question == Question::Audit {
            self.drain();
        }
        let request = match question {
            Question::Connections => {
                let listing = Arc::clone(&self.listing);
                // A second of work must not hold up files and devices. One at a
                // time; whoever has left meanwhile needs none.
                spawn_blocking(move || {
                    let listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
                    if !sender.is_closed() {
                        answer::send(sender, answer::connections(&listing));
                    }
                });
                return;
            }
            Question::Status => Request::Status,
            Question::Rules => Request::Rules,
            Question::Links => Request::Links,
            Question::Audit => Request::Audit,
            Question::SetAudit(on) => Request::SetAudit(on),
            Question::Reload => Request::Reload,
        };
        let token = Token(self.next_token);
        self.next_token = self.next_token.wrapping_add(1);
        self.asked.insert(token, (question, sender));
        self.happened(Event::Request { token, request });
    }

    /// Records bypass `control`: a flood of denials must not delay policy. The
    /// rest of a flood waits for the next turn. Gives their number.
    fn drain(&mut self) -> usize {
        let mut n_records = 0;
        for record in self.records.by_ref().take(DRAIN_AT_ONCE) {
            self.denied.take(&record);
            n_records += 1;
        }
        n_records
    }

    fn prove(&mut self) {
        if !std::mem::replace(&mut self.is_complete, true) {
            if let Err(error) = self.kernel.complete() {
                tracing::warn!(why = chain(error), "not every kind of device can be filtered");
            }
            self.prepare();
        }
        let attached = self.kernel.attached().into_iter();
        let whole = attached.filter(|one| one.ingress.program.and(one.egress.program).is_some());
        self.happened(Event::Proof(Ok(whole.map(|one| one.ifindex).collect())));
    }
}

fn summarise(Summary { dropped, audited }: Summary) {
    if dropped > 0 {
        tracing::info!(reports = dropped, "denied");
    }
    if audited > 0 {
        tracing::info!(reports = audited, "would be denied");
    }
}

const QUEUE: usize = 64;
const DRAIN: Duration = Duration::from_millis(20);
const DRAIN_AT_ONCE: usize = 4096;
/// What the ring holds in this time is little at first: a budget of each second
/// bounds what is reported.
const LONGEST_DRAIN: Duration = Duration::from_millis(500);
const SUMMARY: Duration = Duration::from_secs(1);
/// Somebody who removes our programs is noticed within this time.
const PROVE: Duration = Duration::from_secs(10);
/// A change that the watch missed is noticed within this time.
const REREAD: Duration = Duration::from_secs(30);
const LONGEST_SLEEP_MS: u64 = 60_000;
