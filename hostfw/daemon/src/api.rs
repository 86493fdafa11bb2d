//! The local API: HTTP over a Unix socket. It turns requests into questions to
//! the shell and answers into bytes; what a report says is not known here.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hostfw_api::{
    AUDIT_PATH, ApiError, AuditMode, AuditRequest, CONNECTIONS_PATH, LINKS_PATH, RELOAD_PATH,
    RULES_PATH, STATUS_PATH,
};
use tokio::sync::{mpsc::Sender, oneshot};

use crate::shell::{Input, Question};

/// What a request is answered with: a report in JSON, or why there is none.
pub(crate) type Answer = Result<Vec<u8>, String>;

/// Opens the socket. A socket that nobody answers on is a leftover; one that
/// somebody does is why this comes before anything is done to the kernel.
///
/// # Errors
/// Another daemon answers, or the socket cannot be made.
pub(crate) fn open(run_directory: &str) -> anyhow::Result<UnixListener> {
    fs::create_dir_all(run_directory).with_context(|| format!("create {run_directory}"))?;
    let path = socket(run_directory);
    let name = path.display();
    if UnixStream::connect(&path).is_ok() {
        bail!("another hostfwd answers on {name}");
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {name}"));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("open {name}"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("protect {name}"))?;
    listener.set_nonblocking(true).with_context(|| format!("open {name}"))?;
    Ok(listener)
}

/// Removes the socket; nobody answers on it any more.
pub(crate) fn close(run_directory: &str) {
    if let Err(error) = fs::remove_file(socket(run_directory)) {
        tracing::debug!(%error, "the API socket stays");
    }
}

fn socket(run_directory: &str) -> PathBuf {
    Path::new(run_directory).join("api.sock")
}

/// Answers requests until the shell is gone.
pub(crate) async fn serve(listener: tokio::net::UnixListener, inputs: Sender<Input>) {
    let report = |question| {
        get(move |State(inputs): State<Sender<Input>>| async move { ask(&inputs, question).await })
    };
    let router = Router::new()
        .route(STATUS_PATH, report(Question::Status))
        .route(RULES_PATH, report(Question::Rules))
        .route(LINKS_PATH, report(Question::Links))
        .route(CONNECTIONS_PATH, report(Question::Connections))
        .route(AUDIT_PATH, report(Question::Audit).post(set_audit))
        .route(
            RELOAD_PATH,
            post(|State(inputs): State<Sender<Input>>| async move {
                ask(&inputs, Question::Reload).await
            }),
        )
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "there is no such path") })
        .with_state(inputs);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the API ended");
    }
}

async fn set_audit(State(inputs): State<Sender<Input>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(AuditRequest { mode }) => ask(&inputs, Question::SetAudit(mode == AuditMode::On)).await,
        Err(error) => {
            refusal(StatusCode::BAD_REQUEST, &format!("the body is no audit request: {error}"))
        }
    }
}

async fn ask(inputs: &Sender<Input>, question: Question) -> Response {
    let (sender, answer) = oneshot::channel();
    if inputs.send(Input::Question(question, sender)).await.is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "hostfwd is stopping");
    }
    match answer.await {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err(message)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &message),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "hostfwd is stopping"),
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let body = serde_json::to_vec(&ApiError { message: message.to_owned() }).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
