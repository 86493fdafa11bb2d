//! Notices that files may have changed. Which, and what they contain, is found
//! out by reading everything again: the watch is a wake-up, not a message.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{Notify, mpsc::Sender},
    time::timeout,
};

use crate::shell::Input;

/// Sends [`Input::Files`] at the start and whenever something near the paths
/// may have changed.
pub(crate) async fn follow(paths: Vec<String>, inputs: Sender<Input>) {
    let changed = Arc::new(Notify::new());
    loop {
        // A watch holds on to what was there when it began, so each turn makes
        // a new one, and reads only after it is made: nothing is missed.
        let watcher = watch(&paths, &changed);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched and read every 30 s instead");
        }
        if inputs.send(Input::Files).await.is_err() {
            return;
        }
        changed.notified().await;
        for _ in 0..LONGEST_DEBOUNCE {
            if timeout(DEBOUNCE, changed.notified()).await.is_err() {
                break;
            }
        }
    }
}

fn watch(paths: &[String], changed: &Arc<Notify>) -> notify::Result<impl Watcher + use<>> {
    let changed = Arc::clone(changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading must not wake us; a lost event must.
        let kind = event.map_or(EventKind::Any, |event| event.kind);
        let is_written = kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
        if is_written || !matches!(kind, EventKind::Access(_)) {
            changed.notify_one();
        }
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

const DEBOUNCE: Duration = Duration::from_millis(50);
/// Turns of [`DEBOUNCE`]: a file that is written all the time is read anyway.
const LONGEST_DEBOUNCE: u32 = 10;

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
