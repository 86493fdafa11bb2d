//! Traffic that counts itself: every packet, byte or connection carries a
//! number, so that what was lost and what got through is known exactly.
//!
//! Which of it should pass is the test's business.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{Host, syscall, wait::eventually};

/// How long a receiver still waits after the sender stopped.
const LINGER: Duration = Duration::from_millis(300);

/// What was sent and what of it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Sent, or attempted.
    pub sent: u64,
    /// Arrived, or succeeded.
    pub arrived: u64,
}

impl Count {
    /// Sent and not arrived.
    pub fn lost(self) -> u64 {
        self.sent - self.arrived
    }
}

/// Numbered UDP datagrams from one host to a socket on another.
pub struct Datagrams {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<BTreeSet<u64>>,
}

impl Datagrams {
    /// Starts sending, one datagram per pause.
    ///
    /// # Panics
    /// When the destination cannot be bound or reached.
    #[track_caller]
    pub fn start(from: &Host, to: &Host, destination: SocketAddr, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let target = to.inside(|| UdpSocket::bind(destination)).expect("a free port");
        // A datagram that waits too long for the receiver is not the firewall's.
        syscall::enlarge_receive_buffer(target.as_fd()).expect("a larger buffer (needs root)");
        let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let source = from.inside(|| UdpSocket::bind(any)).expect("a free port");
        let (stop_sender, stop_receiver) = (Arc::clone(&stop), Arc::clone(&stop));
        let sender = std::thread::spawn(move || {
            let mut number: u64 = 0;
            while !stop_sender.load(SeqCst) {
                // An error here is the answer to an earlier datagram; the next
                // one is sent all the same and counted.
                if source.send_to(&number.to_be_bytes(), destination).is_ok() {
                    number += 1;
                }
                std::thread::sleep(pause);
            }
            number
        });
        let receiver = std::thread::spawn(move || receive(&target, &stop_receiver));
        Self { stop, sender, receiver }
    }

    /// Stops sending, waits for what is on its way, and counts.
    pub fn stop(self) -> Count {
        self.stop.store(true, SeqCst);
        let sent = self.sender.join().expect("the sender does not panic");
        let arrived = self.receiver.join().expect("the receiver does not panic");
        Count { sent, arrived: arrived.len() as u64 }
    }
}

fn receive(target: &UdpSocket, stop: &AtomicBool) -> BTreeSet<u64> {
    let mut arrived = BTreeSet::new();
    target.set_read_timeout(Some(LINGER)).expect("a limit above zero");
    let mut buffer = [0; 8];
    loop {
        match target.recv(&mut buffer) {
            Ok(8) => {
                arrived.insert(u64::from_be_bytes(buffer));
            }
            Ok(_) => {}
            Err(_) if stop.load(SeqCst) => return arrived,
            Err(_) => {}
        }
    }
}

/// One TCP connection on which the client writes numbers.
pub struct Stream {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    client: JoinHandle<u64>,
    server: JoinHandle<u64>,
}

impl Stream {
    /// Opens the connection and starts writing, one number per pause.
    ///
    /// # Panics
    /// When the connection cannot be opened.
    #[track_caller]
    pub fn start(from: &Host, to: &Host, destination: SocketAddr, pause: Duration) -> Self {
        let listener = to.inside(|| TcpListener::bind(destination)).expect("a free port");
        let limit = Duration::from_secs(10);
        let mut client = crate::tcp(from, destination, limit);
        let (mut server, _) = listener.accept().expect("the client has connected");
        server.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit above zero");
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_client, seen_server) = (Arc::clone(&stop), Arc::clone(&seen));
        let client = std::thread::spawn(move || {
            let mut number: u64 = 0;
            while !stop_client.load(SeqCst) && client.write_all(&number.to_be_bytes()).is_ok() {
                number += 1;
                std::thread::sleep(pause);
            }
            number
        });
        let server = std::thread::spawn(move || {
            let mut expected: u64 = 0;
            let mut buffer = [0; 8];
            while server.read_exact(&mut buffer).is_ok() {
                assert_eq!(u64::from_be_bytes(buffer), expected, "TCP keeps the order");
                expected += 1;
                seen_server.store(expected, SeqCst);
            }
            expected
        });
        Self { stop, seen, client, server }
    }

    /// True when numbers still arrive within the time.
    pub fn flows_within(&self, limit: Duration) -> bool {
        let before = self.seen.load(SeqCst);
        eventually(limit, || (self.seen.load(SeqCst) > before).then_some(())).is_some()
    }

    /// Closes the connection and counts.
    pub fn stop(self) -> Count {
        self.stop.store(true, SeqCst);
        let sent = self.client.join().expect("the client does not panic");
        let arrived = self.server.join().expect("the server does not panic");
        Count { sent, arrived }
    }
}

/// Attempts to open new TCP connections, one after the other.
pub struct Connections {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Count>,
}

impl Connections {
    /// Starts; each attempt waits at most `limit`, and pauses follow.
    pub fn start(from: &Host, destination: SocketAddr, limit: Duration, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stop_client = Arc::clone(&stop);
        let client = from.spawn(move || {
            let mut count = Count { sent: 0, arrived: 0 };
            while !stop_client.load(SeqCst) {
                count.sent += 1;
                let begin = Instant::now();
                match TcpStream::connect_timeout(&destination, limit) {
                    // A refusal is an answer too: the firewall let it through.
                    Ok(_) => count.arrived += 1,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        count.arrived += 1;
                    }
                    Err(error) => {
                        if count.lost() == 1 {
                            let (number, after) = (count.sent, begin.elapsed());
                            eprintln!("{destination}: attempt {number} {error} after {after:?}");
                        }
                    }
                }
                std::thread::sleep(pause);
            }
            count
        });
        Self { stop, client }
    }

    /// Stops after the current attempt and counts.
    pub fn stop(self) -> Count {
        self.stop.store(true, SeqCst);
        self.client.join().expect("the client does not panic")
    }
}
