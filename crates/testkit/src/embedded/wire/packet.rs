//! Packets: a length, a sequence number, the content.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::super::fault::{Fault, Valve};

/// After a packet of this length, the content continues in the next packet.
const LONGEST: usize = 0xff_ff_ff;

/// More than any test sends; a larger announced length is not the MySQL protocol.
const LARGEST: usize = 64 << 20;

/// A connection that reads and writes packets.
#[derive(Debug)]
pub(in super::super) struct Wire {
    stream: TcpStream,
    valve: Valve,
    out: Vec<u8>,
    number: u8,
    /// Whether the client asked for no EOF packets.
    pub(super) deprecates_eof: bool,
}

impl Wire {
    pub(in super::super) fn new(
        stream: TcpStream,
        frozen: watch::Receiver<bool>,
        faults: watch::Receiver<Option<Fault>>,
    ) -> Self {
        Self {
            stream,
            valve: Valve::new(frozen, faults),
            out: Vec::new(),
            number: 0,
            deprecates_eof: false,
        }
    }

    /// The next packet of the client; `None` when the client has closed the connection.
    pub(in super::super) async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        loop {
            let mut head = [0; 4];
            match self.stream.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            let [a, b, c, number] = head;
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            self.number = number.wrapping_add(1);
            let start = content.len();
            if start + length > LARGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            content.resize(start + length, 0);
            self.stream.read_exact(&mut content[start..]).await?;
            if length < LONGEST {
                return Ok(Some(content));
            }
        }
    }

    /// Queues a packet for the next [`Wire::flush`].
    pub(super) fn packet(&mut self, content: &[u8]) {
        let mut rest = content;
        loop {
            let (part, more) = rest.split_at(rest.len().min(LONGEST));
            // The cast is lossless: the length is at most `LONGEST`.
            let [a, b, c, ..] = (part.len() as u32).to_le_bytes();
            self.out.extend([a, b, c, self.number]);
            self.out.extend(part);
            self.number = self.number.wrapping_add(1);
            rest = more;
            if part.len() < LONGEST {
                return;
            }
        }
    }

    /// Sends the queued packets, subject to the current fault.
    pub(in super::super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.valve.send(&mut self.stream, &out).await
    }

    /// Waits while the server is frozen.
    pub(in super::super) async fn thawed(&mut self) {
        self.valve.thawed().await;
    }
}
