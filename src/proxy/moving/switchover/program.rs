//! An operator's program that fences or promotes: started with its arguments as they are, so that no shell reads what is put in.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

/// Bytes of what it writes that a person is shown.
const SHOWN: usize = 400;
/// How long the end of what it wrote is waited for once it has ended.
const LEFT: Duration = Duration::from_millis(100);

/// How often it is asked whether it has ended. tokio's own processes would be asked for on every turn of every worker.
const ASKED: Duration = Duration::from_millis(10);

/// A program and its arguments, with words in braces.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) words: Vec<String>,
    pub(super) patience: Duration,
}

/// What stands for the words in braces.
pub(super) type Values = [(&'static str, String)];

impl Program {
    /// Whether there is one.
    pub(super) fn is_given(&self) -> bool {
        !self.words.is_empty()
    }

    /// Runs it to its end; gives the end of what it wrote, on one line. One that takes too long is killed.
    pub(super) async fn run(&self, values: &Values) -> Result<String, String> {
        let filled: Vec<String> = self.words.iter().map(|word| filled(word, values)).collect();
        let Some((program, arguments)) = filled.split_first() else { return Err("no program is given".into()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let cannot = |error| format!("{program} cannot be started: {error}");
        let mut child = Started(Some(command.spawn().map_err(cannot)?));
        let (out, err) = child.output().map_err(cannot)?;
        let mut reading = pin!(async { tokio::join!(tail(out), tail(err)) });
        let ended = async {
            let mut said = None;
            // Both are read while it runs: a full pipe would stop it.
            let status = loop {
                tokio::select! {
                    status = child.end() => break status,
                    both = &mut reading, if said.is_none() => said = Some(both),
                }
            };
            let said = match said {
                Some(both) => both,
                // What it has left running may keep the pipes open.
                None => timeout(LEFT, &mut reading).await.unwrap_or_default(),
            };
            (said.0 + &said.1, status)
        };
        let (said, status) = timeout(self.patience, ended)
            .await
            .map_err(|_| format!("{program} did not end within {:?} and was killed", self.patience))?;
        let status = status.map_err(|error| format!("{program}: {error}"))?;
        let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if status.success() { Ok(said) } else { Err(format!("{program} ended with {status}: {said}")) }
    }
}

/// A program that runs; it is killed when nobody waits for it any more.
struct Started(Option<Child>);

impl Started {
    /// What it writes, on both ways.
    fn output(&mut self) -> io::Result<(Option<Receiver>, Option<Receiver>)> {
        let Some(child) = &mut self.0 else { return Ok((None, None)) };
        let out = child.stdout.take().map(|out| Receiver::from_owned_fd(OwnedFd::from(out)));
        let err = child.stderr.take().map(|err| Receiver::from_owned_fd(OwnedFd::from(err)));
        Ok((out.transpose()?, err.transpose()?))
    }

    async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            let Some(child) = &mut self.0 else { return Err(io::ErrorKind::NotFound.into()) };
            if let Some(status) = child.try_wait()? {
                self.0 = None;
                return Ok(status);
            }
            sleep(ASKED).await;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let _ = child.kill();
        // A killed process stays until somebody has asked how it ended, and it may be long in dying.
        std::thread::spawn(move || child.wait());
    }
}

/// One pass: what is put in is never looked at for words again.
fn filled(word: &str, values: &Values) -> String {
    let (mut filled, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let behind = after.strip_prefix(name)?.strip_prefix('}')?;
            Some((value, behind))
        });
        match known {
            Some((value, behind)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

/// The end of what comes, read to its end.
async fn tail(stream: Option<Receiver>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let spare = kept.len().saturating_sub(SHOWN);
        kept.drain(..spare);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str], patience: u64) -> Program {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Program { words, patience: Duration::from_millis(patience) }
    }

    #[tokio::test]
    async fn what_is_put_in_is_one_argument_whatever_it_is() {
        let values = [("host", "a; echo {port} $(id) '\"".to_owned()), ("port", "1".to_owned())];
        let said = program(&["/bin/echo", "<{host}>", "{port}{x}{"], 10_000).run(&values).await.unwrap();
        assert_eq!(said, "<a; echo {port} $(id) '\"> 1{x}{");
    }

    #[tokio::test]
    async fn one_that_fails_does_not_end_or_is_not_there_is_said() {
        let failed = program(&["/bin/sh", "-c", "echo no; exit 3"], 10_000).run(&[]).await.unwrap_err();
        assert!(failed.contains("exit status: 3") && failed.contains("no"), "{failed}");
        assert!(program(&["/bin/sleep", "60"], 50).run(&[]).await.unwrap_err().contains("killed"));
        assert!(program(&["/nowhere/x"], 50).run(&[]).await.unwrap_err().contains("cannot be started"));
        // What fills a pipe does not stop it.
        let much = program(&["/bin/sh", "-c", "yes 123 | head -c 300000; echo end"], 10_000).run(&[]).await.unwrap();
        assert!(much.ends_with("end") && much.len() <= SHOWN, "{much}");
    }
}
