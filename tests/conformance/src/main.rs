//! Judges every recorded vector by the compiled image: those of the repository,
//! a few that stand for differences which nobody listed, and those of the
//! directory in `HOSTFW_CONFORMANCE_DIR`. Exits with 1 when one differs that is
//! not meant to.

#![expect(clippy::print_stdout, reason = "a program of its own")]

mod documents;
mod intended;
mod judge;
mod report;
mod scenarios;
mod scene;
mod vectors;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::{intended::Intended, report::Tally, vectors::World};

fn main() -> anyhow::Result<ExitCode> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Intended::read(&home.join("intended.jsonl"))?;
    let by_looks = Intended::by_looks();
    let own = home.join("vectors");
    let mut directories = vec![own.clone(), home.join("unlisted")];
    directories.extend(std::env::var_os("HOSTFW_CONFORMANCE_DIR").map(PathBuf::from));
    let own_worlds = vectors::worlds(&own)?;

    let mut sum = Tally::default();
    for directory in &directories {
        let mut worlds = own_worlds.clone();
        worlds.extend(vectors::worlds(directory)?);
        let intended = if *directory == own { &listed } else { &by_looks };
        let mut of_directory = Tally::default();
        for path in vectors::files(directory)? {
            let tally = file(&path, &worlds, intended)?;
            let name = path.strip_prefix(home).unwrap_or(&path);
            println!("{}", tally.line(&name.display().to_string()));
            for words in &tally.shown {
                println!("{words}");
            }
            of_directory.add(tally);
        }
        // The list stays true: what no longer differs is taken off it.
        for (id, v) in intended.unused(&of_directory.used.clone()) {
            of_directory.fail(String::new);
            println!("{id} is listed as an intended difference ({v}) and does not differ");
        }
        sum.add(of_directory);
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Judges a file; its kind is the first word of its name.
fn file(
    path: &Path,
    worlds: &BTreeMap<String, World>,
    intended: &Intended,
) -> anyhow::Result<Tally> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let starts = |kind: &str| name.starts_with(kind);
    if starts("handmade") || starts("random") {
        scenarios::judge_all(
            &vectors::lines(path)?,
            worlds,
            intended,
            scenarios::Expecting::Recorded,
        )
    } else if starts("anomalies") {
        let without = scenarios::Expecting::WithoutAggregates;
        scenarios::judge_all(&vectors::lines(path)?, worlds, intended, without)
    } else if starts("invalid") {
        let world = worlds.get("base").context("a world named `base`")?;
        documents::refused(&vectors::lines(path)?, world)
    } else if starts("accepted") {
        Ok(documents::accepted(&vectors::lines(path)?, intended))
    } else if starts("fqdn") {
        Ok(documents::names(&vectors::lines(path)?))
    } else {
        anyhow::bail!("{} is of no known kind", path.display())
    }
}
