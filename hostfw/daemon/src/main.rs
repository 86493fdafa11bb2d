//! `hostfwd`: reads the arguments and the configuration, opens the kernel and
//! starts the loop. Everything that can make a start fail is said here, once,
//! with an exit code: 2 for an error, 64 for bad usage, 77 for missing
//! privileges.

mod arguments;

mod shell;

mod effects;

mod answer;
mod files;
mod links;
mod live;
mod sockets;
mod translations;
mod watch;
mod wireguard;

mod denied;
mod state;
mod tally;

mod clock;
mod log;
mod memory;
mod service;

#[cfg(test)]
mod scratch;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use clap::Parser;
use hostfw_control::{Adopted, Attach, Config, Control, Start, read_config};
use hostfw_daemon::{
    api::{self, Access},
    kernel::{AttachMode, Capacity, Kernel, KernelConfig, KernelError},
};
use hostfw_policy::{Complaint, Source};

use crate::{arguments::Arguments, denied::Denied, files::Directory, shell::Shell, state::State};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { BAD_USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    log::start(arguments.log_format);
    let outcome = match &arguments {
        Arguments { check: true, config, .. } => configuration(config).map(drop),
        Arguments { cleanup: true, .. } => cleanup(&arguments),
        Arguments { .. } => run(&arguments),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    say(&format!("hostfwd: {error:#}"));
    if !is_permission(&error) {
        return ExitCode::from(ERROR);
    }
    say("hostfwd needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and access to its files");
    ExitCode::from(NOT_PERMITTED)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (source, config) = configuration(&arguments.config)?;
    let run_directory = config.paths.run.clone();
    let (listener, access) = api::open(&run_directory)?;
    let outcome = enforce(arguments, listener, access, source, config);
    api::close(&run_directory);
    outcome
}

fn enforce(
    arguments: &Arguments,
    listener: UnixListener,
    access: Access,
    source: Source,
    config: Config,
) -> anyhow::Result<()> {
    let state = State::new(&config.paths.state);
    let policies = Directory::new(&config.paths.policies);
    let world = Directory::new(&config.paths.cluster);
    let (kernel, _) = Kernel::open(kernel_config(&config))?;
    for feature in kernel.lacks() {
        tracing::info!(kernel = Kernel::release(), "{feature}");
    }
    let n_devices = kernel.judged_by_another_version().len();
    if n_devices > 0 {
        tracing::warn!(
            n_devices,
            "programs of another version of hostfw go on judging until this one has a generation \
             in force"
        );
    }
    let records = kernel.events()?;
    let stored = state.generation();
    let mut denied = Denied::default();
    if let Some((generation, _)) = &stored {
        denied.learn(generation);
    }
    let now_ms = clock::now_ms();
    let start = Start {
        config,
        config_source: source,
        hostname: hostname(),
        adopted: adopted(&kernel, stored.as_ref().map(|(one, since)| (one.number, *since)), now_ms),
        attached: (kernel.attached().into_iter().map(|one| one.ifindex))
            .chain(kernel.judged_by_another_version().into_keys())
            .collect(),
        stored: stored.map(|(generation, _)| generation),
        last_number: state.last_number(),
        audit: state.audit(),
    };
    let shell = Shell {
        control: Control::new(now_ms, start),
        listing: Arc::new(Mutex::new(kernel.listing())),
        kernel,
        records,
        denied,
        access,
        tally: state.tally(),
        state,
        memory: memory::Memory::default(),
        config_path: arguments.config.clone(),
        policies,
        world,
        started_ms: now_ms,
        asked: BTreeMap::new(),
        next_token: 0,
        n_ended: 0,
        is_complete: false,
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(shell.run(listener))
}

/// The verb that opens the host. It works without a configuration too, because
/// a package is removed in whatever state it is in.
fn cleanup(arguments: &Arguments) -> anyhow::Result<()> {
    let config = match configuration(&arguments.config) {
        Ok((_, config)) => config,
        Err(error) => {
            say(&format!("hostfwd: {error:#}; cleaning up in the default place"));
            Config::default()
        }
    };
    Kernel::cleanup(&kernel_config(&config))?;
    Ok(())
}

fn configuration(path: &str) -> anyhow::Result<(Source, Config)> {
    let source = files::read_file(path)
        .map_err(|failure| anyhow::anyhow!("{}: {}", failure.path, failure.why))
        .context("read the configuration")?;
    let config = read_config(&source).map_err(|complaints| {
        anyhow::anyhow!("the configuration is refused\n{}", list(&complaints))
    })?;
    Ok((source, config))
}

fn list(complaints: &[Complaint]) -> String {
    let mut text = String::new();
    for Complaint { path, line, column, what, instead, excerpt, .. } in complaints {
        text += &format!("{path}:{line}:{column}: {what}\n");
        if !excerpt.is_empty() {
            text += &format!("    {excerpt}\n");
        }
        if !instead.is_empty() {
            text += &format!("    write instead: {instead}\n");
        }
    }
    text.trim_end().to_owned()
}

fn kernel_config(config: &Config) -> KernelConfig {
    KernelConfig {
        bpf_dir: PathBuf::from(&config.paths.bpf),
        attach: match config.attach {
            Attach::Auto => AttachMode::Auto,
            Attach::Clsact => AttachMode::Clsact,
        },
        capacity: Capacity::SMALL,
        reports_per_s: KernelConfig::REPORTS_PER_S,
    }
}

/// What an earlier daemon left in force.
fn adopted(kernel: &Kernel, stored: Option<(u32, u64)>, now_ms: u64) -> Option<Adopted> {
    let in_force = kernel.in_force()?;
    let slot = kernel.slots().get(&in_force.slot)?;
    let since_ms = match stored {
        Some((number, since_unix_s)) if number == slot.generation => {
            clock::from_unix_s(since_unix_s)
        }
        Some(_) | None => now_ms,
    };
    Some(Adopted { in_force, number: slot.generation, checksum: slot.checksum, since_ms })
}

/// The name of this host; policies know the node by it unless the configuration
/// names another.
fn hostname() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the pointer and the length are those of a live buffer; the last
    // byte is left out, so the text always ends.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned();
    if failed || name.is_empty() { "localhost".into() } else { name }
}

/// True when the system refused for want of a privilege.
fn is_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<KernelError>().is_some_and(KernelError::is_permission)
            || cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

const ERROR: u8 = 2;
const BAD_USAGE: u8 = 64;
const NOT_PERMITTED: u8 = 77;
