//! One request over the daemon's Unix socket: the small part of HTTP/1.1 that
//! a local JSON API needs. It knows no paths and no reports.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use hostfw_api::ApiError;

use crate::failure::Failure;

/// A daemon that is alive answers a question at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// A change is answered when it is in force; a larger image may need programs
/// to be loaded again, which takes seconds on a slow machine. Less than what
/// the unit grants a reload.
const PATIENCE_FOR_A_CHANGE: Duration = Duration::from_secs(50);

/// The status of what this user may not ask.
const FORBIDDEN: u16 = 403;

/// A head is a few hundred bytes.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// A million connections take about this much.
const MAX_BODY_BYTES: u64 = 256 * 1024 * 1024;

/// The body of the answer to a `GET`.
pub(crate) fn get(socket: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    request(PATIENCE, socket, "GET", path, &[])
}

/// The body of the answer to a `POST`.
pub(crate) fn post(socket: &Path, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    request(PATIENCE_FOR_A_CHANGE, socket, "POST", path, body)
}

fn request(
    patience: Duration,
    socket: &Path,
    method: &str,
    path: &str,
    body: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let response = within(patience, socket, request)?;
    if response.status == 200 {
        return Ok(response.body);
    }
    match serde_json::from_slice(&response.body) {
        Ok(ApiError { message }) if response.status == FORBIDDEN => {
            Err(Failure::Forbidden(message).into())
        }
        Ok(ApiError { message }) => bail!("{message}"),
        Err(_) => bail!("the daemon answered {method} {path} with status {}", response.status),
    }
}

/// The exchange as a whole, connecting included, ends within the patience:
/// the thread that waits on after it ends with the process.
fn within(patience: Duration, socket: &Path, request: Vec<u8>) -> anyhow::Result<Response> {
    let (tell, hear) = mpsc::sync_channel(1);
    let target = PathBuf::from(socket);
    thread::Builder::new()
        .name("exchange".to_owned())
        .spawn(move || {
            // Nobody listens any more when the patience has ended.
            drop(tell.send(exchange(&target, &request)));
        })
        .context("start a thread")?;
    match hear.recv_timeout(patience) {
        Ok(result) => result,
        Err(_) => {
            let source = io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", patience.as_secs()),
            );
            Err(Failure::Unreachable { socket: socket.to_owned(), source }.into())
        }
    }
}

fn exchange(socket: &Path, request: &[u8]) -> anyhow::Result<Response> {
    let mut stream = UnixStream::connect(socket).map_err(|source| explain(socket, source))?;
    stream.write_all(request).map_err(|source| explain(socket, source))?;
    let response = read_response(&mut BufReader::new(stream))
        .with_context(|| format!("read the answer from {}", socket.display()))?;
    Ok(response)
}

fn explain(socket: &Path, source: io::Error) -> Failure {
    let socket = socket.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        Failure::NotPermitted { socket }
    } else {
        Failure::Unreachable { socket, source }
    }
}

/// An answer as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    body: Vec<u8>,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunks,
    UntilClose,
}

fn read_response(stream: &mut impl BufRead) -> anyhow::Result<Response> {
    let mut head = stream.by_ref().take(MAX_HEAD_BYTES);
    let status_line = read_line(&mut head)?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP answer: `{status_line}`"))?;
    let mut framing = Framing::UntilClose;
    loop {
        let line = read_line(&mut head)?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { bail!("not a header: `{line}`") };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                bail!("unknown transfer encoding `{value}`");
            }
            framing = Framing::Chunks;
        } else if name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunks {
            framing = Framing::Length(value.parse().context("content length")?);
        }
    }
    let body = match framing {
        Framing::Length(length) => read_exactly(stream, length)?,
        Framing::Chunks => read_chunks(stream)?,
        Framing::UntilClose => {
            let mut body = Vec::new();
            stream.take(MAX_BODY_BYTES + 1).read_to_end(&mut body)?;
            within_limit(body.len())?;
            body
        }
    };
    Ok(Response { status, body })
}

fn read_chunks(stream: &mut impl BufRead) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(&mut stream.by_ref().take(MAX_HEAD_BYTES))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("chunk size `{line}`"))?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&read_exactly(stream, size)?);
        within_limit(body.len())?;
        if read_exactly(stream, 2)? != b"\r\n" {
            bail!("a chunk is longer than its size");
        }
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64) -> anyhow::Result<Vec<u8>> {
    within_limit(usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    let received = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if received != length {
        bail!("the answer ends after {received} of {length} bytes");
    }
    Ok(body)
}

fn within_limit(length: usize) -> anyhow::Result<()> {
    if u64::try_from(length).is_ok_and(|length| length <= MAX_BODY_BYTES) {
        return Ok(());
    }
    bail!("the answer is longer than {MAX_BODY_BYTES} bytes")
}

/// A line without its end.
fn read_line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        bail!("the answer ends too early");
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, status: u16, body: &str) {
        let response = read_response(&mut text.as_bytes()).expect("it is an answer");
        assert_eq!(response, Response { status, body: body.as_bytes().to_vec() });
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = read_response(&mut text.as_bytes()).expect_err("it is no answer");
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }

    #[test]
    fn a_body_ends_at_its_length_its_last_chunk_or_the_close() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}and more", 200, "{}");
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\nA;x=y\r\n\"a\":\"b\"   \r\n1\r\n}\r\n0\r\n\r\n",
            200,
            "{\"a\":\"b\"   }",
        );
        check("HTTP/1.0 404 Not Found\n\nnone", 404, "none");
    }

    #[test]
    fn a_broken_answer_is_refused_with_its_reason() {
        refused("", "ends too early");
        refused("SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer");
        refused("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "ends after 2 of 5 bytes");
        refused("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content length");
        refused("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", "longer than");
        refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown transfer encoding");
        refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk size `zz`");
        refused(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n",
            "longer than its size",
        );
        refused(&format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(20_000)), "ends too early");
    }

    #[test]
    fn patience_ends() {
        let directory =
            std::env::temp_dir().join(format!("hostfw-patience-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let socket = directory.join("silent.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = within(Duration::from_millis(50), &socket, b"GET".to_vec());
        drop(listener);
        std::fs::remove_dir_all(&directory).expect("the directory is ours");
        let error = error.expect_err("nobody answers");
        assert!(format!("{error:#}").contains("no answer within"), "{error:#}");
        assert_eq!(crate::failure::exit_code(&error), crate::failure::UNREACHABLE);
    }
}
