//! Writes the manual page of `hostfwd` into a folder. `cargo xtask package`
//! runs it.
//!
//! An example, so that what it needs is no part of the daemon, which is why it
//! takes in the one file of the daemon that it describes.

#[allow(dead_code, reason = "only the description of the arguments is wanted here")]
#[path = "../src/arguments.rs"]
mod arguments;

use std::{env, fs, path::PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

/// Sections that no argument describes: title, and terms with their meaning.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "SIGNALS",
        &[
            (
                "SIGHUP",
                "Reads every file again. `hostfw reload` does the same and says what came of it.",
            ),
            ("SIGTERM, SIGINT", "Ends the daemon. What is in force stays in force."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/hostfw/hostfw.yaml", "The configuration, with every key explained."),
            ("/etc/hostfw/policies.d", "Policies; an edited file is taken by itself."),
            ("/etc/hostfw/cluster.d", "Nodes, pods and what else policies speak of."),
            ("/var/lib/hostfw", "The last generations, audit mode, counts of rules."),
            ("/run/hostfw/api.sock", "Where hostfw(1) asks; open to root and the group hostfw."),
            ("/sys/fs/bpf/hostfw", "What the kernel enforces, with or without the daemon."),
        ],
    ),
    ("ENVIRONMENT", &[("HOSTFW_LOG", "What is logged: error, warn, info (the default), debug.")]),
    (
        "EXIT STATUS",
        &[
            ("0", "It was asked to stop, or everything is detached."),
            ("2", "Something is wrong; the message says what, and nothing in force has changed."),
            ("64", "Wrong usage."),
            ("77", "A privilege is missing."),
        ],
    ),
];

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).context("name the folder to write to")?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let page = Man::new(arguments::Arguments::command()).section("8");
    let mut text = Vec::new();
    page.render(&mut text).context("write the page")?;
    for (title, terms) in SECTIONS {
        let mut section = Roff::new();
        section.control("SH", [*title]);
        for (term, meaning) in *terms {
            section.control("TP", []);
            section.text([bold(*term)]).text([roman(*meaning)]);
        }
        section.to_writer(&mut text).context("write a section")?;
    }
    let mut also = Roff::new();
    also.control("SH", ["SEE ALSO"]).text([roman("hostfw(1), systemctl(1)")]);
    also.to_writer(&mut text).context("write the last section")?;
    let file = folder.join("hostfwd.8");
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(())
}
