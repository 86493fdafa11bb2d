//! Directories and files as snapshots: which files count, and everything that
//! can be said about those that cannot be read. What they contain is not known
//! here.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hostfw_control::{Ignored, ReadFailure, Snapshot};
use hostfw_policy::{FileName, Source, text::MAX_FILE_BYTES};

/// Reads one file, whole.
///
/// # Errors
/// What the system said.
pub(crate) fn read_file(path: &str) -> Result<Source, ReadFailure> {
    let bytes = read_bytes(Path::new(path)).map_err(|error| failure(path, &error))?;
    Ok(Source { path: path.into(), bytes })
}

/// Reads a directory as one moment. It is resolved anew each time, because
/// configuration managers replace the directory behind a symbolic link; when it
/// changes while it is read, it is read again.
///
/// # Errors
/// A directory or a file in it that cannot be read: then nothing of it counts.
pub(crate) fn read_directory(path: &str) -> Result<Snapshot, ReadFailure> {
    let mut last = Err(failure(path, &io::Error::other("it changes all the time")));
    for _ in 0..ATTEMPTS {
        let before = Listing::read(path);
        let Ok(listing) = &before else {
            return before.map(|_| Snapshot::default());
        };
        let snapshot = listing.snapshot(path);
        if Listing::read(path) == before {
            return snapshot;
        }
        last = snapshot;
    }
    last
}

/// What a directory holds, precisely enough to notice a change.
#[derive(PartialEq)]
struct Listing {
    resolved: PathBuf,
    entries: Vec<Entry>,
}

#[derive(PartialEq)]
struct Entry {
    name: String,
    path: PathBuf,
    is_file: bool,
    length: u64,
    modified: Option<SystemTime>,
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
            // Of the target, not of the link. One that leads nowhere fails
            // when it is read, which is the honest answer.
            let status = fs::metadata(&path).ok();
            entries.push(Entry {
                name,
                path,
                is_file: status.as_ref().is_none_or(fs::Metadata::is_file),
                length: status.as_ref().map_or(0, fs::Metadata::len),
                modified: status.and_then(|status| status.modified().ok()),
            });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { resolved, entries })
    }

    fn snapshot(&self, directory: &str) -> Result<Snapshot, ReadFailure> {
        let mut snapshot = Snapshot::default();
        for entry in &self.entries {
            let path = format!("{}/{}", directory.trim_end_matches('/'), entry.name);
            let why = if FileName::of(&entry.name) != FileName::Document {
                "its name does not end in .yaml, .yml or .json"
            } else if !entry.is_file {
                "it is no regular file"
            } else {
                let bytes = read_bytes(&entry.path).map_err(|error| failure(&path, &error))?;
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
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
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
            assert_eq!(snapshot.sources[0].bytes, text.as_bytes());
            assert_eq!(snapshot.sources[0].path, scratch.path("current/a.yaml"));
        }
    }
}
