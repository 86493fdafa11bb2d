//! What the service manager is told. Without one, nothing happens.

use std::time::Duration;

use hostfw_control::Service;
use sd_notify::NotifyState;

/// Tells the state and one line for people.
pub(crate) fn tell(service: Service, status: &str) {
    let status = NotifyState::Status(status);
    match service {
        Service::Starting => send(&[status]),
        Service::Ready => send(&[NotifyState::Ready, status]),
        Service::Reloading => {
            if let Ok(moment) = NotifyState::monotonic_usec_now() {
                send(&[NotifyState::Reloading, moment, status]);
            }
        }
    }
}

/// Says that the loop still turns.
pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Says that the daemon ends on purpose.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] is due: twice as often as the manager asks.
pub(crate) fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|period| period / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager is not told");
    }
}
