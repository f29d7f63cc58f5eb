//! Things that listen where a server should: they accept, and then misbehave.

use headless_mysql::testkit::stage::Stage;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is done with each connection.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Accepts and never speaks.
    Silent,
    /// Accepts and closes.
    Closes,
    /// Speaks at once, and keeps the connection open.
    SaysAndHangs(Vec<u8>),
    /// Speaks at once and closes.
    SaysAndCloses(Vec<u8>),
    /// Answers whatever it is sent, as an HTTP server does.
    Answers(Vec<u8>),
}

/// A listener on an address of its own; gone when dropped.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Double {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (says, stays) = match &manner {
                    Manner::Silent => (None, true),
                    Manner::Closes => (None, false),
                    Manner::SaysAndHangs(words) => (Some(words), true),
                    Manner::SaysAndCloses(words) => (Some(words), false),
                    Manner::Answers(words) => {
                        let words = words.clone();
                        tokio::spawn(async move {
                            let mut heard = [0; 512];
                            while let Ok(1..) = socket.read(&mut heard).await {
                                let _ = socket.write_all(&words).await;
                            }
                        });
                        continue;
                    }
                };
                if let Some(words) = says {
                    let _ = socket.write_all(words).await;
                }
                if stays {
                    kept.push(socket);
                }
            }
        });
        Self { address, task }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nothing listens. Not a port that was free a moment ago: another test may get
/// it.
pub(crate) fn closed_port() -> SocketAddr {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    // Port 1 is nobody's.
    ([127, 0, 1, host], 1).into()
}

/// What a real server says first.
pub(crate) async fn greeting(stage: &Stage) -> Vec<u8> {
    let address = (stage.lab.address(0), stage.lab.port());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut greeting = vec![0; 1024];
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut greeting));
    let length = read.await.unwrap().unwrap();
    greeting.truncate(length);
    greeting
}

/// Every way not to be a MySQL server, and a word of the error that says so.
pub(crate) async fn impostors(stage: &Stage) -> Vec<(&'static str, SocketAddr, Option<Double>)> {
    let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno".to_vec();
    let ssh = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec();
    let greeting = greeting(stage).await;
    let half = greeting[..greeting.len() / 2].to_vec();
    // A packet of five bytes, the first in a row, that is no greeting.
    let foreign = vec![5, 0, 0, 0, 1, 2, 3, 4, 5];
    // Read as the beginning of a packet of 3 MB, the rest of which never comes.
    let noise: Vec<u8> = (0..4096u32).map(|n| (n * 151 + 7) as u8 | 1).collect();
    let table = [
        ("did not complete a MySQL login", Manner::Silent),
        ("closed it before the MySQL login", Manner::Closes),
        (
            "does not speak the MySQL protocol",
            Manner::SaysAndCloses(http.clone()),
        ),
        (
            "does not speak the MySQL protocol",
            Manner::SaysAndHangs(http.clone()),
        ),
        ("did not complete a MySQL login", Manner::Answers(http)),
        (
            "does not speak the MySQL protocol",
            Manner::SaysAndHangs(ssh),
        ),
        (
            "does not speak the MySQL protocol",
            Manner::SaysAndHangs(foreign),
        ),
        (
            "did not complete a MySQL login",
            Manner::SaysAndHangs(noise),
        ),
        (
            "does not speak the MySQL protocol",
            Manner::SaysAndCloses(half.clone()),
        ),
        ("did not complete a MySQL login", Manner::SaysAndHangs(half)),
        (
            "did not complete a MySQL login",
            Manner::SaysAndHangs(greeting.clone()),
        ),
        (
            "closed it before the MySQL login",
            Manner::SaysAndCloses(greeting),
        ),
    ];
    let mut impostors = vec![("Connection refused", closed_port(), None)];
    for (words, manner) in table {
        let double = Double::start(manner).await;
        impostors.push((words, double.address, Some(double)));
    }
    impostors
}
