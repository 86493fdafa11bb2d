//! Clients that send too much, too slowly, or nothing: what they can take from
//! the daemon has a bound.

use std::{fs, path::Path, time::Duration};

use hostfw_daemon::api::{Asked, Peer, Question, Room, converse};
use hostfw_fuzz::asked;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// A head and a body fit in here, with what lies between the two ends.
const MOST_BYTES: usize = 32 * 1024;

#[test]
fn requests_of_the_corpus_ask_what_they_are_named_after() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/requests");
    for (file, question) in [
        ("status.http", Some(Question::Status)),
        ("rules.http", Some(Question::Rules)),
        ("links.http", Some(Question::Links)),
        ("connections.http", Some(Question::Connections)),
        ("audit.http", Some(Question::Audit)),
        ("audit-on.http", Some(Question::SetAudit(true))),
        ("audit-chunked.http", Some(Question::SetAudit(false))),
        ("audit-nested.http", None),
        ("reload.http", Some(Question::Reload)),
        // One question a connection: what follows is not even read.
        ("two-at-once.http", Some(Question::Status)),
        ("dots.http", None),
        ("connect.http", None),
        ("cut.http", None),
        ("http2.bin", None),
    ] {
        let bytes = fs::read(folder.join(file)).expect("part of the corpus");
        assert_eq!(asked(&bytes), question, "{file}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_or_a_body_without_end_is_cut_off() {
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1024));
    let audit = "POST /v1/audit HTTP/1.1\r\n";
    for (start, piece) in [
        ("GET /v1/status HTTP/1.1\r\n".to_owned(), "x: y\r\n"),
        ("GET /v1/status HTTP/1.1\r\nx: ".to_owned(), "yyyyyyyyyyyyyyyy"),
        ("GET /".to_owned(), "aaaaaaaaaaaaaaaa"),
        (String::new(), "\r\n"),
        (String::new(), "\0\0\0\0\0\0\0\0"),
        (format!("{audit}Content-Length: 18446744073709551615\r\n\r\n"), "aaaaaaaaaaaaaaaa"),
        (format!("{audit}Transfer-Encoding: chunked\r\n\r\n"), &chunk),
        ("POST /v1/reload HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n".to_owned(), "aaaaaaaa"),
    ] {
        let (mut client, daemon) = connected();
        let mut n_bytes = 0;
        let mut sent = client.write_all(start.as_bytes()).await;
        while sent.is_ok() && n_bytes < MOST_BYTES {
            sent = client.write_all(piece.as_bytes()).await;
            n_bytes += piece.len();
        }
        assert!(n_bytes < MOST_BYTES, "{start:?} {piece:?} is still read");
        daemon.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_or_slowly_is_left() {
    let audit = "POST /v1/audit HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
    for start in ["", "GET /v1/status HT", "GET /v1/status HTTP/1.1\r\nx: y", audit] {
        for pause_s in [1_000, 1] {
            let (client, daemon) = connected();
            let begin = Instant::now();
            let (mut reader, mut writer) = tokio::io::split(client);
            let drip = async {
                drop(writer.write_all(start.as_bytes()).await);
                loop {
                    sleep(Duration::from_secs(pause_s)).await;
                    if writer.write_all(b"a").await.is_err() {
                        break;
                    }
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                () = drip => {}
                read = reader.read_to_end(&mut answer) => { read.expect("a closed connection"); }
            }
            daemon.await.expect("no panic");
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(11), "{start:?} every {pause_s} s: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_its_answer_is_left() {
    let (mut client, daemon) = duplex(64);
    let (questions, mut asked) = mpsc::channel::<Asked>(1);
    let begin = Instant::now();
    let daemon = tokio::spawn(converse(daemon, nobody(), questions, Room::default()));
    client.write_all(b"GET /v1/rules HTTP/1.1\r\n\r\n").await.expect("it reads");
    let question = asked.recv().await.expect("a question");
    question.sender.send(Ok(vec![b' '; 1 << 20])).expect("it waits");
    daemon.await.expect("no panic");
    assert!(begin.elapsed() <= Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_in_memory_once_or_a_few_times() {
    for (path, most) in [("connections", 1), ("rules", 4)] {
        let room = Room::default();
        let (questions, mut asked) = mpsc::channel::<Asked>(64);
        let mut clients = Vec::new();
        for _ in 0..8 {
            let (mut client, daemon) = duplex(64);
            tokio::spawn(converse(daemon, nobody(), questions.clone(), room.clone()));
            let ask = format!("GET /v1/{path} HTTP/1.1\r\n\r\n");
            client.write_all(ask.as_bytes()).await.expect("it reads");
            clients.push(client);
        }
        tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                question.sender.send(Ok(vec![b' '; 2 << 20])).expect("it waits");
            }
        });
        sleep(Duration::from_secs(10)).await;
        let mut n_held = 0;
        for client in &mut clients {
            let mut head = [0; 12];
            client.read_exact(&mut head).await.expect("an answer");
            n_held += usize::from(&head == b"HTTP/1.1 200");
            assert!([b"HTTP/1.1 200", b"HTTP/1.1 503"].contains(&&head), "{head:?}");
        }
        assert_eq!(n_held, most, "{path}");
    }
}

/// A client at one end, a daemon that answers nothing at the other.
fn connected() -> (DuplexStream, JoinHandle<()>) {
    let (client, daemon) = duplex(64);
    let (questions, _) = mpsc::channel(1);
    (client, tokio::spawn(converse(daemon, nobody(), questions, Room::default())))
}

fn nobody() -> Peer {
    Peer { uid: 65_534, gids: Vec::new() }
}
