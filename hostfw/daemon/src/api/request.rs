//! One connection: a request is read within bounds, asked as a question and
//! answered, and then it ends.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hostfw_api::{
    AUDIT_PATH, ApiError, AuditMode, AuditRequest, CONNECTIONS_PATH, LINKS_PATH, RELOAD_PATH,
    RULES_PATH, STATUS_PATH,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc::Sender, oneshot},
    time::timeout,
};

use super::{
    Asked, Peer, Question, Refusal,
    room::{Place, Room},
};

/// Answers one request of a peer, or ends when it takes too long over it.
pub async fn converse<S>(stream: S, peer: Peer, questions: Sender<Asked>, room: Room)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Given back when the answer was read, or its time is over.
    let held = Mutex::new(None);
    let service = service_fn(|request| {
        let (peer, questions, room, held) = (peer.clone(), questions.clone(), &room, &held);
        async move {
            let (response, place) = answer(request, peer, questions, room).await;
            *held.lock().unwrap_or_else(PoisonError::into_inner) = place;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(TIME_TO_ASK)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(TIME_FOR_ALL, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(uid = peer.uid, %error, "a client of the API failed"),
        Err(_) => tracing::debug!(uid = peer.uid, "a client of the API was too slow"),
    }
}

/// The answer, and the place that it takes if it is large.
async fn answer(
    request: Request<Incoming>,
    peer: Peer,
    questions: Sender<Asked>,
    room: &Room,
) -> (Response<Full<Bytes>>, Option<Place>) {
    let question = match timeout(TIME_TO_ASK, question(request)).await {
        Ok(Ok(question)) => question,
        Ok(Err((status, why))) => return (refusal(status, why), None),
        Err(_) => {
            let why = "the body does not come".into();
            return (refusal(StatusCode::REQUEST_TIMEOUT, why), None);
        }
    };
    let unavailable = |why: &str| (refusal(StatusCode::SERVICE_UNAVAILABLE, why.into()), None);
    let is_listing = question == Question::Connections;
    let listing = if is_listing { room.for_listing().await } else { None };
    if is_listing && listing.is_none() {
        return unavailable(BUSY);
    }
    let (sender, answer) = oneshot::channel();
    if questions.send(Asked { question, peer, sender }).await.is_err() {
        return unavailable(STOPPING);
    }
    match answer.await {
        Ok(Ok(report)) => match room.admit(report.len(), listing) {
            Ok(place) => (response(StatusCode::OK, report), place),
            Err(_) => unavailable(BUSY),
        },
        Ok(Err(Refusal::NotPermitted(why))) => (refusal(StatusCode::FORBIDDEN, why), None),
        Ok(Err(Refusal::Failed(why))) => (refusal(StatusCode::INTERNAL_SERVER_ERROR, why), None),
        Err(_) => unavailable(STOPPING),
    }
}

/// What a request asks, or with which status and why it asks nothing. What a
/// client has sent is not repeated: it may be anything.
async fn question<B>(request: Request<B>) -> Result<Question, (StatusCode, String)>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let question = match (request.uri().path(), request.method()) {
        (STATUS_PATH, &Method::GET) => Question::Status,
        (RULES_PATH, &Method::GET) => Question::Rules,
        (LINKS_PATH, &Method::GET) => Question::Links,
        (CONNECTIONS_PATH, &Method::GET) => Question::Connections,
        (AUDIT_PATH, &Method::GET) => Question::Audit,
        (AUDIT_PATH, &Method::POST) => Question::SetAudit(audit_mode(request).await?),
        (RELOAD_PATH, &Method::POST) => Question::Reload,
        (
            STATUS_PATH | RULES_PATH | LINKS_PATH | CONNECTIONS_PATH | AUDIT_PATH | RELOAD_PATH,
            _,
        ) => {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "this path has no such method".into()));
        }
        _ => return Err((StatusCode::NOT_FOUND, "there is no such path".into())),
    };
    Ok(question)
}

async fn audit_mode<B>(request: Request<B>) -> Result<bool, (StatusCode, String)>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| {
        let why = format!("the body cannot be read: {error}");
        (StatusCode::PAYLOAD_TOO_LARGE, why)
    })?;
    match serde_json::from_slice(&body.to_bytes()) {
        Ok(AuditRequest { mode }) => Ok(mode == AuditMode::On),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let why = format!("the body is no audit request, at {line}:{column}");
            Err((StatusCode::BAD_REQUEST, why))
        }
    }
}

fn refusal(status: StatusCode, message: String) -> Response<Full<Bytes>> {
    response(status, serde_json::to_vec(&ApiError { message }).unwrap_or_default())
}

fn response(status: StatusCode, json: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const STOPPING: &str = "hostfwd is stopping";
const BUSY: &str = "long answers to others are still being read; try again";

/// A client knows what it wants when it connects.
const TIME_TO_ASK: Duration = Duration::from_secs(5);
/// Longer than a reload on a slow machine takes, and than the command waits.
const TIME_FOR_ALL: Duration = Duration::from_secs(60);
/// Curl sends five.
const MAX_HEADERS: usize = 32;
/// The least that hyper allows.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// An audit request takes twenty.
const MAX_BODY_BYTES: usize = 1024;
