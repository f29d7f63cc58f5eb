//! Short-lived helper programs: finds them and runs them to completion.
//!
//! Owns the search for programs, the detection of UTS namespaces and the deadline of every helper.
//! It must never leave a helper behind: a cancelled run kills the process it started.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::error::{LabError, last_lines};

/// Directories where distributions install servers but which are not on an ordinary user's PATH.
const USUAL_PLACES: [&str; 5] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/usr/local/mysql/scripts",
];

/// The interval at which processes are polled.
pub(super) const POLL: Duration = Duration::from_millis(3);

const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// How a server can get its own host name on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hostnames {
    /// `unshare --uts`, as root.
    Privileged,
    /// `unshare -Ur --uts`: a user namespace grants the right to create a UTS namespace.
    UserNamespace,
    /// Not allowed here: every server shows the machine's name.
    Shared,
}

/// A helper process. If it is dropped before its end, it is killed and reaped.
struct Running(Child);

impl Hostnames {
    /// What this machine permits. Detected once per process.
    pub(super) async fn detect() -> Self {
        static FOUND: OnceCell<Hostnames> = OnceCell::const_new();
        *FOUND
            .get_or_init(|| async {
                for candidate in [Self::Privileged, Self::UserNamespace] {
                    let name = "headless-mysql-probe";
                    let words = candidate.wrap(name, ["uname".to_owned(), "-n".to_owned()]);
                    let mut command = Command::new(&words[0]);
                    command.args(&words[1..]);
                    let said = run("a probe of UTS namespaces", command, None, PROBE_DEADLINE);
                    if said.await.is_ok_and(|said| said.trim() == name) {
                        return candidate;
                    }
                }
                Self::Shared
            })
            .await
    }

    /// The words of `command`, run in a UTS namespace with `hostname` where that is possible. No
    /// process is added: `unshare` and `sh` replace themselves with the command.
    pub(super) fn wrap(
        self,
        hostname: &str,
        command: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        let unshare: &[&str] = match self {
            Self::Privileged => &["unshare", "--uts"],
            Self::UserNamespace => &["unshare", "-Ur", "--uts"],
            Self::Shared => return command.into_iter().collect(),
        };
        let script = r#"hostname "$1" && shift && exec "$@""#;
        let rename = ["sh", "-c", script, "sh", hostname];
        let words = unshare.iter().chain(&rename).map(|&word| word.to_owned());
        words.chain(command).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the child was reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path of the first of `names` that is found on PATH or in [`USUAL_PLACES`].
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(USUAL_PLACES.map(PathBuf::from))
        .collect();
    names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(|candidate| candidate.is_file())
}

/// Runs a helper to its end and returns its output, stdout and stderr together.
pub(super) async fn run(
    what: &str,
    mut command: Command,
    stdin: Option<File>,
    deadline: Duration,
) -> Result<String, LabError> {
    let failed = |source| LabError::Io {
        what: what.to_owned(),
        source,
    };
    // A file instead of a pipe: a pipe would have to be read while the helper runs.
    let mut output = tempfile::tempfile().map_err(failed)?;
    command
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output.try_clone().map_err(failed)?);
    let mut child = Running(command.spawn().map_err(failed)?);
    let end = Instant::now() + deadline;
    let status = loop {
        match child.0.try_wait().map_err(failed)? {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => sleep(POLL).await,
        }
    };
    let mut said = Vec::new();
    output
        .rewind()
        .and_then(|()| output.read_to_end(&mut said))
        .map_err(failed)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => Err(LabError::Command {
            what: what.to_owned(),
            status: status.to_string(),
            output: last_lines(&said),
        }),
        None => Err(LabError::Timeout {
            what: format!("the end of {what}"),
            after: deadline,
            last: last_lines(&said),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_quoted() {
        let error = run(
            "a test",
            shell("echo because; exit 3"),
            None,
            PROBE_DEADLINE,
        )
        .await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("because") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_helper_that_hangs_meets_its_deadline() {
        let error = run(
            "a test",
            shell("exec sleep 60"),
            None,
            Duration::from_millis(50),
        )
        .await;
        assert!(matches!(error, Err(LabError::Timeout { .. })), "{error:?}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_not_found() {
        assert!(find(&["sh"]).is_some());
        assert!(find(&["no-such-program-anywhere"]).is_none());
    }
}
