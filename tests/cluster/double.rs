//! Server doubles: they listen at a server's address, accept connections, and then misbehave.

use headless_mysql_testkit::stage::Stage;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The behaviour of a double on each connection.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Accepts and sends nothing.
    Silent,
    /// Accepts and closes.
    Closes,
    /// Sends this at once, and keeps the connection open.
    SaysAndHangs(Vec<u8>),
    /// Sends this at once, and closes.
    SaysAndCloses(Vec<u8>),
    /// Sends this in answer to the client's bytes, as an HTTP server does.
    Answers(Vec<u8>),
    /// Sends the first of these at once, and the next ones in answer to the client's packets.
    Converses(Vec<Vec<u8>>),
}

/// A listener at its own address. Dropping it closes the address.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Double {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
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
                    Manner::Converses(lines) => {
                        let lines = lines.clone();
                        tokio::spawn(async move {
                            let mut heard = [0; 512];
                            for line in lines {
                                let _ = socket.write_all(&line).await;
                                let Ok(1..) = socket.read(&mut heard).await else {
                                    return;
                                };
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
        Self {
            address,
            accepted,
            task,
        }
    }

    /// The number of connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nothing listens. A port that was free a moment ago would not do, because
/// another test may bind it.
pub(crate) fn closed_port() -> SocketAddr {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    // Nothing listens on port 1.
    ([127, 0, 1, host], 1).into()
}

/// The greeting of a real server.
pub(crate) async fn greeting(stage: &Stage) -> Vec<u8> {
    let address = (stage.lab.address(0), stage.lab.port());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut greeting = vec![0; 1024];
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut greeting));
    let length = read.await.unwrap().unwrap();
    greeting.truncate(length);
    greeting
}

/// A packet of the protocol, with its sequence number.
pub(crate) fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[low, middle, high, number], body].concat()
}

/// The greeting of a server whose accounts use this login method.
pub(crate) fn greeting_with(method: &str) -> Vec<u8> {
    // Protocol 4.1, a database at login, and login methods by name.
    const CAPABILITIES: [u8; 4] = 0x0008_a209_u32.to_le_bytes();
    let [first, second, third, fourth] = CAPABILITIES;
    let (utf8, autocommit, salt) = (33, 2, 21);
    let body = [
        b"\x0a8.4.0\0".as_slice(),
        &1_u32.to_le_bytes(),
        b"saltsalt\0",
        &[first, second, utf8, autocommit, 0, third, fourth, salt],
        &[0; 10],
        b"moresaltmore\0",
        method.as_bytes(),
        b"\0",
    ];
    packet(0, &body.concat())
}

/// Every kind of address without a MySQL server, with a word that its error must contain.
pub(crate) async fn impostors(stage: &Stage) -> Vec<(&'static str, SocketAddr, Option<Double>)> {
    let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno".to_vec();
    let ssh = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec();
    let greeting = greeting(stage).await;
    let half = greeting[..greeting.len() / 2].to_vec();
    // A valid packet of five bytes with sequence number 1, which is not a greeting.
    let foreign = vec![5, 0, 0, 0, 1, 2, 3, 4, 5];
    // Parsed as the start of a 3 MB packet whose rest never arrives.
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
