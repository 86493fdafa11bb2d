//! Directories and files as snapshots: which files count, and everything that
//! can be said about those that cannot be read. What they contain is not known
//! here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hostfw_control::{Ignored, ReadFailure, Snapshot};
use hostfw_policy::{FileName, Source, text::MAX_FILE_BYTES};

/// Reads one file, whole.
///
/// # Errors
/// What the system said.
pub(crate) fn read_file(path: &str) -> Result<Source, ReadFailure> {
    let mut bytes = Vec::new();
    read_bytes(Path::new(path), &mut bytes).map_err(|error| failure(path, &error))?;
    Ok(Source::new(path, bytes))
}

/// A directory that is read again and again. What did not change keeps its bytes
/// where they are.
#[derive(Debug)]
pub(crate) struct Directory {
    path: String,
    /// What was read last, where that went well.
    last: Option<(Listing, Vec<Source>)>,
}

impl Directory {
    /// Nothing of it is read yet.
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.into(), last: None }
    }

    /// Reads it as one moment. It is resolved anew each time, because
    /// configuration managers replace the directory behind a symbolic link; when
    /// it changes while it is read, it is read again.
    ///
    /// # Errors
    /// A directory or a file in it that cannot be read: then nothing of it
    /// counts.
    pub(crate) fn read(&mut self) -> Result<Snapshot, ReadFailure> {
        let mut known = self.last.take().map(|(_, sources)| sources).unwrap_or_default();
        let mut last = Err(failure(&self.path, &io::Error::other("it changes all the time")));
        for _ in 0..ATTEMPTS {
            let listing = Listing::read(&self.path)?;
            last = listing.snapshot(&self.path, &known, |_| true);
            if let Ok(snapshot) = &last {
                known.clone_from(&snapshot.sources);
            }
            if Listing::read(&self.path).as_ref() == Ok(&listing) {
                self.last = last.is_ok().then_some((listing, known));
                break;
            }
        }
        last
    }

    /// Reads those files alone that were moved into it since it was read last;
    /// `None` unless they are all that the system says has changed.
    pub(crate) fn read_moved(&mut self, moved: &BTreeSet<String>) -> Option<Snapshot> {
        let (before, known) = self.last.as_ref()?;
        let listing = Listing::read(&self.path).ok()?;
        let has_changed = |entry: &Entry| !before.has(entry);
        let all_moved = |entries: &[Entry], others: &Listing| {
            entries.iter().all(|one| others.has(one) || moved.contains(&one.name))
        };
        if listing.resolved != before.resolved
            || !all_moved(&listing.entries, before)
            || !all_moved(&before.entries, &listing)
        {
            return None;
        }
        let snapshot = listing.snapshot(&self.path, known, has_changed).ok()?;
        if Listing::read(&self.path).as_ref() != Ok(&listing) {
            return None;
        }
        self.last = Some((listing, snapshot.sources.clone()));
        Some(snapshot)
    }
}

/// What a directory holds, precisely enough to notice a change.
#[derive(Debug, PartialEq)]
struct Listing {
    resolved: PathBuf,
    /// By name.
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    name: String,
    path: PathBuf,
    /// Of the target, not of the link. One that leads nowhere fails when it is
    /// read, which is the honest answer.
    status: Option<Status>,
}

/// What the system says of a file without opening it.
#[derive(Debug, PartialEq)]
struct Status {
    is_file: bool,
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same for its owner, its mode, and its place in directories.
    changed: (i64, i64),
}

impl From<Metadata> for Status {
    fn from(of: Metadata) -> Self {
        Self {
            is_file: of.is_file(),
            device: of.dev(),
            inode: of.ino(),
            length: of.len(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

impl Listing {
    fn read(path: &str) -> Result<Self, ReadFailure> {
        let failed = |error: io::Error| failure(path, &error);
        let resolved = fs::canonicalize(path).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(&resolved).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if FileName::of(&name) == FileName::Temporary {
                continue;
            }
            let status = fs::metadata(&path).ok().map(Status::from);
            entries.push(Entry { name, path, status });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { resolved, entries })
    }

    fn has(&self, entry: &Entry) -> bool {
        let found = self.entries.binary_search_by(|one| one.name.cmp(&entry.name));
        found.ok().and_then(|at| self.entries.get(at)) == Some(entry)
    }

    /// Reads the entries that are to be read; the others are as they are known.
    fn snapshot(
        &self,
        directory: &str,
        known: &[Source],
        is_read: impl Fn(&Entry) -> bool,
    ) -> Result<Snapshot, ReadFailure> {
        let known: BTreeMap<&str, &Arc<Vec<u8>>> =
            known.iter().map(|source| (source.path.as_str(), &source.bytes)).collect();
        let mut snapshot = Snapshot::default();
        let mut bytes = Vec::new();
        for entry in &self.entries {
            let path = format!("{}/{}", directory.trim_end_matches('/'), entry.name);
            let why = if FileName::of(&entry.name) != FileName::Document {
                "its name does not end in .yaml, .yml or .json"
            } else if entry.status.as_ref().is_some_and(|status| !status.is_file) {
                "it is no regular file"
            } else {
                let before = known.get(path.as_str()).copied();
                let same = match before.filter(|_| !is_read(entry)) {
                    Some(before) => Some(before),
                    None => {
                        bytes.clear();
                        // The directory is there, whatever is wrong with a file in it.
                        read_bytes(&entry.path, &mut bytes).map_err(|error| ReadFailure {
                            missing: false,
                            ..failure(&path, &error)
                        })?;
                        before.filter(|before| ***before == bytes)
                    }
                };
                let bytes = same.map_or_else(|| Arc::new(bytes.clone()), Arc::clone);
                snapshot.sources.push(Source { path, bytes });
                continue;
            };
            snapshot.ignored.push(Ignored { path, why: why.into() });
        }
        Ok(snapshot)
    }
}

/// Reads at most one byte more than a file may have, so that the reader of the
/// text refuses it by its size.
fn read_bytes(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(bytes)?;
    Ok(())
}

fn failure(path: &str, error: &io::Error) -> ReadFailure {
    let missing = error.kind() == io::ErrorKind::NotFound;
    ReadFailure { path: path.into(), why: error.to_string(), missing }
}

/// A directory that changes again and again is taken as it is; the next event
/// brings the next state.
const ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::Scratch;

    fn read_directory(path: &str) -> Result<Snapshot, ReadFailure> {
        Directory::new(path).read()
    }

    #[test]
    fn only_finished_policy_files_count_and_the_others_are_named() {
        let scratch = Scratch::new();
        for name in
            ["b.yaml", "a.yml", "c.json", ".a.yaml.swp", "a.yaml~", "4913", "#a.yaml#", "notes.txt"]
        {
            scratch.write(name, name);
        }
        fs::create_dir(scratch.path("sub.yaml")).expect("created");
        let snapshot = read_directory(&scratch.text()).expect("readable");
        let names: Vec<_> = snapshot
            .sources
            .iter()
            .map(|one| one.path.rsplit('/').next().expect("a name"))
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.json"]);
        let ignored: Vec<_> = snapshot.ignored.iter().map(|one| one.path.clone()).collect();
        assert_eq!(ignored, [scratch.path("notes.txt"), scratch.path("sub.yaml")]);
    }

    #[test]
    fn a_missing_directory_says_so_and_an_empty_one_is_fine() {
        let scratch = Scratch::new();
        assert_eq!(read_directory(&scratch.text()), Ok(Snapshot::default()));
        assert!(read_directory(&scratch.path("nothing")).expect_err("missing").missing);
        scratch.write("file", "");
        assert!(!read_directory(&scratch.path("file")).expect_err("no directory").missing);
    }

    #[test]
    fn a_link_that_leads_nowhere_refuses_the_whole_directory() {
        let scratch = Scratch::new();
        scratch.write("a.yaml", "a");
        symlink("nowhere", scratch.path("b.yaml")).expect("linked");
        let failure = read_directory(&scratch.text()).expect_err("incomplete");
        assert_eq!(failure.path, scratch.path("b.yaml"));
        assert!(!failure.missing, "the directory is there");
    }

    #[test]
    fn a_swapped_directory_is_read_in_its_new_state_under_its_own_name() {
        let scratch = Scratch::new();
        for (release, text) in [("one", "1"), ("two", "2")] {
            fs::create_dir(scratch.path(release)).expect("created");
            scratch.write(&format!("{release}/a.yaml"), text);
        }
        let current = scratch.path("current");
        for (release, text) in [("one", "1"), ("two", "2")] {
            symlink(release, scratch.path("next")).expect("linked");
            fs::rename(scratch.path("next"), &current).expect("swapped");
            let snapshot = read_directory(&current).expect("readable");
            assert_eq!(snapshot.sources[0].bytes.as_slice(), text.as_bytes());
            assert_eq!(snapshot.sources[0].path, scratch.path("current/a.yaml"));
        }
    }

    #[test]
    fn what_did_not_change_stays_where_it_is() {
        let scratch = Scratch::new();
        scratch.write("a.yaml", "a");
        scratch.write("b.yaml", "b");
        let mut directory = Directory::new(&scratch.text());
        let before = directory.read().expect("readable");
        scratch.write("b.yaml", "other");
        let after = directory.read().expect("readable");
        assert!(Arc::ptr_eq(&before.sources[0].bytes, &after.sources[0].bytes));
        assert_eq!(after.sources[1].bytes.as_slice(), b"other");
        // Written again with the same text: other times, the same bytes.
        scratch.write("b.yaml", "other");
        assert_eq!(directory.read(), Ok(after));
    }

    #[test]
    fn files_that_were_moved_into_place_are_read_alone() {
        let scratch = Scratch::new();
        let moved = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mv = |text: &str, to: &str| {
            scratch.write("next.tmp", text);
            fs::rename(scratch.path("next.tmp"), scratch.path(to)).expect("renamed");
        };
        scratch.write("a.yaml", "a");
        scratch.write("b.yaml", "b");
        let mut directory = Directory::new(&scratch.text());
        assert_eq!(directory.read_moved(&moved(&[])), None, "nothing is known yet");
        directory.read().expect("readable");

        mv("new", "b.yaml");
        mv("c", "c.yaml");
        assert_eq!(directory.read_moved(&moved(&["b.yaml"])), None, "another one has changed");
        let seen = directory.read_moved(&moved(&["b.yaml", "c.yaml"])).expect("all of them");
        assert_eq!(Ok(seen), read_directory(&scratch.text()));

        mv("newer", "b.yaml");
        scratch.write("a.yaml", "ha");
        assert_eq!(directory.read_moved(&moved(&["b.yaml"])), None, "it may be half of a file");
        directory.read().expect("readable");
        fs::remove_file(scratch.path("a.yaml")).expect("removed");
        mv("newest", "b.yaml");
        assert_eq!(directory.read_moved(&moved(&["b.yaml"])), None, "one is gone");
    }
}
