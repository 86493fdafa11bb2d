//! Notices that files may have changed. Which, and what they contain, is found
//! out by reading everything again: the watch is a wake-up, not a message.

mod writing;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use notify::{RecursiveMode, Watcher};
use tokio::{
    sync::{Notify, mpsc::Sender},
    time::{Instant, timeout},
};

use self::writing::{Concern, Writing};
use crate::shell::Input;

/// Sends [`Input::Files`] at the start and whenever something near the paths
/// may have changed.
pub(crate) async fn follow(paths: Vec<String>, inputs: Sender<Input>) {
    let changes = Arc::new(Changes::default());
    let mut last = None;
    loop {
        // A watch holds on to what was there when it began, so each turn makes
        // a new one, and reads only after it is made: nothing is missed.
        changes.forget();
        let watcher = watch(&paths, &changes);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched and read every 30 s instead");
        }
        if inputs.send(Input::Files).await.is_err() {
            return;
        }
        changes.noticed.notified().await;
        let is_alone = last.is_none_or(|last: Instant| last.elapsed() > DEBOUNCE);
        settle(&changes, is_alone).await;
        last = Some(Instant::now());
    }
}

/// Waits until nothing is written any more. A file that is closed or renamed
/// into place is whole and need not wait; what comes at the heels of another
/// change is one of many, and they are taken together.
async fn settle(changes: &Changes, is_alone: bool) {
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        let pause = if is_alone && changes.are_done() { WHOLE } else { DEBOUNCE };
        if timeout(pause, changes.noticed.notified()).await.is_err() {
            return;
        }
    }
}

/// What the thread of the watch tells.
#[derive(Default)]
struct Changes {
    writing: Mutex<Writing>,
    noticed: Notify,
}

impl Changes {
    fn take(&self, event: &notify::Result<notify::Event>, concern: &Concern) {
        let matters =
            self.writing.lock().unwrap_or_else(PoisonError::into_inner).take(event, concern);
        if matters {
            self.noticed.notify_one();
        }
    }

    fn are_done(&self) -> bool {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).is_done()
    }

    fn forget(&self) {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = Writing::default();
    }
}

fn watch(paths: &[String], changes: &Arc<Changes>) -> notify::Result<impl Watcher + use<>> {
    let changes = Arc::clone(changes);
    let concern = Concern::new(paths);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        changes.take(&event, &concern);
    })?;
    for place in places(paths) {
        // One that is missing is seen to appear by the watch on its parent.
        if let Err(error) = watcher.watch(&place, RecursiveMode::NonRecursive) {
            tracing::debug!(path = %place.display(), %error, "not watched");
        }
    }
    Ok(watcher)
}

/// The path, what it resolves to, and the parents of both: a file is replaced
/// in its directory, a directory behind a link is replaced in its parent.
fn places(paths: &[String]) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    for path in paths.iter().map(Path::new) {
        let resolved = fs::canonicalize(path).ok();
        for place in [Some(path), resolved.as_deref()].into_iter().flatten() {
            if place.is_dir() {
                places.insert(place.to_owned());
            }
            if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                places.insert(parent.to_owned());
            }
        }
    }
    places
}

/// Whoever has more to write has written it within this time.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The events of one rename come together.
const WHOLE: Duration = Duration::from_millis(2);
/// A file that is written all the time is read anyway.
const LONGEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::Scratch;

    #[tokio::test(flavor = "current_thread")]
    async fn every_way_to_change_a_directory_is_noticed() {
        let scratch = Scratch::new();
        for release in ["one", "two"] {
            fs::create_dir(scratch.path(release)).expect("created");
        }
        symlink("one", scratch.path("current")).expect("linked");
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        let task = tokio::spawn(follow(vec![scratch.path("current")], sender));
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
    async fn reading_wakes_nobody() {
        // One level down: other tests come and go beside the scratch directory.
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("policies.d")).expect("created");
        scratch.write("policies.d/a.yaml", "text");
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        let task = tokio::spawn(follow(vec![scratch.path("policies.d")], sender));
        assert!(inputs.recv().await.is_some());
        crate::files::read_directory(&scratch.path("policies.d")).expect("readable");
        assert!(timeout(Duration::from_millis(300), inputs.recv()).await.is_err());
        task.abort();
    }
}
