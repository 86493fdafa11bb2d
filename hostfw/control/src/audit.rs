//! Audit mode: what the configuration says, what was asked at run time, and
//! which of the two holds. A request at run time holds, over restarts too,
//! until the value in the configuration itself changes.

use crate::retry::Progress;

/// Audit mode as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditState {
    /// True when what no rule allows passes and is reported.
    pub on: bool,
    /// Who said so.
    pub source: AuditSource,
    /// Since when, on the clock of the events.
    pub since_ms: u64,
}

/// Who decided on audit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSource {
    /// The configuration.
    Config,
    /// A request at run time.
    Runtime,
}

/// A request at run time as it is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAudit {
    /// What was asked.
    pub on: bool,
    /// What the configuration said at that moment.
    pub configured: bool,
    /// When, on the clock of the events.
    pub since_ms: u64,
}

/// Spec and record of audit mode.
#[derive(Debug)]
pub(crate) struct Audit {
    configured: bool,
    configured_since_ms: u64,
    runtime: Option<StoredAudit>,
    /// Whether the disk says what `runtime` says.
    pub(crate) store: Progress,
    /// True once somebody asked since the start: such a wish reaches even a
    /// generation that was adopted from an earlier daemon.
    asked: bool,
}

impl Audit {
    pub(crate) fn new(now_ms: u64, configured: bool, stored: Option<StoredAudit>) -> Self {
        let runtime = stored.filter(|stored| stored.configured == configured);
        let store = if runtime == stored { Progress::Done } else { Progress::Open };
        Self { configured, configured_since_ms: now_ms, runtime, store, asked: false }
    }

    pub(crate) fn ask(&mut self, now_ms: u64, on: bool) {
        self.asked = true;
        if self.runtime.is_none_or(|runtime| runtime.on != on) {
            self.runtime = Some(StoredAudit { on, configured: self.configured, since_ms: now_ms });
            self.store = Progress::Open;
        }
    }

    pub(crate) fn configure(&mut self, now_ms: u64, configured: bool) {
        if configured != self.configured {
            self.configured = configured;
            self.configured_since_ms = now_ms;
            self.asked = true;
            if self.runtime.take().is_some() {
                self.store = Progress::Open;
            }
        }
    }

    pub(crate) fn was_asked(&self) -> bool {
        self.asked
    }

    pub(crate) fn to_store(&self) -> Option<StoredAudit> {
        self.runtime
    }

    pub(crate) fn state(&self) -> AuditState {
        match self.runtime {
            Some(StoredAudit { on, since_ms, .. }) => {
                AuditState { on, source: AuditSource::Runtime, since_ms }
            }
            None => AuditState {
                on: self.configured,
                source: AuditSource::Config,
                since_ms: self.configured_since_ms,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_at_run_time_survives_a_restart() {
        let mut audit = Audit::new(0, false, None);
        audit.ask(5, true);
        let again = Audit::new(100, false, audit.to_store());
        assert_eq!(
            again.state(),
            AuditState { on: true, source: AuditSource::Runtime, since_ms: 5 }
        );
        assert_eq!(again.store, Progress::Done);
    }

    #[test]
    fn a_changed_configuration_wins_even_when_it_changed_while_the_daemon_was_down() {
        let mut audit = Audit::new(0, false, None);
        audit.ask(5, false);
        let stored = audit.to_store();
        audit.configure(6, true);
        assert_eq!(audit.state().source, AuditSource::Config);
        assert!(audit.state().on && audit.to_store().is_none());

        let again = Audit::new(100, true, stored);
        assert!(again.state().on);
        assert_eq!(again.store, Progress::Open, "the outdated request is removed from the disk");
    }

    #[test]
    fn an_unchanged_configuration_leaves_the_request_alone() {
        let mut audit = Audit::new(0, true, None);
        audit.ask(5, false);
        audit.configure(6, true);
        assert!(!audit.state().on);
    }
}
