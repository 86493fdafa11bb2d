//! The local API: who is connected, how many may be, and what they ask of the
//! shell, which answers. What a report says is not known here.
//!
//! A client gets one answer and a bounded time for it, so that none can hold up
//! the daemon or the clients of others, whatever it sends or leaves out.

mod access;
mod peer;
mod room;

mod request;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::{mpsc::Sender, oneshot},
    task::JoinHandle,
    time::sleep,
};

pub use self::{
    access::{Access, Groups, Right},
    peer::Peer,
    request::converse,
    room::Room,
};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The state of the node.
    Status,
    /// Rules and counters.
    Rules,
    /// Devices.
    Links,
    /// The connection tables.
    Connections,
    /// The audit mode, and what was denied.
    Audit,
    /// To change the audit mode.
    SetAudit(bool),
    /// To read every file again.
    Reload,
}

impl Question {
    /// As `hostfw` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Rules => "rules",
            Self::Links => "links",
            Self::Connections => "connections",
            Self::Audit => "audit report",
            Self::SetAudit(true) => "audit on",
            Self::SetAudit(false) => "audit off",
            Self::Reload => "reload",
        }
    }

    /// What it takes to ask it.
    pub const fn right(self) -> Right {
        match self {
            Self::Status | Self::Rules | Self::Links | Self::Connections | Self::Audit => {
                Right::Read
            }
            Self::SetAudit(_) | Self::Reload => Right::Change,
        }
    }
}

/// A question on its way to the shell.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Who asks.
    pub peer: Peer,
    /// Where the answer goes; who asked may have left.
    pub sender: oneshot::Sender<Answer>,
}

/// What a request is answered with: a report in JSON, or why there is none.
pub type Answer = Result<Vec<u8>, Refusal>;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This peer may not ask that.
    NotPermitted(String),
    /// It did not work.
    Failed(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Opens the socket. A socket that nobody answers on is a leftover; one that
/// somebody does is why this comes before anything is done to the kernel.
///
/// # Errors
/// Another daemon answers, or the socket cannot be made.
pub fn open(run_directory: &str) -> anyhow::Result<(UnixListener, Access)> {
    fs::create_dir_all(run_directory).with_context(|| format!("create {run_directory}"))?;
    let path = socket(run_directory);
    let name = path.display();
    if UnixStream::connect(&path).is_ok() {
        bail!("another hostfwd answers on {name}");
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {name}"));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("open {name}"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("protect {name}"))?;
    listener.set_nonblocking(true).with_context(|| format!("open {name}"))?;
    let owner = fs::metadata(&path).with_context(|| format!("look at {name}"))?;
    Ok((listener, Access { own_uid: owner.uid(), read_gid: owner.gid() }))
}

/// Removes the socket; nobody answers on it any more.
pub fn close(run_directory: &str) {
    if let Err(error) = fs::remove_file(socket(run_directory)) {
        tracing::debug!(%error, "the API socket stays");
    }
}

fn socket(run_directory: &str) -> PathBuf {
    Path::new(run_directory).join("api.sock")
}

/// Answers whoever connects, for as long as the daemon runs.
pub async fn serve(listener: tokio::net::UnixListener, questions: Sender<Asked>) {
    let mut open: Vec<Open> = Vec::new();
    let room = Room::default();
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            let peer = Peer::of(&stream)?;
            Ok((stream, peer))
        });
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a client of the API cannot be taken");
                sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|one| !one.task.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(one) = superfluous(&open)
        {
            open.remove(one).task.abort();
        }
        let uid = peer.uid;
        let task = tokio::spawn(converse(stream, peer, questions.clone(), room.clone()));
        open.push(Open { uid, task });
    }
}

/// A connection, the oldest first in every list.
struct Open {
    uid: u32,
    task: JoinHandle<()>,
}

/// The connection that gives way to a new one: the oldest of the user who has
/// most, so that nobody can push out others by connecting often.
fn superfluous(open: &[Open]) -> Option<usize> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for one in open {
        *counts.entry(one.uid).or_default() += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    open.iter().position(|one| one.uid == most)
}

/// More than operators and monitoring use at once. Each may hold one small answer
/// in memory.
const MAX_CONNECTIONS: usize = 64;
/// Between two tries while there are no file descriptors, for instance.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_user_with_most_connections_gives_way() {
        let open = |uids: &[u32]| {
            let task = || tokio::spawn(std::future::pending());
            uids.iter().map(|uid| Open { uid: *uid, task: task() }).collect::<Vec<_>>()
        };
        assert_eq!(superfluous(&open(&[0, 1_000, 1_001, 1_000])), Some(1));
        assert_eq!(superfluous(&open(&[0, 0, 1_000])), Some(0));
        assert_eq!(superfluous(&[]), None);
    }

    #[test]
    fn only_what_changes_something_takes_the_right_to_change() {
        use Question::{Audit, Connections, Links, Reload, Rules, SetAudit, Status};
        for question in [Status, Rules, Links, Connections, Audit] {
            assert_eq!(question.right(), Right::Read, "{}", question.name());
        }
        for question in [SetAudit(true), SetAudit(false), Reload] {
            assert_eq!(question.right(), Right::Change, "{}", question.name());
        }
    }
}
