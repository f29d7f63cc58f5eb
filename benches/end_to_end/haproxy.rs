//! HAProxy in front of the replicas, with a typical configuration.

use headless_mysql_testkit::stage::Stage;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A running HAProxy process; dropping this ends it.
pub(crate) struct HaProxy {
    process: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl HaProxy {
    /// Balances by least connections, checks the replicas every second, and closes the connections
    /// to a server that is down.
    pub(crate) async fn start(stage: &Stage) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address: SocketAddr = (stage.lab.fresh_address().unwrap(), 3307).into();
        let replicas = stage.lab.ordinals().into_iter().filter(|n| *n > 0);
        let servers: String = replicas
            .map(|n| {
                let (ip, port) = (stage.lab.address(n), stage.lab.port());
                format!("    server replica{n} {ip}:{port} check inter 1s fall 2 rise 1 on-marked-down shutdown-sessions\n")
            })
            .collect();
        let config = format!(
            "global\n    maxconn 2000\ndefaults\n    mode tcp\n    timeout connect 2s\n    \
             timeout client 1h\n    timeout server 1h\nlisten replicas\n    bind {address}\n    \
             balance leastconn\n{servers}"
        );
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let process = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy has to be installed");
        let proxy = Self {
            process,
            address,
            _directory: directory,
        };
        let give_up = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < give_up, "haproxy does not listen");
            sleep(Duration::from_millis(10)).await;
        }
        proxy
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
