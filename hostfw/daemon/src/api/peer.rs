//! Who is at the other end of the socket, as the kernel knows it: what was true
//! of the process when it connected.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use tokio::net::UnixStream;

/// The user and the groups of a process that has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The effective user.
    pub uid: u32,
    /// The effective group and the supplementary ones.
    pub gids: Vec<u32>,
}

impl Peer {
    /// Asks the kernel who has connected.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        // SO_PEERCRED knows one group only, SO_PEERGROUPS (Linux 4.13) the others.
        let credentials = stream.peer_cred()?;
        let mut gids = supplementary(stream)?;
        gids.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), gids })
    }
}

fn supplementary(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    // As many as most processes have; the kernel says when there are more.
    let mut gids = vec![0; 32];
    loop {
        let mut n_bytes = libc::socklen_t::try_from(gids.len() * size_of::<libc::gid_t>())
            .map_err(io::Error::other)?;
        // SAFETY: the buffer is live and at least `n_bytes` long, and the kernel
        // writes whole group numbers into it.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                gids.as_mut_ptr().cast(),
                &raw mut n_bytes,
            )
        };
        let n_gids = usize::try_from(n_bytes).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if answer == 0 {
            gids.truncate(n_gids);
            return Ok(gids);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || n_gids <= gids.len() {
            return Err(error);
        }
        gids.resize(n_gids, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_says_who_has_connected() {
        let (one, _other) = UnixStream::pair().expect("a pair of sockets");
        let peer = Peer::of(&one).expect("the kernel says it");
        // SAFETY: these calls take nothing and always succeed.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!(peer.uid, uid);
        assert!(peer.gids.contains(&gid), "{peer:?}");
    }
}
