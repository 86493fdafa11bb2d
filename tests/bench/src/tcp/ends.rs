//! The two ends of connections: threads on one processor that do what they are
//! told, and say how much of it they needed. Knows nothing about firewalls.
//!
//! A packet through a cable is received where it is sent, inside the system call
//! of the sender, so the time of both threads is that of the whole way.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use anyhow::Context;
use hostfw_scenario::Host;

use crate::time::{stay_on_last_processor, thread_time};

/// Whoever needs longer for a sample hangs: a packet was lost for good.
const LIMIT: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A thread of a host.
pub(crate) struct End {
    jobs: Sender<Job>,
    spent: Receiver<io::Result<Duration>>,
}

impl End {
    /// Nobody waits for it to end: one that hangs must not hinder the report.
    pub(crate) fn start(host: &Host) -> Self {
        let (jobs, todo) = channel::<Job>();
        let (done, spent) = channel();
        let _thread = host.spawn(move || {
            let mut pinned = stay_on_last_processor();
            for job in todo {
                let begin = thread_time();
                let outcome = std::mem::replace(&mut pinned, Ok(())).and_then(|()| job());
                let spent = thread_time().saturating_sub(begin);
                if done.send(outcome.map(|()| spent)).is_err() {
                    return;
                }
            }
        });
        Self { jobs, spent }
    }

    fn begin(&self, job: impl FnOnce() -> io::Result<()> + Send + 'static) -> anyhow::Result<()> {
        self.jobs.send(Box::new(job)).ok().context("the thread is there")
    }

    fn end(&self) -> anyhow::Result<Duration> {
        let answer = self.spent.recv_timeout(LIMIT).context("wait for an end of a connection")?;
        Ok(answer?)
    }
}

/// What is done over the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One byte there and one back, on one connection.
    Exchange,
    /// A connection for each of those, which the client resets.
    Connection,
    /// Bytes in one direction, as many a packet as the devices take.
    Bulk,
}

/// A client and a server who have met.
pub(crate) struct Session {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    /// The connection that lasts: the client's end and the server's.
    lasting: (Arc<TcpStream>, Arc<TcpStream>),
}

/// What is written at once.
pub(crate) const CHUNK: usize = 64 << 10;

impl Session {
    /// Opens the connection that lasts.
    pub(crate) fn open(
        (client, server): (&Host, &Host),
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let listener = server.inside(|| TcpListener::bind(address)).context("listen")?;
        let near = client.inside(|| TcpStream::connect(address)).context("connect")?;
        let (far, _) = listener.accept().context("accept the connection")?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let lasting = (Arc::new(near), Arc::new(far));
        Ok(Self { address, listener: Arc::new(listener), lasting })
    }

    /// Does it so often, with bulk so many chunks; returns the time of both ends.
    pub(crate) fn sample(
        &self,
        (client, server): (&End, &End),
        kind: Kind,
        count: usize,
    ) -> anyhow::Result<Duration> {
        let (near, far) = (Arc::clone(&self.lasting.0), Arc::clone(&self.lasting.1));
        match kind {
            Kind::Exchange => {
                server.begin(move || (0..count).try_for_each(|_| answer(&far)))?;
                client.begin(move || (0..count).try_for_each(|_| ask(&near)))?;
            }
            Kind::Connection => {
                let (listener, address) = (Arc::clone(&self.listener), self.address);
                server.begin(move || (0..count).try_for_each(|_| serve(&listener)))?;
                client.begin(move || (0..count).try_for_each(|_| visit(address)))?;
            }
            Kind::Bulk => {
                server.begin(move || {
                    let mut buffer = vec![0; CHUNK];
                    (0..count).try_for_each(|_| (&*far).read_exact(&mut buffer))
                })?;
                client.begin(move || {
                    let buffer = vec![0; CHUNK];
                    (0..count).try_for_each(|_| (&*near).write_all(&buffer))
                })?;
            }
        }
        Ok(client.end()? + server.end()?)
    }
}

fn ask(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b"?")?;
    expect(stream, *b"!")
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    expect(stream, *b"?")?;
    stream.write_all(b"!")
}

fn expect(mut stream: &TcpStream, wanted: [u8; 1]) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte == wanted { Ok(()) } else { Err(io::Error::other("another byte than was sent")) }
}

/// One connection of a client, ended by a reset: nothing waits for its port.
fn visit(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of::<libc::linger>()).map_err(io::Error::other)?;
    // SAFETY: pointer and length are those of a live structure.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            length,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    ask(&stream)
}

/// One connection of a server, up to the client's reset.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    answer(&stream)?;
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("the client did not reset the connection")),
    }
}
