//! Making one connection to one pod: dial, log in, and prove that it is the pod we mean.
//!
//! Owns everything between an address and a connection that may be handed out: the driver's
//! options, the deadline, the one extra round trip that asks who the server is, and the typed
//! reasons for refusing it. It must never hand out a connection whose identity was not checked,
//! and must never put a password into an error.

use super::fault::{is_access_denied, is_overload};
use super::position::Position;
use crate::config::{Config, Verify};
use crate::error::{ConnectError, PodId};
use crate::name::Ordinal;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, QueryResult, Row, TextProtocol};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rows larger than this cannot be received. The protocol's own limit, so that the server's
/// `max_allowed_packet` decides; asking the server would cost a round trip per connect.
const MAX_PACKET: usize = 1 << 30;

/// The account, and whether any pod has ever accepted it.
#[derive(Debug, Default)]
pub(crate) struct Login {
    accepted: AtomicBool,
}

/// What a session may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    ReadWrite,
    /// The session refuses to write, even where the server would let it.
    ReadOnly,
}

/// What the server said about itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Distinguishes a server from its replacement under the same name and address.
    pub(crate) identity: String,
    pub(crate) writable: bool,
    pub(crate) position: Position,
    pub(crate) origin: Arc<Origin>,
}

/// What a session was when it was new, as far as a reset does not restore it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// A reset would not run `init_connect` again.
    pub(crate) has_init_connect: bool,
    /// The answer to [`home`]: a reset keeps the database and the role last chosen.
    pub(crate) home: String,
}

/// How to connect to one incarnation of a pod.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) pod: PodId,
    pub(crate) ordinal: Option<Ordinal>,
    verify: Verify,
    timeout: Duration,
    user: String,
    database: Option<String>,
    /// One per incarnation: it holds the driver's caches.
    opts: Opts,
    login: Arc<Login>,
}

impl fmt::Debug for Dialler {
    /// By hand: the driver's options print the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler")
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

impl Dialler {
    /// `host` is the pod's stable name; `ordinal` is known unless DNS did not tell.
    pub(crate) fn new(
        config: &Config,
        host: &str,
        ordinal: Option<Ordinal>,
        address: SocketAddr,
        login: Arc<Login>,
    ) -> Self {
        let opts = OptsBuilder::default()
            .ip_or_hostname(host)
            .resolved_ips(Some(vec![address.ip()]))
            .tcp_port(address.port())
            .user(Some(&config.user))
            .pass(config.password.as_ref().map(|secret| secret.expose()))
            .db_name(config.database.as_ref())
            // The default goes to the server's unix socket behind our back.
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(MAX_PACKET))
            // Idle connections are aged by the pool, not by the driver.
            .wait_timeout(Some(28_800));
        let label = host.split('.').next().unwrap_or(host);
        Self {
            pod: PodId::new(label, address),
            ordinal,
            verify: config.verify,
            timeout: config.connect_timeout,
            user: config.user.clone(),
            database: config.database.clone(),
            opts: opts.into(),
            login,
        }
    }

    /// Connects, logs in, sets the session up and checks who answered, within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub(crate) async fn connect(&self, kind: SessionKind) -> Result<(Raw, Facts), ConnectError> {
        let attempt = async {
            let conn = Conn::new(self.opts.clone()).await;
            let mut conn = Raw::new(conn.map_err(|error| self.refusal(error))?);
            let facts = self.introduce(&mut conn, kind).await;
            let facts = facts.map_err(|error| self.refusal(error))?;
            // Not before: MariaDB lets an expired password in, and then refuses every statement.
            self.login.accepted.store(true, Ordering::Relaxed);
            Ok((conn, facts))
        };
        let (conn, (hostname, facts)) = tokio::time::timeout(self.timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::Silent {
                    pod: self.pod.clone(),
                    after: self.timeout,
                })
            })?;
        self.check_hostname(&hostname)?;
        Ok((conn, facts))
    }

    /// Brings a session to the state every user may rely on.
    ///
    /// `autocommit` is set always: the status flag of a server-wide `autocommit=0` lies. The
    /// character set is set because a reset falls back to the server's on MySQL.
    fn setup(kind: SessionKind) -> &'static str {
        match kind {
            SessionKind::ReadWrite => {
                "SET NAMES utf8mb4; SET SESSION autocommit = 1; \
                 SET SESSION TRANSACTION READ WRITE"
            }
            SessionKind::ReadOnly => {
                "SET NAMES utf8mb4; SET SESSION autocommit = 1; SET SESSION TRANSACTION READ ONLY"
            }
        }
    }

    /// As [`Dialler::setup`] after a reset, and asks for the session's [`home`].
    pub(crate) fn setup_again(&self, conn: &Conn, kind: SessionKind) -> String {
        let go_back = match &self.database {
            Some(database) => format!("USE `{}`; ", database.replace('`', "``")),
            None => String::new(),
        };
        format!("{}; {go_back}SELECT {}", Self::setup(kind), home(conn))
    }

    /// Sets the session up and asks who this is, in one round trip.
    pub(crate) async fn introduce(
        &self,
        conn: &mut Raw,
        kind: SessionKind,
    ) -> mysql_async::Result<(String, Facts)> {
        let conn = conn.get()?;
        let maria = is_mariadb(conn);
        let home = home(conn);
        // A replica need not write what it applies into its own binary log.
        let applied = if maria {
            ", @@global.gtid_slave_pos"
        } else {
            ""
        };
        let question = if maria {
            "SELECT @@global.hostname, @@global.server_id, @@global.read_only, \
             @@global.init_connect, @@global.gtid_binlog_pos"
        } else {
            "SELECT @@global.hostname, @@global.server_uuid, \
             @@global.read_only OR @@global.super_read_only OR @@global.offline_mode, \
             @@global.init_connect, @@global.gtid_executed"
        };
        let mut result = conn
            .query_iter(format!(
                "{}; {question}, {home}{applied}",
                Self::setup(kind)
            ))
            .await?;
        let answer = last_row(&mut result).await?;
        // An error in a later result is pending here.
        result.drop_result().await?;
        let unexpected = || other("the server did not say who it is");
        let answer = answer.ok_or_else(unexpected)?;
        let text = |column: usize| -> Option<String> { answer.get_opt(column)?.ok() };
        let hostname = text(0).ok_or_else(unexpected)?;
        let server = text(1).ok_or_else(unexpected)?;
        let read_only = text(2).ok_or_else(unexpected)?;
        let position = text(4).unwrap_or_default();
        let position = if maria {
            let applied = text(6).unwrap_or_default();
            Position::parse_mariadb(&format!("{position},{applied}"))
        } else {
            Position::parse_mysql(&position)
        };
        let facts = Facts {
            identity: if maria {
                format!("{hostname}/{server}")
            } else {
                server
            },
            // An enum on newer MariaDB: only these two texts mean writable.
            writable: matches!(read_only.to_ascii_uppercase().as_str(), "0" | "OFF"),
            position: position.map_err(other)?,
            origin: Arc::new(Origin {
                has_init_connect: text(3).is_some_and(|init| !init.trim().is_empty()),
                home: text(5).ok_or_else(unexpected)?,
            }),
        };
        Ok((hostname, facts))
    }

    /// Compares the server's host name with the pod's.
    ///
    /// `Auto` refuses only a name that is another ordinal of this StatefulSet: pods on the host
    /// network carry the node's name.
    fn check_hostname(&self, hostname: &str) -> Result<(), ConnectError> {
        let label = hostname.split('.').next().unwrap_or(hostname);
        let expected = self.pod.name();
        let wrong = match self.verify {
            Verify::Off => false,
            Verify::Strict => !label.eq_ignore_ascii_case(expected),
            Verify::Auto => {
                self.ordinal.is_some()
                    && !label.eq_ignore_ascii_case(expected)
                    && same_statefulset(label, expected)
            }
        };
        if !wrong {
            return Ok(());
        }
        Err(ConnectError::WrongPod {
            pod: self.pod.clone(),
            hostname: hostname.to_owned(),
        })
    }

    fn refusal(&self, error: mysql_async::Error) -> ConnectError {
        use mysql_async::{DriverError, Error, IoError};
        let pod = self.pod.clone();
        match error {
            Error::Server(error) if is_overload(error.code) => ConnectError::Overloaded {
                pod,
                code: error.code,
                message: error.message,
            },
            // An account that worked before is right; this server is not one of ours, or not
            // ready yet.
            Error::Server(error)
                if is_access_denied(error.code) && !self.login.accepted.load(Ordering::Relaxed) =>
            {
                ConnectError::AccessDenied {
                    pod,
                    user: self.user.clone(),
                    code: error.code,
                    message: error.message,
                }
            }
            Error::Server(error) => ConnectError::Rejected {
                pod,
                code: error.code,
                message: error.message,
            },
            Error::Io(IoError::Io(error)) => match error.kind() {
                // A close with unread bytes arrives as a reset.
                std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe => ConnectError::ClosedEarly { pod },
                // What the driver's decoder makes of foreign bytes.
                std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => {
                    ConnectError::NotMysql {
                        pod,
                        cause: error.to_string(),
                    }
                }
                _ => ConnectError::Unreachable {
                    pod,
                    cause: error.to_string(),
                },
            },
            Error::Driver(
                error @ (DriverError::UnexpectedPacket { .. }
                | DriverError::PacketOutOfOrder
                | DriverError::UnknownAuthPlugin { .. }
                | DriverError::CantParseServerVersion { .. }),
            ) => ConnectError::NotMysql {
                pod,
                cause: error.to_string(),
            },
            error => ConnectError::Unreachable {
                pod,
                cause: error.to_string(),
            },
        }
    }
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> mysql_async::Error {
    mysql_async::Error::Other(error.into())
}

/// The first row of the last result set that has any.
pub(super) async fn last_row(
    result: &mut QueryResult<'_, '_, TextProtocol>,
) -> mysql_async::Result<Option<Row>> {
    let mut answer = None;
    while !result.is_empty() {
        let rows: Vec<Row> = result.collect().await?;
        answer = rows.into_iter().next().or(answer);
    }
    Ok(answer)
}

/// An expression for who is where: the account, the role (MySQL has them since 8.0) and the
/// database, none of which a reset restores.
fn home(conn: &Conn) -> &'static str {
    match conn.server_version() {
        (..8, ..) => "CONCAT(QUOTE(CURRENT_USER()), QUOTE(DATABASE()))",
        _ => "CONCAT(QUOTE(CURRENT_USER()), QUOTE(CURRENT_ROLE()), QUOTE(DATABASE()))",
    }
}

/// MariaDB announces itself as version 10 or later; MySQL is at 9.
pub(crate) fn is_mariadb(conn: &Conn) -> bool {
    conn.server_version().0 >= 10
}

/// Whether both are `<same StatefulSet>-<number>`.
fn same_statefulset(a: &str, b: &str) -> bool {
    let split = |name: &str| {
        let (set, number) = name.rsplit_once('-')?;
        number.parse::<u32>().ok()?;
        Some(set.to_ascii_lowercase())
    };
    match (split(a), split(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A driver connection that is closed, not cleaned up, when dropped.
///
/// The driver's own drop reads what is left of a result on a detached task, for as long as that
/// takes (seen: 8 s). This one sends a farewell if that is possible without waiting, and closes
/// the socket.
pub(crate) struct Raw(Option<Conn>);

impl Raw {
    pub(crate) fn new(conn: Conn) -> Self {
        Self(Some(conn))
    }

    /// What is left when a connection was moved on.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// The connection; an error after [`Raw::close`].
    pub(crate) fn get(&mut self) -> mysql_async::Result<&mut Conn> {
        let gone = mysql_async::Error::Driver(mysql_async::DriverError::ConnectionClosed);
        self.0.as_mut().ok_or(gone)
    }

    pub(crate) fn peek(&self) -> Option<&Conn> {
        self.0.as_ref()
    }

    /// Closes the connection at once, whatever state it is in.
    pub(crate) fn close(&mut self) {
        use futures_util::FutureExt;
        if let Some(conn) = self.0.take() {
            // The first poll marks the connection as closed, so that the driver's own drop does
            // nothing more.
            let _ = conn.disconnect().now_or_never();
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.close();
    }
}
