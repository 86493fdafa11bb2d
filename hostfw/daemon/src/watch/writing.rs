//! Whether those who write are done, as far as events say it: which of them are
//! about something that is read, and which files have been opened for writing,
//! or taken away, and not come back yet. It knows neither clocks nor files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use hostfw_policy::FileName;
use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode},
};

/// The paths that are read, and what they resolve to: any change of these names,
/// or of a name inside them, may matter. Their neighbours do not.
#[derive(Clone, Debug)]
pub(super) struct Concern(BTreeSet<PathBuf>);

impl Concern {
    pub(super) fn new(paths: &[String]) -> Self {
        let given = paths.iter().map(PathBuf::from);
        let resolved = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
        Self(given.chain(resolved).collect())
    }

    fn is_about(&self, path: &Path) -> bool {
        self.0.contains(path) || path.parent().is_some_and(|parent| self.0.contains(parent))
    }

    /// Whether nobody reads a file of this name.
    fn leaves_out(&self, path: &Path) -> bool {
        !self.0.contains(path)
            && path
                .file_name()
                .is_some_and(|name| FileName::of(&name.to_string_lossy()) == FileName::Temporary)
    }
}

/// What has been seen since everything was read last.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Files of which more is to be expected.
    unfinished: BTreeSet<PathBuf>,
    /// Something happened that does not say when it is over.
    vague: bool,
}

impl Writing {
    /// Takes an event; true when it may matter to what is read.
    pub(super) fn take(&mut self, event: &notify::Result<Event>, concern: &Concern) -> bool {
        let Ok(event) = event else { return self.vaguely() };
        if event.paths.is_empty() {
            // Events were lost.
            return self.vaguely();
        }
        let mut matters = false;
        for path in event.paths.iter().filter(|path| concern.is_about(path)) {
            matters |= self.take_one(event.kind, path, concern.leaves_out(path));
        }
        matters
    }

    /// True when every file that was touched was closed or renamed into place.
    pub(super) fn is_done(&self) -> bool {
        !self.vague && self.unfinished.is_empty()
    }

    fn take_one(&mut self, kind: EventKind, path: &Path, is_temporary: bool) -> bool {
        match kind {
            // What is put in place under a hidden name may be the link behind
            // which all files are.
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.unfinished.remove(path);
            }
            // It follows the events about either name.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {}
            _ if is_temporary => {
                return kind == EventKind::Remove(RemoveKind::Folder) && self.vaguely();
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.unfinished.remove(path);
            }
            // Our own reading must not wake us.
            EventKind::Access(_) => return false,
            EventKind::Create(CreateKind::File)
            | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Name(RenameMode::From))
            | EventKind::Remove(RemoveKind::File) => {
                self.unfinished.insert(path.to_owned());
            }
            EventKind::Any
            | EventKind::Other
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_) => return self.vaguely(),
        }
        true
    }

    fn vaguely(&mut self) -> bool {
        self.vague = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write,
        sync::mpsc::{Receiver, channel},
        time::Duration,
    };

    use notify::{RecursiveMode, Watcher};

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_that_is_renamed_into_place_is_done() {
        let mut seen = Seen::new();
        seen.scratch.write("policies.d/.a.yaml.new", "text");
        fs::rename(seen.path(".a.yaml.new"), seen.path("a.yaml")).expect("renamed");
        assert_eq!(seen.outcome(), (true, true));
    }

    #[test]
    fn a_file_that_is_written_and_closed_is_done() {
        let mut seen = Seen::new();
        seen.scratch.write("policies.d/a.yaml", "text");
        assert_eq!(seen.outcome(), (true, true));
    }

    #[test]
    fn a_file_that_is_still_open_is_not_done() {
        let mut seen = Seen::new();
        let mut file = File::create(seen.path("a.yaml")).expect("created");
        assert_eq!(seen.outcome(), (true, false));
        file.write_all(b"half").expect("written");
        assert_eq!(seen.outcome(), (true, false));
        drop(file);
        assert_eq!(seen.outcome(), (true, true));
    }

    #[test]
    fn a_file_that_an_editor_moved_away_is_not_done_before_it_is_back() {
        let mut seen = Seen::new();
        seen.scratch.write("policies.d/a.yaml", "text");
        assert_eq!(seen.outcome(), (true, true));
        fs::rename(seen.path("a.yaml"), seen.path("a.yaml~")).expect("renamed");
        assert_eq!(seen.outcome(), (true, false));
        seen.scratch.write("policies.d/a.yaml", "new text");
        assert_eq!(seen.outcome(), (true, true));
        fs::remove_file(seen.path("a.yaml")).expect("removed");
        assert_eq!(seen.outcome(), (true, false));
    }

    #[test]
    fn one_file_that_is_done_says_nothing_about_another() {
        let mut seen = Seen::new();
        let _open = File::create(seen.path("a.yaml")).expect("created");
        seen.scratch.write("policies.d/b.yaml", "text");
        assert_eq!(seen.outcome(), (true, false));
    }

    #[test]
    fn neighbours_and_temporary_files_matter_to_nobody() {
        let mut seen = Seen::new();
        seen.scratch.write("notes.txt", "text");
        seen.scratch.write("other.yaml", "text");
        seen.scratch.write("policies.d/.a.yaml.swp", "text");
        fs::remove_file(seen.scratch.path("notes.txt")).expect("removed");
        assert_eq!(seen.outcome(), (false, true));
    }

    #[test]
    fn a_link_that_is_swapped_under_a_hidden_name_matters() {
        let mut seen = Seen::new();
        std::os::unix::fs::symlink("nowhere", seen.path("..data_tmp")).expect("linked");
        fs::rename(seen.path("..data_tmp"), seen.path("..data")).expect("swapped");
        assert_eq!(seen.outcome(), (true, true));
    }

    #[test]
    fn lost_events_matter_and_are_never_done() {
        for lost in [Err(notify::Error::generic("lost")), Ok(Event::new(EventKind::Other))] {
            let mut writing = Writing::default();
            assert!(writing.take(&lost, &Concern::new(&["/etc/hostfw".to_owned()])));
            assert!(!writing.is_done());
        }
    }

    /// Real events of a real directory.
    struct Seen {
        scratch: Scratch,
        concern: Concern,
        writing: Writing,
        events: Receiver<notify::Result<Event>>,
        _watcher: notify::RecommendedWatcher,
    }

    impl Seen {
        fn new() -> Self {
            let scratch = Scratch::new();
            fs::create_dir(scratch.path("policies.d")).expect("created");
            let (sender, events) = channel();
            let mut watcher = notify::recommended_watcher(sender).expect("a watch");
            for place in [scratch.text(), scratch.path("policies.d")] {
                watcher.watch(Path::new(&place), RecursiveMode::NonRecursive).expect("watched");
            }
            let concern = Concern::new(&[scratch.path("policies.d")]);
            Self { scratch, concern, writing: Writing::default(), events, _watcher: watcher }
        }

        fn path(&self, name: &str) -> String {
            self.scratch.path(&format!("policies.d/{name}"))
        }

        /// Whether anything mattered since the last call, and whether all of it
        /// is done.
        fn outcome(&mut self) -> (bool, bool) {
            let mut matters = false;
            while let Ok(event) = self.events.recv_timeout(Duration::from_millis(100)) {
                matters |= self.writing.take(&event, &self.concern);
            }
            (matters, self.writing.is_done())
        }
    }
}
