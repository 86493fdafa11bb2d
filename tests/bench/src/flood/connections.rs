//! Very many TCP connections of a client that hold no more files than a process
//! may have: each of some threads has a table of files of its own, and the
//! server never accepts them; its kernel answers all the same.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    os::fd::AsRawFd,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hostfw_scenario::Host;

/// Connections of one thread, each to an address of its own: fewer than there
/// are ports, and than files, of which some are in use.
const MOST: usize = 25_000;
const IN_USE: usize = 500;
/// A connection that has answered nothing after this time is dead: the kernel
/// has sent four times.
const LIMIT: Duration = Duration::from_secs(5);

enum Order {
    /// One byte on each of these.
    Speak(Range<usize>),
    /// How many have had all bytes confirmed, and what was sent again.
    Count,
}

struct Holder {
    orders: Sender<Order>,
    answers: Receiver<io::Result<(usize, u64)>>,
    connections: usize,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Without orders it ends, and only then are its files closed.
        self.orders = channel().0;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "a holder does not panic");
        }
    }
}

/// Connections, open as long as this lives.
pub(crate) struct Connections(Vec<Holder>);

impl Connections {
    /// Opens so many from a host; `address` names the server's, one a thread.
    pub(crate) fn open(
        client: &Host,
        count: usize,
        address: impl Fn(usize) -> SocketAddr,
    ) -> anyhow::Result<Self> {
        let most = MOST.min(allow_files().context("allow files")?.saturating_sub(IN_USE));
        ensure!(most > 0, "no more files than are in use may be open");
        // A table of files is copied from the one that everybody else has: nobody
        // may be talking to a child through a pipe meanwhile, which the copy would
        // keep open.
        let addresses: Vec<SocketAddr> = (0..count.div_ceil(most)).map(address).collect();
        let holders = addresses
            .into_iter()
            .enumerate()
            .map(|(number, address)| hold(client, address, most.min(count - number * most)));
        let holders = Self(holders.collect());
        for holder in &holders.0 {
            let (opened, _) = holder.answers.recv().context("a thread that opens")??;
            ensure!(opened == holder.connections, "{opened} of {} opened", holder.connections);
        }
        Ok(holders)
    }

    /// One byte on each of these, counted over all.
    pub(crate) fn speak(&self, range: Range<usize>) -> anyhow::Result<()> {
        let mut first = 0;
        for holder in &self.0 {
            let end = first + holder.connections;
            let (from, to) = (range.start.clamp(first, end), range.end.clamp(first, end));
            if from < to {
                holder.orders.send(Order::Speak(from - first..to - first)).ok();
                holder.answers.recv().context("a thread that speaks")??;
            }
            first = end;
        }
        Ok(())
    }

    /// How many have confirmed all that was said, and how many packets had to be
    /// sent again.
    pub(crate) fn alive(&self) -> anyhow::Result<(usize, u64)> {
        let (mut alive, mut repeated) = (0, 0);
        for holder in &self.0 {
            holder.orders.send(Order::Count).ok();
            let (more, packets) = holder.answers.recv().context("a thread that counts")??;
            (alive, repeated) = (alive + more, repeated + packets);
        }
        Ok((alive, repeated))
    }
}

/// A listener for so many that nobody accepts.
pub(crate) fn listener(port: u16, count: i32) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    // SAFETY: listen takes numbers only.
    if unsafe { libc::listen(listener.as_raw_fd(), count) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

fn hold(client: &Host, address: SocketAddr, connections: usize) -> Holder {
    let (orders, todo) = channel();
    let (done, answers) = channel();
    let thread = client.spawn(move || {
        let mut streams = Vec::new();
        let opened = own_files().and_then(|()| {
            for _ in 0..connections {
                let stream = TcpStream::connect(address)?;
                stream.set_nonblocking(true)?;
                streams.push(stream);
            }
            Ok((streams.len(), 0))
        });
        if done.send(opened).is_err() {
            return;
        }
        for order in todo {
            let answer =
                match order {
                    // What cannot even be written is not confirmed later.
                    Order::Speak(range) => Ok((
                        streams.get_mut(range).into_iter().flatten().fold(0, |spoken, stream| {
                            spoken + usize::from(stream.write(b"!").is_ok())
                        }),
                        0,
                    )),
                    Order::Count => count(&streams),
                };
            if done.send(answer).is_err() {
                return;
            }
        }
    });
    Holder { orders, answers, connections, thread: Some(thread) }
}

fn count(streams: &[TcpStream]) -> io::Result<(usize, u64)> {
    let begin = Instant::now();
    loop {
        let (mut alive, mut repeated) = (0, 0);
        for stream in streams {
            let state = state(stream)?;
            // TCP_ESTABLISHED
            alive += usize::from(state.tcpi_state == 1 && state.tcpi_unacked == 0);
            repeated += u64::from(state.tcpi_total_retrans);
        }
        if alive == streams.len() || begin.elapsed() > LIMIT {
            return Ok((alive, repeated));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn state(stream: &TcpStream) -> io::Result<libc::tcp_info> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut state: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most as many bytes as the structure has.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(state) }
}

/// Gives the calling thread a table of files of its own.
fn own_files() -> io::Result<()> {
    // SAFETY: unshare takes flags only.
    let answer = unsafe { libc::unshare(libc::CLONE_FILES) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a table hold as many files as it may; returns how many these are.
fn allow_files() -> anyhow::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into a live limit.
    ensure!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0, "read the limit");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads a live limit.
    ensure!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0, "raise it");
    Ok(usize::try_from(limit.rlim_cur)?)
}
