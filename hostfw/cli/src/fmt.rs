//! `hostfw policy fmt`: puts files into the canonical form. It knows how a file
//! is replaced without anybody seeing half of it; what the form is, the policy
//! package knows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use anyhow::{Context, bail};
use hostfw_policy::{Complaint, Severity, Source, fmt::format, text::MAX_FILE_BYTES};

use crate::{
    Outcome,
    arguments::{FmtWanted, Form},
    directory,
    failure::Failure,
    offline,
    render::{self, Page, page::printable},
};

/// Yes when every file could be read and, where it is only checked, is in the
/// form already. The text names the files that are not, or were not.
pub(crate) fn fmt(wanted: &FmtWanted, form: Form, page: &Page) -> anyhow::Result<Outcome> {
    if form != Form::Text {
        return Err(Failure::Usage("`policy fmt` prints text only".to_owned()).into());
    }
    if wanted.paths.iter().any(|path| path == Path::new("-")) {
        if wanted.paths.len() > 1 {
            return Err(Failure::Usage("`-` stands alone".to_owned()).into());
        }
        return standard_input(wanted.check);
    }
    // Whatever cannot be opened is known before anything is written.
    let mut sources = Vec::new();
    for path in &wanted.paths {
        let mut found = directory::read(path)?.sources;
        if path.is_dir() {
            found.retain(|source| !is_json(source));
        }
        sources.append(&mut found);
    }
    let mut text = String::new();
    let mut complaints = Vec::new();
    for source in &sources {
        match formatted(source) {
            Ok(new) if new.as_bytes() == source.bytes.as_slice() => {}
            Ok(new) => {
                if !wanted.check {
                    replace(Path::new(&source.path), &new)?;
                }
                text.push_str(&printable(&source.path));
                text.push('\n');
            }
            Err(found) => complaints.extend(found.into_iter().map(offline::complaint)),
        }
    }
    let yes = complaints.is_empty() && (text.is_empty() || !wanted.check);
    if !text.is_empty() && !complaints.is_empty() {
        text.push('\n');
    }
    text.push_str(&render::complaint::render(&complaints, page));
    Ok(Outcome { text, yes })
}

/// The new text goes out as it is; a complaint must not be mistaken for it.
fn standard_input(check: bool) -> anyhow::Result<Outcome> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    io::stdin().take(limit).read_to_end(&mut bytes).context("read the standard input")?;
    let source = Source::new("<stdin>", bytes);
    match formatted(&source) {
        Ok(text) if check => {
            let yes = text.as_bytes() == source.bytes.as_slice();
            let text = if yes { String::new() } else { format!("{}\n", source.path) };
            Ok(Outcome { text, yes })
        }
        Ok(text) => Ok(Outcome { text, yes: true }),
        Err(complaints) => {
            let words: Vec<String> = complaints.iter().map(one_line).collect();
            Err(Failure::Refused(words.join("; ")).into())
        }
    }
}

fn one_line(complaint: &Complaint) -> String {
    let Complaint { path, line, column, what, instead, .. } = complaint;
    format!("{path}:{line}:{column}: {what}; instead: {instead}")
}

fn formatted(source: &Source) -> Result<String, Vec<Complaint>> {
    if is_json(source) {
        return Err(vec![Complaint {
            path: source.path.clone(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            code: "not-formatted",
            what: "JSON has no canonical form here".to_owned(),
            instead: "a file of YAML".to_owned(),
            excerpt: String::new(),
        }]);
    }
    format(source)
}

fn is_json(source: &Source) -> bool {
    source.path.ends_with(".json")
}

/// Replaces a file as a whole: whoever reads it, now or after a loss of power,
/// finds the old text or the new one. Mode and owner stay, and a link remains a
/// link to the file.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = fs::canonicalize(path).with_context(|| format!("find {}", path.display()))?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} has no folder", path.display());
    };
    // A hidden name, which the daemon passes over.
    let beside = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    let beside = folder.join(beside);
    let replaced = write_as(&path, &beside, text)
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    if replaced.is_err() {
        // What went wrong first is worth more words than this.
        drop(fs::remove_file(&beside));
    }
    replaced.with_context(|| format!("replace {}", path.display()))
}

/// Writes a new file that has the mode and owner of another.
fn write_as(like: &Path, path: &Path, text: &str) -> io::Result<()> {
    let like = fs::metadata(like)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        chown(path, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(like.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
