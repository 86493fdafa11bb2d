//! What a client sends to the daemon, before the code that reads it there, on a
//! clock that jumps to the next moment at which anything happens.

use std::time::Duration;

use hostfw_daemon::api::{Asked, Peer, Question, Right, Room, converse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};

/// A client that sends these bytes and hangs up, and one that then waits.
///
/// # Panics
/// When the connection outlives its time, or its answer does not fit what was
/// asked.
pub fn requests(bytes: &[u8]) {
    RUNTIME.with(|runtime| {
        for hangs_up in [true, false] {
            let (answer, questions) = runtime.block_on(exchange(bytes, hangs_up));
            check(bytes, &answer, &questions);
        }
    });
}

/// What the daemon takes these bytes for, when the client then waits.
pub fn asked(bytes: &[u8]) -> Option<Question> {
    RUNTIME.with(|runtime| runtime.block_on(exchange(bytes, false)).1.first().copied())
}

async fn exchange(bytes: &[u8], hangs_up: bool) -> (Vec<u8>, Vec<Question>) {
    let (client, daemon) = duplex(1 << 16);
    let (sender, mut asked) = mpsc::channel(1);
    let talk = async move {
        let (mut reader, mut writer) = tokio::io::split(client);
        // The daemon may have heard enough before the end.
        let written = writer.write_all(bytes).await;
        if hangs_up {
            drop(written.and(writer.shutdown().await));
        }
        let mut answer = Vec::new();
        drop(reader.read_to_end(&mut answer).await);
        answer
    };
    let shell = async move {
        let mut questions = Vec::new();
        while let Some(Asked { question, sender, .. }) = asked.recv().await {
            questions.push(question);
            drop(sender.send(Ok(REPORT.to_vec())));
        }
        questions
    };
    let peer = Peer { uid: 1_000, gids: vec![1_000] };
    let all = async { tokio::join!(converse(daemon, peer, sender, Room::default()), talk, shell) };
    let ((), answer, questions) = timeout(BOUND, all).await.expect("a bounded time");
    (answer, questions)
}

/// An answer is HTTP, a report is what was asked for once, and nothing is
/// changed by who only reads.
fn check(bytes: &[u8], answer: &[u8], questions: &[Question]) {
    let shown = String::from_utf8_lossy(answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{shown}");
    assert!(questions.len() <= 1, "{questions:?}");
    let is_report = answer.ends_with(REPORT);
    assert!(!is_report || questions.len() == 1, "{shown}");
    if questions.iter().any(|question| question.right() == Right::Change) {
        let posts = bytes.windows(5).any(|word| word == b"POST ");
        assert!(posts, "{questions:?} without a POST");
    }
}

/// What the stand-in for the shell answers; no client can make the daemon say it
/// otherwise.
const REPORT: &[u8] = b"{\"the\":\"report\"}";
/// Longer than any connection lives.
const BOUND: Duration = Duration::from_secs(61);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing");
}
