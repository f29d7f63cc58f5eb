//! Tests of the module above: pods without sockets, on a paused clock.

use super::*;
use crate::server::questions;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

/// The limit of one question.
const LOOK: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A pod with slow answers.
struct Slow {
    pod: PodId,
    login: Duration,
    question: Duration,
    refuses: bool,
    /// Its connections do not answer.
    broken: AtomicBool,
    writable: Arc<AtomicBool>,
    logins: AtomicUsize,
}

impl Slow {
    fn new(login: Duration, question: Duration) -> Self {
        Self {
            pod: PodId::new("mysql-0", ([127, 0, 0, 1], 3306).into()),
            login,
            question,
            refuses: false,
            broken: AtomicBool::new(false),
            writable: Arc::default(),
            logins: AtomicUsize::new(0),
        }
    }

    fn refusal(&self) -> ConnectError {
        ConnectError::WrongPod {
            pod: self.pod.clone(),
            hostname: "mysql-7".to_owned(),
        }
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }
}

/// The facts of a server at this moment.
fn facts(writable: &AtomicBool) -> Facts {
    let read_only = if writable.load(Ordering::Relaxed) {
        "0"
    } else {
        "1"
    };
    let facts = questions::read(|name| {
        let value = match name {
            "version" => "10.11.14-MariaDB",
            "hostname" => "mysql-0",
            "server_id" => "1",
            "read_only" => read_only,
            "logged" => "0-1-1",
            "home" | "collation" => "",
            _ => return None,
        };
        Some(value.to_owned())
    });
    facts.unwrap()
}

impl Asked for Slow {
    type Conn = ();

    fn pod(&self) -> &PodId {
        &self.pod
    }

    fn log_in(&self) -> Login<()> {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let (takes, writable) = (self.login, Arc::clone(&self.writable));
        let refusal = self.refuses.then(|| self.refusal());
        Login(tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            match refusal {
                Some(refusal) => Err(refusal),
                None => Ok(((), facts(&writable))),
            }
        }))
    }

    async fn question(&self, (): ()) -> Option<((), Facts)> {
        tokio::time::sleep(self.question).await;
        let broken = self.broken.swap(false, Ordering::Relaxed);
        (!broken).then(|| ((), facts(&self.writable)))
    }

    fn closed(&self) -> ConnectError {
        self.refusal()
    }
}

/// The answer to one question, and how long it took.
async fn look(monitor: &mut Monitor<()>, pod: &Slow) -> (Result<Facts, ConnectError>, Duration) {
    let begun = Instant::now();
    let heard = monitor.hear(pod, begun + LOOK).await;
    (heard, begun.elapsed())
}

/// A second question after the login would exceed the limit, every time.
#[tokio::test(start_paused = true)]
async fn a_login_that_ends_while_a_look_waits_for_it_is_the_answer_of_that_look() {
    let pod = Slow::new(millis(1500), millis(900));
    let mut monitor = Monitor::default();
    let (heard, took) = look(&mut monitor, &pod).await;
    assert!(matches!(heard, Err(ConnectError::Silent { .. })));
    assert_eq!(took, LOOK);

    let (heard, took) = look(&mut monitor, &pod).await;
    heard.unwrap();
    assert_eq!(took, millis(500));
    // From now on, each question gets its answer, on the same connection.
    for _ in 0..3 {
        let (heard, took) = look(&mut monitor, &pod).await;
        heard.unwrap();
        assert_eq!(took, millis(900));
    }
    assert_eq!(pod.logins(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_login_said_while_nobody_looked_is_asked_again() {
    let pod = Slow::new(millis(1500), millis(300));
    let mut monitor = Monitor::default();
    assert!(look(&mut monitor, &pod).await.0.is_err());
    tokio::time::sleep(LOOK).await;
    pod.writable.store(true, Ordering::Relaxed);
    let (heard, took) = look(&mut monitor, &pod).await;
    assert!(heard.unwrap().writable);
    assert_eq!((took, pod.logins()), (millis(300), 1));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_failed_while_nobody_looked_is_why_a_slow_pod_is_not_heard() {
    let mut pod = Slow::new(millis(1500), millis(300));
    pod.refuses = true;
    let mut monitor = Monitor::default();
    let (heard, _) = look(&mut monitor, &pod).await;
    assert!(matches!(heard, Err(ConnectError::Silent { .. })));
    tokio::time::sleep(LOOK).await;
    let (heard, took) = look(&mut monitor, &pod).await;
    assert!(matches!(heard, Err(ConnectError::WrongPod { .. })));
    assert_eq!((took, pod.logins()), (LOOK, 2));
    // The question that waits for the login gets its error.
    let (heard, took) = look(&mut monitor, &pod).await;
    assert!(matches!(heard, Err(ConnectError::WrongPod { .. })));
    assert_eq!(took, millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_its_connection_broken_logs_in_again() {
    let pod = Slow::new(millis(200), millis(100));
    let mut monitor = Monitor::default();
    look(&mut monitor, &pod).await.0.unwrap();
    pod.broken.store(true, Ordering::Relaxed);
    pod.writable.store(true, Ordering::Relaxed);
    let (heard, took) = look(&mut monitor, &pod).await;
    assert!(heard.unwrap().writable);
    assert_eq!((took, pod.logins()), (millis(300), 2));
}
