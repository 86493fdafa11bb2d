//! A directory of files as one transaction: either every file of a snapshot
//! reads cleanly and the snapshot is offered to the compiler, or nothing of it
//! is. What the files mean is the policy crate's; how they are read from the
//! disk is the shell's.

use std::sync::Arc;

use hostfw_policy::{Complaint, Severity, Source};

/// What the shell reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file.
    Config,
    /// The directory of policies.
    Policies,
    /// The directory of nodes, pods, namespaces and CIDR groups.
    World,
}

/// A whole directory at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every file that counts, in the order of the paths.
    pub sources: Vec<Source>,
    /// Files that do not count.
    pub ignored: Vec<Ignored>,
}

/// A file that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub path: String,
    /// Why, as a lowercase fragment.
    pub why: String,
}

/// Why a file or directory could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFailure {
    /// The file or directory.
    pub path: String,
    /// What the system said.
    pub why: String,
    /// True when what was to be read, the file or the whole directory, is not there
    /// at all.
    pub missing: bool,
}

impl ReadFailure {
    /// The failure in the form of a complaint about a text.
    pub(crate) fn complaint(&self) -> Complaint {
        Complaint {
            path: self.path.clone(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            code: "unreadable",
            what: format!("cannot be read: {}", self.why),
            instead: if self.missing {
                "make it again, and leave it empty if nothing is meant to be in it".into()
            } else {
                String::new()
            },
            excerpt: String::new(),
        }
    }
}

/// A snapshot that read cleanly.
#[derive(Debug)]
pub(crate) struct Texts<T> {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) parsed: T,
    pub(crate) warnings: Vec<Complaint>,
}

/// Why the newest snapshot does not count.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) since_ms: u64,
    pub(crate) complaints: Vec<Complaint>,
    settling: Settling,
}

/// A refused snapshot may be a file caught half written, so it is read once
/// more before anybody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settling {
    Until(u64),
    Reading,
    Told,
}

/// The newest snapshot of a directory and the newest that read cleanly.
#[derive(Debug)]
pub(crate) struct Directory<T> {
    newest: Option<Result<Arc<Snapshot>, ReadFailure>>,
    offered: Option<Arc<Texts<T>>>,
    refusal: Option<Refusal>,
}

impl<T> Directory<T> {
    /// Nothing was read yet.
    pub(crate) const fn new() -> Self {
        Self { newest: None, offered: None, refusal: None }
    }

    /// Takes a snapshot. Gives the complaints that are now certain. `read` gets
    /// the files of this snapshot and those of the one before.
    pub(crate) fn take(
        &mut self,
        now_ms: u64,
        newest: Result<Snapshot, ReadFailure>,
        read: impl FnOnce(&[Source], &[Source]) -> (T, Vec<Complaint>),
    ) -> Option<&[Complaint]> {
        let newest = newest.map(Arc::new);
        let unchanged = self.newest.as_ref() == Some(&newest);
        if !unchanged {
            let complaints = match &newest {
                Ok(snapshot) => {
                    let before = match &self.newest {
                        Some(Ok(before)) => before.sources.as_slice(),
                        Some(Err(_)) | None => &[],
                    };
                    let (parsed, complaints) = read(&snapshot.sources, before);
                    if complaints.iter().any(|one| one.severity == Severity::Error) {
                        Some(complaints)
                    } else {
                        let snapshot = Arc::clone(snapshot);
                        let texts = Texts { snapshot, parsed, warnings: complaints };
                        self.offered = Some(Arc::new(texts));
                        None
                    }
                }
                Err(failure) => Some(vec![failure.complaint()]),
            };
            self.newest = Some(newest);
            self.refusal = complaints.map(|complaints| match self.refusal.take() {
                None => Refusal {
                    since_ms: now_ms,
                    complaints,
                    settling: Settling::Until(now_ms.saturating_add(SETTLE_MS)),
                },
                Some(old) => {
                    let settling = if old.settling == Settling::Told {
                        Settling::Reading
                    } else {
                        old.settling
                    };
                    Refusal { since_ms: old.since_ms, complaints, settling }
                }
            });
        }
        let refusal = self.refusal.as_mut()?;
        if refusal.settling != Settling::Reading {
            return None;
        }
        refusal.settling = Settling::Told;
        Some(&refusal.complaints)
    }

    /// True when a refused snapshot is to be read once more now.
    pub(crate) fn reread(&mut self, now_ms: u64) -> bool {
        match &mut self.refusal {
            Some(Refusal { settling, .. }) => match *settling {
                Settling::Until(due_ms) if due_ms <= now_ms => {
                    *settling = Settling::Reading;
                    true
                }
                Settling::Until(_) | Settling::Reading | Settling::Told => false,
            },
            None => false,
        }
    }

    pub(crate) fn offered(&self) -> Option<&Arc<Texts<T>>> {
        self.offered.as_ref()
    }

    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// True when somebody was told that the newest snapshot is refused.
    pub(crate) fn was_told(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.settling == Settling::Told)
    }

    /// True once any snapshot arrived, and a refused one was read twice.
    pub(crate) fn is_settled(&self) -> bool {
        self.newest.is_some()
            && self.refusal.as_ref().is_none_or(|refusal| refusal.settling == Settling::Told)
    }

    pub(crate) fn ignored(&self) -> &[Ignored] {
        match &self.newest {
            Some(Ok(snapshot)) => &snapshot.ignored,
            Some(Err(_)) | None => &[],
        }
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self.refusal.as_ref()?.settling {
            Settling::Until(due_ms) => Some(due_ms),
            Settling::Reading | Settling::Told => None,
        }
    }
}

/// Editors and copies finish a file well within this time.
const SETTLE_MS: u64 = 300;
