//! What a guest installs from: the folder of packages, as the only source that
//! `apt-get` and `dnf` know.

use crate::Guest;

/// The package that a test begins with.
pub const OLDER: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");
/// The one that it is upgraded to. It brings another configuration.
pub const NEWER: &str = concat!(env!("CARGO_PKG_VERSION"), "-2");

impl Guest<'_> {
    /// Runs `apt-get` as a script does that nobody watches: what was edited is
    /// kept, and no question is asked.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn apt_get(&self, words: &str) -> String {
        self.write("/etc/apt/sources.list", "deb [trusted=yes] file:/packages ./\n");
        self.does(&format!(
            "export DEBIAN_FRONTEND=noninteractive; apt-get --quiet=2 update && \
             apt-get --quiet --assume-yes -o Dpkg::Options::=--force-confold {words}"
        ))
    }

    /// Runs `dnf` without questions.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn dnf(&self, words: &str) -> String {
        self.does("mkdir -p /etc/yum.repos.d");
        self.write(
            "/etc/yum.repos.d/lab.repo",
            "[lab]\nname=lab\nbaseurl=file:///packages\ngpgcheck=0\n",
        );
        self.does(&format!("dnf --assumeyes {words}"))
    }
}
