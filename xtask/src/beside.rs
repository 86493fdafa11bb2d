//! Commands that run beside everything else, one after the other, because they
//! wait most of the time or because they have time.
//!
//! What they write is kept until it is asked for, so that it stays in one piece.
//! They end with this program, however that ends.

use std::{
    io::{self, Read},
    process::{Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::run;

/// Commands that are running, or wait for those before them.
pub(crate) struct Beside {
    thread: JoinHandle<Vec<Done>>,
}

/// A command that has come to an end.
pub(crate) struct Done {
    pub(crate) name: String,
    /// The command as a person would type it.
    pub(crate) line: String,
    /// Output and errors, as they came.
    pub(crate) text: String,
    pub(crate) status: io::Result<ExitStatus>,
    pub(crate) took: Duration,
}

impl Beside {
    /// Starts the first of these commands; each has the name of its step.
    pub(crate) fn start(commands: Vec<(String, Command)>) -> Self {
        for (name, command) in &commands {
            println!("beside what follows: {name}: {}", run::line(command));
        }
        // The thread that starts a command outlives it: a command that is tied
        // to this program is told of the end of the thread.
        let all = move || commands.into_iter().map(|(name, command)| done(name, &command));
        Self { thread: std::thread::spawn(move || all().collect()) }
    }

    /// Waits for all of them.
    pub(crate) fn wait(self) -> Vec<Done> {
        self.thread.join().expect("nobody panics there")
    }
}

fn done(name: String, command: &Command) -> Done {
    let line = run::line(command);
    let began = Instant::now();
    let mut text = Vec::new();
    let status = output(&mut run::tied(command), &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    Done { name, line, text, status, took: began.elapsed() }
}

/// Runs the command; output and errors stay in their order.
fn output(command: &mut Command, text: &mut Vec<u8>) -> io::Result<ExitStatus> {
    let (mut reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the writing ends; what is read ends with the last one.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    reader.read_to_end(text)?;
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (String, Command) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (script.to_owned(), command)
    }

    #[test]
    fn commands_run_in_their_order_and_keep_what_they_write() {
        let [one, other] = ["echo a; echo b >&2; echo c", "echo d; exit 3"].map(shell);
        let done = Beside::start(vec![one, other]).wait();
        let texts: Vec<&str> = done.iter().map(|done| done.text.as_str()).collect();
        assert_eq!(texts, ["a\nb\nc\n", "d\n"]);
        let codes = done.iter().map(|done| done.status.as_ref().ok().and_then(ExitStatus::code));
        assert_eq!(codes.collect::<Vec<_>>(), [Some(0), Some(3)]);
    }

    #[test]
    fn what_cannot_be_started_leaves_the_rest_to_run() {
        let mut nowhere = Command::new("true");
        nowhere.current_dir("/no/such/folder");
        let commands = vec![("nowhere".to_owned(), nowhere), shell("echo here")];
        let done = Beside::start(commands).wait();
        assert!(done[0].status.is_err());
        assert_eq!(done[1].text, "here\n");
    }

    #[test]
    fn a_command_ends_with_the_one_that_started_it() {
        let (_, command) = shell("echo $$; exec sleep 600");
        let thread = std::thread::spawn(move || {
            let mut child = run::tied(&command).stdout(Stdio::piped()).spawn().expect("a shell");
            let mut number = [0; 16];
            let output = child.stdout.as_mut().expect("its output was asked for");
            let length = output.read(&mut number).expect("its number");
            assert!(length > 1);
            child
        });
        // The thread that has started it is no more.
        let status = thread.join().expect("it starts").wait().expect("it ends");
        assert!(!status.success());
    }
}
