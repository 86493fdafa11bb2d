//! Exit codes, and the failures that have one of their own.

use std::{fmt, io, path::PathBuf};

/// Exit code of "no": denied, refused, not as it should be.
pub(crate) const NO: u8 = 1;
/// Exit code of everything that went wrong and has no code of its own.
pub(crate) const ERROR: u8 = 2;
/// Exit code of wrong arguments (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Exit code of a daemon that does not answer (`EX_UNAVAILABLE`).
pub(crate) const UNREACHABLE: u8 = 69;
/// Exit code of a missing permission (`EX_NOPERM`).
pub(crate) const NOT_PERMITTED: u8 = 77;

/// A failure with an exit code of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments contradict each other or what is known.
    Usage(String),
    /// What was read is refused, and the answer would have been its own text.
    Refused(String),
    /// Nobody answers at the socket.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon does not answer this to this user, and says who may ask.
    Forbidden(String),
    /// The socket may not be used by this user.
    NotPermitted {
        /// The socket.
        socket: PathBuf,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Refused(what) | Self::Forbidden(what) => f.write_str(what),
            Self::Unreachable { socket, source: _ } => write!(
                f,
                "the daemon cannot be reached at {} (is hostfwd running? systemctl status hostfw)",
                socket.display()
            ),
            Self::NotPermitted { socket } => {
                write!(
                    f,
                    "no permission for {} (use sudo, or be a member of its group)",
                    socket.display()
                )
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Usage(_) | Self::Refused(_) | Self::Forbidden(_) | Self::NotPermitted { .. } => {
                None
            }
        }
    }
}

/// The exit code of a failed command.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => USAGE,
        Some(Failure::Refused(_)) => NO,
        Some(Failure::Unreachable { .. }) => UNREACHABLE,
        Some(Failure::Forbidden(_) | Failure::NotPermitted { .. }) => NOT_PERMITTED,
        None if is_forbidden(error) => NOT_PERMITTED,
        None => ERROR,
    }
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_exit_code_survives_added_context() {
        let failure = Failure::NotPermitted { socket: "/run/hostfw/api.sock".into() };
        let error = Err::<(), _>(failure).context("read the status").expect_err("it is one");
        assert_eq!(exit_code(&error), NOT_PERMITTED);
    }

    #[test]
    fn a_forbidden_file_is_a_missing_permission() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = Err::<(), _>(source).context("list policies.d").expect_err("it is one");
        assert_eq!(exit_code(&error), NOT_PERMITTED);
        assert_eq!(exit_code(&anyhow::anyhow!("something else")), ERROR);
    }

    #[test]
    fn an_unreachable_daemon_is_named_with_its_socket_and_a_remedy() {
        let source = io::ErrorKind::NotFound.into();
        let error = anyhow::Error::from(Failure::Unreachable { socket: "/x.sock".into(), source });
        let text = format!("{error:#}");
        assert!(text.contains("/x.sock") && text.contains("systemctl status hostfw"), "{text}");
        assert!(text.ends_with("entity not found"), "{text}");
    }
}
