//! The built command against a daemon that answers from a script: exit codes,
//! what is asked for, and what is shown. The reports themselves are the
//! business of the golden texts.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread::JoinHandle,
};

/// A daemon for one request.
struct Daemon {
    folder: PathBuf,
    socket: PathBuf,
    thread: Option<JoinHandle<String>>,
}

impl Daemon {
    /// Answers one request with these bytes.
    fn answering(name: &str, answer: String) -> Self {
        let (folder, socket) = place(name);
        let listener = UnixListener::bind(&socket).expect("bind the socket");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !is_complete(&request) {
                let n = stream.read(&mut buffer).expect("read the request");
                assert_ne!(n, 0, "the request ends too early");
                request.extend_from_slice(&buffer[..n]);
            }
            stream.write_all(answer.as_bytes()).expect("write the answer");
            String::from_utf8(request).expect("a request is text")
        });
        Self { folder, socket, thread: Some(thread) }
    }

    fn json(name: &str, body: &str) -> Self {
        Self::answering(
            name,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    }

    fn asked(&mut self, arguments: &[&str]) -> (Output, String) {
        let output = hostfw(&self.socket, arguments);
        let thread = self.thread.take().expect("asked once");
        (output, thread.join().expect("the daemon was asked"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("a number"))
}

fn place(name: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("hostfw-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let socket = folder.join("api.sock");
    (folder, socket)
}

fn hostfw(socket: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hostfw"))
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .expect("run hostfw")
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

const STATUS: &str = include_str!("../../api/tests/status.json");

#[test]
fn status_of_a_node_as_it_should_be_is_yes() {
    let mut healthy: serde_json::Value = serde_json::from_str(STATUS).expect("golden JSON");
    healthy["refused"] = serde_json::Value::Null;
    healthy["problems"] = serde_json::json!([]);
    healthy["judged_by_another_version"] = serde_json::json!([]);
    healthy["devices"].as_array_mut().expect("devices").truncate(1);
    let mut daemon = Daemon::json("status-yes", &healthy.to_string());
    let (output, request) = daemon.asked(&["status"]);
    exits(&output, 0);
    assert!(request.starts_with("GET /v1/status HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
    assert!(stdout(&output).starts_with("cp-1 is as it should be.\n"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('\x1b'), "no colour outside a terminal");
}

#[test]
fn status_of_a_node_with_faults_is_no() {
    let mut daemon = Daemon::json("status-no", STATUS);
    let (output, _) = daemon.asked(&["status"]);
    exits(&output, 1);
    assert!(stdout(&output).starts_with("cp-1 is not as it should be"), "{}", stdout(&output));
}

#[test]
fn json_shows_the_report_of_the_daemon() {
    let mut daemon = Daemon::json("status-json", STATUS);
    let (output, _) = daemon.asked(&["status", "-o", "json"]);
    exits(&output, 1);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let golden: serde_json::Value = serde_json::from_str(STATUS).expect("golden JSON");
    assert_eq!(shown, golden);
}

#[test]
fn a_chunked_answer_is_put_together() {
    let rules = include_str!("../../api/tests/rules.json");
    let (head, tail) = rules.split_at(100);
    let mut daemon = Daemon::answering(
        "chunked",
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n",
            head.len(),
            tail.len()
        ),
    );
    let (output, request) = daemon.asked(&["rules", "--unused", "-o", "json"]);
    exits(&output, 0);
    assert!(request.starts_with("GET /v1/rules "), "{request}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packets: Vec<_> =
        shown["rules"].as_array().expect("rules").iter().map(|rule| &rule["packets"]).collect();
    assert_eq!(packets, [&serde_json::json!(0)], "only rules without a hit");
}

#[test]
fn connections_are_chosen_by_peer_and_limit() {
    let connections = include_str!("../../api/tests/connections.json");
    let mut daemon = Daemon::json("connections", connections);
    let (output, _) = daemon.asked(&["connections", "--peer", "198.51.100.7", "--limit", "1"]);
    exits(&output, 0);
    let text = stdout(&output);
    assert!(text.contains("198.51.100.7:443"), "{text}");
    assert!(!text.contains("2001:db8"), "{text}");
    assert!(text.ends_with("and 1 more\n"), "{text}");
}

#[test]
fn a_reload_is_yes_when_the_files_are_in_force_and_no_when_they_are_refused() {
    let mut daemon = Daemon::json("reload-no", STATUS);
    let (output, request) = daemon.asked(&["reload"]);
    exits(&output, 1);
    assert!(request.starts_with("POST /v1/reload "), "{request}");
    assert!(stdout(&output).starts_with("The files are refused;"), "{}", stdout(&output));

    let mut taken: serde_json::Value = serde_json::from_str(STATUS).expect("golden JSON");
    taken["refused"] = serde_json::Value::Null;
    let mut daemon = Daemon::json("reload-yes", &taken.to_string());
    // Other faults of the node are the business of `status`.
    let (output, _) = daemon.asked(&["reload"]);
    exits(&output, 0);
    assert!(stdout(&output).starts_with("Every file was read:"), "{}", stdout(&output));
}

#[test]
fn audit_mode_is_changed_by_a_request() {
    let mut daemon = Daemon::json("audit", include_str!("../../api/tests/audit.json"));
    let (output, request) = daemon.asked(&["audit", "on"]);
    exits(&output, 0);
    assert!(request.starts_with("POST /v1/audit "), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"mode\":\"on\"}"), "{request}");
    assert!(stdout(&output).starts_with("Audit mode is on"), "{}", stdout(&output));
}

#[test]
fn a_refusal_of_the_daemon_is_told_in_its_words() {
    let body = "{\"message\":\"read-only file system\"}";
    let answer = format!(
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut daemon = Daemon::answering("refusal", answer);
    let (output, _) = daemon.asked(&["audit", "off"]);
    exits(&output, 2);
    assert_eq!(stderr(&output), "hostfw: read-only file system\n");
}

#[test]
fn who_may_ask_is_told_to_who_may_not() {
    let body = "{\"message\":\"`reload` is for root and the group netops, not for user 7\"}";
    let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut daemon = Daemon::answering("not-permitted", answer);
    let (output, _) = daemon.asked(&["reload"]);
    exits(&output, 77);
    assert_eq!(
        stderr(&output),
        "hostfw: `reload` is for root and the group netops, not for user 7\n"
    );
}

#[test]
fn an_answer_of_another_version_is_an_error() {
    let mut daemon = Daemon::json("strange", "{\"colour\":\"blue\"}");
    let (output, _) = daemon.asked(&["links"]);
    exits(&output, 2);
    assert!(stderr(&output).contains("of one version?"), "{}", stderr(&output));
}

#[test]
fn an_absent_daemon_is_named_with_its_socket() {
    let (folder, socket) = place("absent");
    let output = hostfw(&socket, &["status"]);
    fs::remove_dir_all(&folder).expect("the folder is ours");
    exits(&output, 69);
    let message = stderr(&output);
    assert!(message.contains(&socket.display().to_string()), "{message}");
    assert!(message.contains("systemctl status hostfw"), "{message}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_socket_that_nobody_listens_at_is_a_daemon_that_is_not_running() {
    let (folder, socket) = place("dead");
    drop(UnixListener::bind(&socket).expect("bind the socket"));
    let output = hostfw(&socket, &["links"]);
    fs::remove_dir_all(&folder).expect("the folder is ours");
    exits(&output, 69);
}

#[test]
fn a_forbidden_socket_is_a_missing_permission() {
    let (folder, socket) = place("forbidden");
    let listener = UnixListener::bind(&socket).expect("bind the socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).expect("ours");
    // Root may connect to everything, so the command runs as nobody, who must
    // be able to reach the binary and the socket.
    let program = folder.join("hostfw");
    fs::copy(env!("CARGO_BIN_EXE_hostfw"), &program).expect("copy the binary");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut command = Command::new(&program);
    command.arg("--socket").arg(&socket).arg("status");
    let root = fs::metadata("/proc/self").is_ok_and(|process| {
        use std::os::unix::fs::MetadataExt;
        process.uid() == 0
    });
    if root {
        use std::os::unix::process::CommandExt;
        command.uid(65_534).gid(65_534);
    } else {
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).expect("ours");
    }
    // A test beside this one may have started a program while the copy was
    // written, and that one holds the file open until it has begun.
    let mut output = command.output();
    for _ in 0..100 {
        if !output.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        output = command.output();
    }
    let output = output.expect("run hostfw");
    drop(listener);
    fs::remove_dir_all(&folder).expect("the folder is ours");
    exits(&output, 77);
    assert!(stderr(&output).contains("no permission"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_told_before_anything_is_asked() {
    for arguments in [
        &["statsu"][..],
        &[],
        &["connections", "--peer", "everyone"],
        &["rules", "-o", "xml"],
        &["policy", "trace", "x", "--node", "n", "ingress", "192.0.2.7", "tcp"],
    ] {
        let output = hostfw("/nonexistent.sock".as_ref(), arguments);
        exits(&output, 64);
        assert_eq!(stdout(&output), "");
        assert_ne!(stderr(&output), "");
    }
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [["--help"], ["--version"]] {
        let output = hostfw("/nonexistent.sock".as_ref(), &arguments);
        exits(&output, 0);
        assert_ne!(stdout(&output), "");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let body = include_str!("../../api/tests/connections.json");
    let entry = body.split_once('[').expect("a list").1.rsplit_once(']').expect("a list").0;
    let many = vec![entry; 2_000].join(",");
    let daemon = Daemon::json("pipe", &format!("{{\"connections\":[{many}]}}"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_hostfw"))
        .arg("--socket")
        .arg(&daemon.socket)
        .arg("connections")
        .stdout(Stdio::piped())
        .spawn()
        .expect("run hostfw");
    drop(child.stdout.take());
    let status = child.wait().expect("wait for hostfw");
    assert_eq!(status.code(), Some(0));
}
