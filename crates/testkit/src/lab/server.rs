//! One server process, and the shell that kills it when this process dies.
//!
//! Owns a child `sh` whose standard input is a pipe from this process. When the pipe closes, for
//! whatever reason (drop, panic, SIGKILL of this process), the shell kills the server, reaps it and
//! ends. The parent-death signal cannot do this: it fires when the *thread* that started the child
//! ends.
//!
//! The shell is the server's parent and reaps it as its last action. So the server's process id
//! cannot be reused while the shell lives. This module must never signal the id after that.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::PORT;
use super::error::{LabError, log_tail};
use super::process::POLL;

/// Arguments: the node's directory, then the server's command.
///
/// Signals are caught rather than ignored, because the server would inherit ignored signals. A
/// signal at any time ends both the shell and the server. For example, when this process dies while
/// the server is frozen, the kernel sends SIGHUP to the orphaned process group. Without the word
/// `keep` the shell removes the directory as well, because this process no longer exists to do so.
const SUPERVISOR: &str = r#"
end() {
    trap : HUP INT TERM PIPE
    if [ -n "$!" ]; then
        kill -9 "$!"
        wait "$!"
    fi
    if [ "$word" != keep ]; then
        rm -rf "$directory"
        rmdir "${directory%/*}"
    fi
    exit
}
directory=$1; shift
trap end HUP INT TERM PIPE
"$@" </dev/null >/dev/null 2>>"$directory/error.log" &
echo "$!"
exec >&- 2>&-
read -r word
end
"#;

/// Reaping takes milliseconds; this limits the wait on a machine in trouble.
const REAP_STEPS: u32 = 5_000;

/// A running server. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub(super) struct Server {
    pod: String,
    log: PathBuf,
    supervisor: Child,
    pipe: Option<ChildStdin>,
    pid: Option<Pid>,
}

impl Server {
    /// Starts `command`. Returns when its process exists, long before it accepts connections.
    pub(super) async fn spawn(
        pod: &str,
        directory: &Path,
        command: &[String],
        deadline: Duration,
    ) -> Result<Self, LabError> {
        let starting = || LabError::io(format!("starting {pod}"));
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(directory)
            .args(command)
            // Its own process group: the terminal's Ctrl-C must reach only this process, whose end
            // closes the pipe.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(starting())?;
        let (pipe, output) = (supervisor.stdin.take(), supervisor.stdout.take());
        let log = directory.join("error.log");
        let mut server = Self {
            pod: pod.to_owned(),
            log,
            supervisor,
            pipe,
            pid: None,
        };

        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            if let Some(output) = output {
                BufReader::new(output).read_line(&mut line)?;
            }
            Ok(line)
        });
        let line = match timeout(deadline, line).await {
            Ok(line) => line
                .unwrap_or_else(|join| Err(join.into()))
                .map_err(starting())?,
            Err(_) => return Err(server.late("the start of the process", deadline)),
        };
        server.pid = line.trim().parse().ok().and_then(Pid::from_raw);
        match server.pid {
            Some(_) => Ok(server),
            None => Err(server.ended()),
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Waits until the server greets a client on `address`.
    pub(super) async fn greeting(
        &self,
        address: Ipv4Addr,
        deadline: Duration,
    ) -> Result<(), LabError> {
        let greeted = async {
            while !greets(address).await {
                if self.has_ended() {
                    return Err(self.ended());
                }
                sleep(POLL).await;
            }
            Ok(())
        };
        timeout(deadline, greeted)
            .await
            .unwrap_or_else(|_| Err(self.late("a greeting", deadline)))
    }

    pub(super) async fn freeze(&self, deadline: Duration) -> Result<(), LabError> {
        self.signal(Signal::STOP)?;
        // A thread stops only at its next return to user space.
        let stopped = self.until(|pid| threads(pid).all(|state| matches!(state, 'T' | 't')));
        self.bounded("the freeze", deadline, stopped).await
    }

    pub(super) fn thaw(&self) -> Result<(), LabError> {
        self.signal(Signal::CONT)
    }

    /// Asks the server to shut down and waits until it has ended.
    pub(super) async fn stop(&mut self, deadline: Duration) -> Result<(), LabError> {
        // A frozen server handles SIGTERM only after SIGCONT.
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)?;
        let ended = self.until(|pid| threads(pid).all(|state| matches!(state, 'Z' | 'X')));
        self.bounded("a clean shutdown", deadline, ended).await?;
        self.reaped(deadline).await
    }

    /// Kills the server and waits until it is gone.
    pub(super) async fn kill(&mut self, deadline: Duration) -> Result<(), LabError> {
        self.doom();
        self.reaped(deadline).await
    }

    /// Kills the server without waiting for its end.
    pub(super) fn doom(&mut self) {
        if self.pipe.is_some() {
            // An error means that the process is gone already.
            let _ = self.signal(Signal::KILL);
        }
        self.release();
    }

    /// Closes the pipe: the shell kills the server if it still runs, and ends.
    fn release(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A failed write means that the shell is gone.
            let _ = pipe.write_all(b"keep\n");
        }
    }

    async fn reaped(&mut self, deadline: Duration) -> Result<(), LabError> {
        self.release();
        let end = Instant::now() + deadline;
        loop {
            match self.supervisor.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() < end => sleep(POLL).await,
                Ok(None) => return Err(self.late("the end of the process", deadline)),
                Err(source) => {
                    return Err(LabError::Io {
                        what: format!("waiting for {}", self.pod),
                        source,
                    });
                }
            }
        }
    }

    /// Signals the server while the pipe is open. Until then the process id is certainly the
    /// server's.
    fn signal(&self, signal: Signal) -> Result<(), LabError> {
        match (self.pid, &self.pipe) {
            (Some(pid), Some(_)) => kill_process(pid, signal).map_err(|errno| LabError::Io {
                what: format!("signalling {}", self.pod),
                source: errno.into(),
            }),
            _ => Err(LabError::NotRunning {
                pod: self.pod.clone(),
            }),
        }
    }

    fn has_ended(&self) -> bool {
        self.pid
            .is_none_or(|pid| threads(pid).all(|state| matches!(state, 'Z' | 'X')))
    }

    async fn until(&self, reached: impl Fn(Pid) -> bool) {
        while !self.pid.is_none_or(&reached) {
            sleep(POLL).await;
        }
    }

    async fn bounded(
        &self,
        what: &str,
        deadline: Duration,
        wait: impl Future<Output = ()>,
    ) -> Result<(), LabError> {
        timeout(deadline, wait)
            .await
            .map_err(|_| self.late(what, deadline))
    }

    fn late(&self, what: &str, after: Duration) -> LabError {
        let what = format!("{what} of {}", self.pod);
        LabError::Timeout {
            what,
            after,
            last: log_tail(&self.log),
        }
    }

    fn ended(&self) -> LabError {
        LabError::Exited {
            pod: self.pod.clone(),
            log: log_tail(&self.log),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.doom();
        // A count instead of a deadline: the test's clock may be paused.
        for _ in 0..REAP_STEPS {
            match self.supervisor.try_wait() {
                Ok(None) => std::thread::park_timeout(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

/// The states of a process's threads, as kernel letters; empty when the process is gone.
fn threads(pid: Pid) -> impl Iterator<Item = char> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .filter_map(|stat| state(&stat))
}

/// The state from a line of `/proc/<pid>/stat`. It follows the name, which may contain any
/// character.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a server sends a greeting to a new client. Returns when the server has sent its first
/// byte, or when the connection fails. Waits as long as the server accepts and stays silent.
async fn greets(address: Ipv4Addr) -> bool {
    let Ok(stream) = TcpStream::connect((address, PORT)).await else {
        return false;
    };
    let mut packet = [0; 64];
    loop {
        if stream.readable().await.is_err() {
            return false;
        }
        match stream.try_read(&mut packet) {
            Ok(read) => return read > 0,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn sleeper() -> (tempfile::TempDir, Server) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("node");
        fs::create_dir(&directory).unwrap();
        let command = ["sleep", "100"].map(str::to_owned);
        let server = Server::spawn("test-0", &directory, &command, SOON)
            .await
            .unwrap();
        (root, server)
    }

    async fn tell_to_end(server: &mut Server) {
        // Under `nohup` a shell cannot catch SIGHUP.
        kill_process(Pid::from_child(&server.supervisor), Signal::TERM).unwrap();
        let end = Instant::now() + SOON;
        while server.supervisor.try_wait().unwrap().is_none() && Instant::now() < end {
            sleep(POLL).await;
        }
    }

    #[test]
    fn the_state_is_read_behind_any_name() {
        assert_eq!(state("12 (a) R (b)) S 1 2 3"), Some('S'));
        assert_eq!(state("nonsense"), None);
    }

    #[tokio::test]
    async fn dropping_a_frozen_server_leaves_no_process_but_its_directory() {
        let (root, server) = sleeper().await;
        let pid = server.pid().unwrap();
        server.freeze(SOON).await.unwrap();
        drop(server);
        assert_eq!(threads(pid).count(), 0);
        assert!(root.path().join("node").exists());
    }

    #[tokio::test]
    async fn a_closed_pipe_without_a_word_removes_process_and_directory() {
        let (root, mut server) = sleeper().await;
        let pid = server.pid().unwrap();
        server.freeze(SOON).await.unwrap();
        drop(server.pipe.take());
        server.reaped(SOON).await.unwrap();
        assert_eq!(threads(pid).count(), 0);
        assert!(!root.path().exists());
    }

    #[tokio::test]
    async fn a_supervisor_that_is_told_to_end_takes_its_server_with_it() {
        let (_root, mut server) = sleeper().await;
        let pid = server.pid().unwrap();
        server.freeze(SOON).await.unwrap();
        tell_to_end(&mut server).await;
        assert_eq!(threads(pid).count(), 0);
    }

    #[tokio::test]
    async fn a_supervisor_that_is_told_to_end_early_takes_its_server_with_it_too() {
        for _ in 0..50 {
            let (root, mut server) = sleeper().await;
            let pid = server.pid().unwrap();
            tell_to_end(&mut server).await;
            assert_eq!(threads(pid).count(), 0);
            assert!(!root.path().exists());
        }
    }

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_reported_with_its_words() {
        let root = tempfile::tempdir().unwrap();
        let command = ["sh", "-c", "echo no disk >&2; exit 1"].map(str::to_owned);
        let server = Server::spawn("test-0", root.path(), &command, SOON)
            .await
            .unwrap();
        let mut addresses = super::super::address::Addresses::claim().unwrap();
        let error = server
            .greeting(addresses.fresh().unwrap(), SOON)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no disk"), "{error}");
    }
}
