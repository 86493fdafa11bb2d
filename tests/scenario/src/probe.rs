//! One question to a server: does it answer?

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    time::Duration,
};

use crate::{Host, syscall};

/// How an attempt to open a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It was opened.
    Open,
    /// Something answered that it will not be.
    Refused,
    /// Nothing answered in time.
    Silent,
}

/// Tries to open a TCP connection.
pub fn reaches(from: &Host, to: SocketAddr, limit: Duration) -> Reach {
    match from.inside(|| TcpStream::connect_timeout(&to, limit)) {
        Ok(_) => Reach::Open,
        Err(error) if error.kind() == ErrorKind::TimedOut => Reach::Silent,
        Err(_) => Reach::Refused,
    }
}

/// As [`reaches`], from one of the host's addresses.
pub fn reaches_from(from: &Host, source: Ipv4Addr, to: SocketAddrV4, limit: Duration) -> Reach {
    match from.inside(|| syscall::connect_from(source, to, limit)) {
        Ok(_) => Reach::Open,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Reach::Refused,
        Err(_) => Reach::Silent,
    }
}

/// Opens a TCP connection, with a time limit on everything it will do.
///
/// # Panics
/// When it cannot be opened.
#[track_caller]
pub fn tcp(from: &Host, to: SocketAddr, limit: Duration) -> TcpStream {
    let stream = from.inside(|| TcpStream::connect_timeout(&to, limit));
    let stream = stream.unwrap_or_else(|error| panic!("{} to {to}: {error}", from.name()));
    stream.set_read_timeout(Some(limit)).expect("a limit above zero");
    stream.set_write_timeout(Some(limit)).expect("a limit above zero");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

/// Opens a UDP socket for talking to one address; asks nothing yet.
///
/// # Panics
/// When the host has no way to the address.
#[track_caller]
pub fn udp(from: &Host, to: SocketAddr, limit: Duration) -> UdpSocket {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = from.inside(|| UdpSocket::bind(any).and_then(|s| s.connect(to).map(|()| s)));
    let socket = socket.unwrap_or_else(|error| panic!("{} to {to}: {error}", from.name()));
    socket.set_read_timeout(Some(limit)).expect("a limit above zero");
    socket
}

/// Asks a web server for a page and returns what it says.
///
/// # Errors
/// When the connection fails or nothing is said in time.
pub fn http_get(
    from: &Host,
    to: SocketAddr,
    path: &str,
    limit: Duration,
) -> std::io::Result<String> {
    let mut stream = from.inside(|| TcpStream::connect_timeout(&to, limit))?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
