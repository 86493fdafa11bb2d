//! A directory of YAML files as the daemon reads it: the same names, the same
//! order, not recursive. It does not know what the files mean.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use anyhow::{Context, bail};
use hostfw_api::IgnoredFile;
use hostfw_policy::{FileName, Source, text::MAX_FILE_BYTES};

/// What a directory holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Files that are read, by name.
    pub(crate) sources: Vec<Source>,
    /// Files that are passed over and that an author should know of.
    pub(crate) ignored: Vec<IgnoredFile>,
}

/// Reads a directory, or one file by whatever name.
pub(crate) fn read(path: &Path) -> anyhow::Result<Listing> {
    let metadata = fs::metadata(path).with_context(|| format!("open {}", path.display()))?;
    if metadata.is_file() {
        return Ok(Listing { sources: vec![read_file(path)?], ignored: Vec::new() });
    }
    if !metadata.is_dir() {
        bail!("{} is neither a directory nor a file", path.display());
    }
    let listed = || format!("list {}", path.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(path).with_context(listed)? {
        names.push(entry.with_context(listed)?.file_name());
    }
    names.sort();
    let mut listing = Listing { sources: Vec::new(), ignored: Vec::new() };
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        if FileName::of(&shown) == FileName::Temporary {
            continue;
        }
        let file = path.join(&name);
        match reason_to_ignore(&shown, &file)? {
            None => listing.sources.push(read_file(&file)?),
            Some(why) => {
                let path = file.display().to_string();
                listing.ignored.push(IgnoredFile { path, why: why.to_owned() });
            }
        }
    }
    // A directory above the one that is meant would be accepted as one without
    // policies, and a pipeline would stay green for ever.
    let is_folder = |file: &&IgnoredFile| file.why == FOLDER;
    let folders: Vec<_> =
        listing.ignored.iter().filter(is_folder).map(|file| file.path.as_str()).collect();
    if listing.sources.is_empty() && !folders.is_empty() {
        let (path, folders) = (path.display(), folders.join(", "));
        bail!("nothing is read from {path}, as subdirectories are not: name one of {folders}");
    }
    Ok(listing)
}

const FOLDER: &str = "a directory";

/// Reads at most one byte more than a file may have: its size is refused by
/// whoever reads the text.
fn read_file(path: &Path) -> anyhow::Result<Source> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .with_context(|| format!("read {}", path.display()))?;
    Ok(Source::new(path.display().to_string(), bytes))
}

fn reason_to_ignore(name: &str, file: &Path) -> anyhow::Result<Option<&'static str>> {
    if FileName::of(name) != FileName::Document {
        let is_folder = fs::metadata(file).is_ok_and(|metadata| metadata.is_dir());
        return Ok(Some(if is_folder { FOLDER } else { "not .yaml, .yml or .json" }));
    }
    // A link that leads nowhere is no file to ignore: somebody misses it.
    let metadata = fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    let why = (!metadata.is_file()).then_some(if metadata.is_dir() {
        FOLDER
    } else {
        "not a regular file"
    });
    Ok(why)
}
