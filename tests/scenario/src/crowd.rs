//! Many clients of one socket at the same time, none of whom hangs up.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use crate::syscall;

/// Connections that are open for as long as this lives.
pub struct Crowd {
    socket: PathBuf,
    clients: Vec<UnixStream>,
}

impl Crowd {
    /// Nobody yet.
    ///
    /// # Panics
    /// When this process may not open more files.
    pub fn at(socket: &Path) -> Self {
        syscall::allow_files().expect("up to its own limit");
        Self { socket: socket.to_owned(), clients: Vec::new() }
    }

    /// As many more, who say this and wait.
    ///
    /// # Panics
    /// When one cannot connect.
    #[track_caller]
    pub fn grow(&mut self, n_clients: usize, words: &[u8]) {
        for _ in 0..n_clients {
            let mut client = UnixStream::connect(&self.socket).expect("it takes everybody");
            // Who is not the first may be sent away before the end.
            drop(client.write_all(words));
            self.clients.push(client);
        }
    }
}
