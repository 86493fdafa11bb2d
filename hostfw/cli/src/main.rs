//! `hostfw`, the operator's hand: it reads the arguments, asks the daemon or
//! the files, prints the answer and says yes, no or why not by its exit code.
//! It decides nothing about packets: the daemon does, or the same code that
//! runs in the kernel.
#![forbid(unsafe_code)]

mod arguments;
mod failure;

mod faults;
mod online;
mod transport;

mod cases;
mod check;
mod diff;
mod directory;
mod explain;
mod fmt;
mod offline;
mod packet;
mod schema;
mod services;
mod trace;

mod render;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};

use crate::{
    arguments::{Arguments, Form, PolicyVerb, Verb},
    render::Page,
};

/// What a command found out.
pub(crate) struct Outcome {
    /// What to print, newline included.
    pub(crate) text: String,
    /// False for "no": denied, refused, not as it should be.
    pub(crate) yes: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse_usage(&error),
    };
    match run(&arguments) {
        Ok(outcome) => {
            let code = if outcome.yes { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) };
            match write_all(&outcome.text) {
                Ok(()) => code,
                // Whoever read the beginning has seen enough; the answer is the same.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
                Err(error) => complain(&format!("write the answer: {error}"), failure::ERROR),
            }
        }
        Err(error) => complain(&format!("{error:#}"), failure::exit_code(&error)),
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let page = page();
    let form = arguments.output;
    let output = match &arguments.verb {
        Verb::Policy { verb } => return policy(verb, form, &page),
        Verb::Status
        | Verb::Reload
        | Verb::Rules(_)
        | Verb::Links
        | Verb::Metrics
        | Verb::Connections(_)
        | Verb::Audit { .. } => form.everywhere()?,
    };
    match &arguments.verb {
        Verb::Status => online::status(&arguments.socket, output, &page),
        Verb::Reload => online::reload(&arguments.socket, output, &page),
        Verb::Rules(wanted) => online::rules(&arguments.socket, *wanted, output, &page),
        Verb::Links => online::links(&arguments.socket, output, &page),
        Verb::Metrics => online::metrics(&arguments.socket, output),
        Verb::Connections(wanted) => online::connections(&arguments.socket, *wanted, output, &page),
        Verb::Audit { verb } => online::audit(&arguments.socket, *verb, output, &page),
        Verb::Policy { verb } => policy(verb, form, &page),
    }
}

/// What needs files only, and no daemon.
fn policy(verb: &PolicyVerb, form: Form, page: &Page) -> anyhow::Result<Outcome> {
    match verb {
        PolicyVerb::Check(wanted) => check::check(wanted, form, page),
        PolicyVerb::Trace(wanted) => trace::trace(wanted, form.everywhere()?, page),
        PolicyVerb::Test(wanted) => cases::test(wanted, form, page),
        PolicyVerb::Diff(wanted) => diff::diff(wanted, form.everywhere()?, page),
        PolicyVerb::Explain(wanted) => explain::explain(wanted, form.everywhere()?, page),
        PolicyVerb::Fmt(wanted) => fmt::fmt(wanted, form, page),
        PolicyVerb::Schema { kind } => {
            // A schema is JSON and has no other text.
            form.everywhere()?;
            schema::schema(kind.as_deref())
        }
    }
}

/// Eighty columns, more where the terminal has them or `COLUMNS` says so.
fn page() -> Page {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal =
        || terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| width.into());
    let width = asked.or_else(terminal).unwrap_or(Page::NARROWEST).max(Page::NARROWEST);
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Page { width, colour: !no_colour && io::stdout().is_terminal() }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Prints help to where it was asked for, and wrong usage as an error.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    // A closed output is the reader's choice, here as everywhere.
    drop(error.print());
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(failure::USAGE)
}

fn complain(message: &str, code: u8) -> ExitCode {
    let message = render::page::printable(message);
    drop(writeln!(io::stderr(), "hostfw: {message}"));
    ExitCode::from(code)
}
