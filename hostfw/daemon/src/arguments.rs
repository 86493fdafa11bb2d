//! What `hostfwd` may be told when it is started. Its manual page is made from
//! this file too.

use clap::{Parser, ValueEnum};

/// Enforces Cilium host policies on this host's own interfaces.
#[derive(Debug, Parser)]
#[command(name = "hostfwd", version)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/hostfw/hostfw.yaml", value_name = "FILE")]
    pub(crate) config: String,
    /// Reads the configuration, says what is wrong with it, and ends. Policies are
    /// for `hostfw policy check`.
    #[arg(long, conflicts_with = "cleanup")]
    pub(crate) check: bool,
    /// Detaches every program, removes every pin, and ends: the host is open.
    #[arg(long)]
    pub(crate) cleanup: bool,
    /// The form of log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
