//! Notices that files may have changed. Which, and what they contain, is found
//! out by reading everything again: the watch is a wake-up, not a message.
//!
//! One thing need not wait until writing settles: a file that is moved into the
//! directory of the world is whole, and nobody writes several at once to say one
//! thing, as with policies.

use std::{
    collections::BTreeSet,
    fs, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hostfw_control::Paths;
use hostfw_policy::FileName;
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use tokio::{
    sync::{Notify, mpsc::Sender, oneshot},
    time::timeout,
};

use crate::shell::Input;

/// Sends [`Input::Files`] at the start and whenever something near the paths
/// may have changed, and [`Input::Moved`] where that is enough.
pub(crate) async fn follow(paths: Paths, config: String, inputs: Sender<Input>) {
    let noticed = Arc::new(Noticed::default());
    let Paths { policies, cluster, .. } = paths;
    let watched = [policies, cluster.clone(), config];
    loop {
        // A watch holds on to what was there when it began, so each turn makes
        // a new one, and reads only after it is made: nothing is missed.
        let places = Places::new(&watched, &cluster);
        let watcher = watch(places, &noticed);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched and read every 30 s instead");
        }
        if inputs.send(Input::Files).await.is_err() {
            return;
        }
        let (mut is_due, mut is_whole, mut n_waits) = (false, true, 0);
        loop {
            let wake = noticed.wake.notified();
            if !is_due {
                wake.await;
            } else if n_waits == LONGEST_DEBOUNCE || timeout(DEBOUNCE, wake).await.is_err() {
                break;
            }
            n_waits += u32::from(is_due);
            let Changes { moved, others } = mem::take(&mut *noticed.changes());
            is_whole &= !others;
            is_due |= !is_whole || !are_taken(moved, &inputs).await;
        }
    }
}

/// Hands over the names of files that were moved into place; true when they
/// were all that had changed, and nothing else is to be read.
async fn are_taken(names: BTreeSet<String>, inputs: &Sender<Input>) -> bool {
    if names.is_empty() {
        return false;
    }
    let (taken, answer) = oneshot::channel();
    inputs.send(Input::Moved { names, taken }).await.is_ok() && answer.await.unwrap_or(false)
}

/// What the watch has seen since somebody asked.
#[derive(Debug, Default)]
struct Noticed {
    wake: Notify,
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    /// Names of documents that were moved into the directory of the world.
    moved: BTreeSet<String>,
    /// Whether anything else has happened that may be half of a change.
    others: bool,
}

impl Noticed {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event; a lost one may have been anything.
    fn take(&self, event: notify::Result<Event>, places: &Places) {
        let Event { kind, paths, .. } = event.unwrap_or_default();
        let is_written = kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
        // Our own reading must not wake us, nor a log that somebody keeps beside
        // the directories.
        let is_read = matches!(kind, EventKind::Access(_)) && !is_written;
        if is_read || (!paths.is_empty() && paths.iter().all(|path| places.is_beside(path))) {
            return;
        }
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_temporary = |path: &PathBuf| FileName::of(&name(path)) == FileName::Temporary;
        let is_in_world = |path: &&PathBuf| {
            path.parent().is_some_and(|parent| places.worlds.contains(parent))
                && FileName::of(&name(path)) == FileName::Document
        };
        match (kind, paths.as_slice()) {
            // The same once more, after both of its halves.
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), _) => {}
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), [path]) if is_in_world(&path) => {
                self.changes().moved.insert(name(path));
            }
            (_, []) => self.changes().others = true,
            (_, paths) => self.changes().others |= !paths.iter().all(is_temporary),
        }
        self.wake.notify_one();
    }
}

fn watch(places: Places, noticed: &Arc<Noticed>) -> notify::Result<impl Watcher + use<>> {
    let (watched, noticed) = (places.watched(), Arc::clone(noticed));
    let mut watcher = notify::recommended_watcher(move |event| noticed.take(event, &places))?;
    for place in watched {
        // One that is missing is seen to appear by the watch on its parent.
        if let Err(error) = watcher.watch(&place, RecursiveMode::NonRecursive) {
            tracing::debug!(path = %place.display(), %error, "not watched");
        }
    }
    Ok(watcher)
}

/// Where to look, each place under its own name and under that which it resolves
/// to.
struct Places {
    /// The files and directories that are read.
    read: BTreeSet<PathBuf>,
    /// The directory of the world.
    worlds: BTreeSet<PathBuf>,
}

impl Places {
    fn new(paths: &[String], world: &str) -> Self {
        let both = |path: &str| [Some(PathBuf::from(path)), fs::canonicalize(path).ok()];
        let of = |path: &str| both(path).into_iter().flatten().collect::<Vec<_>>();
        Self {
            read: paths.iter().flat_map(|path| of(path)).collect(),
            worlds: of(world).into_iter().collect(),
        }
    }

    /// Directories, and the parents of everything: a file is replaced in its
    /// directory, a directory behind a link is replaced in its parent.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let directories = self.read.iter().filter(|place| place.is_dir());
        let parents = self.read.iter().filter_map(|place| place.parent());
        let parents = parents.filter(|parent| !parent.as_os_str().is_empty());
        directories.map(PathBuf::as_path).chain(parents).map(Path::to_owned).collect()
    }

    /// Whether a path is that of a file beside what is read. Links and
    /// directories there may lead to it.
    fn is_beside(&self, path: &Path) -> bool {
        let is_in = path.parent().is_some_and(|parent| self.read.contains(parent));
        !is_in
            && !self.read.contains(path)
            && fs::symlink_metadata(path).is_ok_and(|status| status.is_file())
    }
}

const DEBOUNCE: Duration = Duration::from_millis(50);
/// Turns of [`DEBOUNCE`]: a file that is written all the time is read anyway.
const LONGEST_DEBOUNCE: u32 = 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{files::Directory, scratch::Scratch};

    fn paths(scratch: &Scratch, policies: &str) -> Paths {
        let (policies, cluster) = (scratch.path(policies), scratch.path("cluster.d"));
        Paths { policies, cluster, ..Paths::default() }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_way_to_change_a_directory_is_noticed() {
        let scratch = Scratch::new();
        for release in ["one", "two"] {
            fs::create_dir(scratch.path(release)).expect("created");
        }
        symlink("one", scratch.path("current")).expect("linked");
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        let paths = paths(&scratch, "current");
        let task = tokio::spawn(follow(paths, scratch.path("no.yaml"), sender));
        let mut noticed = async || {
            let input = timeout(Duration::from_secs(5), inputs.recv()).await;
            assert!(matches!(input, Ok(Some(Input::Files))));
        };
        noticed().await;

        scratch.write("one/a.yaml", "new");
        noticed().await;
        scratch.write("one/a.yaml", "changed");
        noticed().await;
        scratch.write("one/next", "renamed");
        fs::rename(scratch.path("one/next"), scratch.path("one/a.yaml")).expect("renamed");
        noticed().await;
        fs::remove_file(scratch.path("one/a.yaml")).expect("removed");
        noticed().await;
        symlink("two", scratch.path("next")).expect("linked");
        fs::rename(scratch.path("next"), scratch.path("current")).expect("swapped");
        noticed().await;
        scratch.write("two/a.yaml", "in the new directory");
        noticed().await;
        fs::remove_dir_all(scratch.path("two")).expect("removed");
        noticed().await;
        fs::create_dir(scratch.path("two")).expect("created");
        noticed().await;
        scratch.write("two/a.yaml", "after it came back");
        noticed().await;
        task.abort();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_is_moved_into_the_world_is_told_at_once() {
        let scratch = Scratch::new();
        for folder in ["policies.d", "cluster.d"] {
            fs::create_dir(scratch.path(folder)).expect("created");
        }
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        let paths = paths(&scratch, "policies.d");
        let task = tokio::spawn(follow(paths, scratch.path("no.yaml"), sender));
        let mv = |to: &str| {
            scratch.write("next.tmp", "text");
            fs::rename(scratch.path("next.tmp"), scratch.path(to)).expect("renamed");
        };
        let mut next = async || timeout(Duration::from_secs(5), inputs.recv()).await;
        assert!(matches!(next().await, Ok(Some(Input::Files))));

        mv("cluster.d/a.yaml");
        let Ok(Some(Input::Moved { names, taken })) = next().await else { panic!("a move") };
        assert_eq!(names, ["a.yaml".to_owned()].into());
        taken.send(true).expect("awaited");
        // What it left in the parent is settled by reading everything.
        assert!(matches!(next().await, Ok(Some(Input::Files))));

        mv("policies.d/a.yaml");
        assert!(matches!(next().await, Ok(Some(Input::Files))), "policies are read together");
        scratch.write("cluster.d/b.yaml", "written in place");
        mv("cluster.d/a.yaml");
        assert!(matches!(next().await, Ok(Some(Input::Files))), "the other may be half a file");
        mv("cluster.d/a.yaml");
        let Ok(Some(Input::Moved { taken, .. })) = next().await else { panic!("a move") };
        taken.send(false).expect("awaited");
        assert!(matches!(next().await, Ok(Some(Input::Files))), "somebody could not tell");
        task.abort();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn reading_wakes_nobody() {
        // One level down: other tests come and go beside the scratch directory.
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("policies.d")).expect("created");
        scratch.write("policies.d/a.yaml", "text");
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        let paths = paths(&scratch, "policies.d");
        let task = tokio::spawn(follow(paths, scratch.path("no.yaml"), sender));
        assert!(inputs.recv().await.is_some());
        Directory::new(&scratch.path("policies.d")).read().expect("readable");
        assert!(timeout(Duration::from_millis(300), inputs.recv()).await.is_err());
        task.abort();
    }
}
