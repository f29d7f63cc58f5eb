//! Making one connection to one pod: dial, log in, and prove that it is the pod we mean.
//!
//! Owns everything between an address and a connection that may be handed out: the driver's
//! options, the deadline, and the one extra round trip that asks who the server is. It must never hand out a connection whose identity was not checked,
//! and must never put a password into an error.

use super::credentials::Credentials;
use super::login::Login;
use super::position::Position;
pub(crate) use super::raw::Raw;
use super::refusal::refusal;
use super::statements::Budget;
use super::tls;
use crate::config::{Config, SslMode, Verify};
use crate::error::{ConnectError, PodId, TlsProblem, is_wrong_login};
use crate::name::Ordinal;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, QueryResult, Row, TextProtocol};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Rows larger than this cannot be received. The protocol's own limit, so that the server's
/// `max_allowed_packet` decides; asking the server would cost a round trip per connect.
const MAX_PACKET: usize = 1 << 30;

/// With `sslmode=preferred`: for how long a server that offered no TLS is not asked for it again,
/// which costs a connection each time.
const PLAIN_MEMORY: Duration = Duration::from_secs(60);

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
    /// What the server takes at most, of everybody.
    pub(crate) max_connections: Option<usize>,
}

/// What a session was when it was new, as far as a reset does not restore it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// The server it was made on; see [`Facts`].
    pub(crate) identity: String,
    /// A reset would not run `init_connect` again.
    pub(crate) has_init_connect: bool,
    /// The answer to [`home`]: a reset keeps the database and the role last chosen.
    pub(crate) home: String,
}

/// How to connect to one incarnation of a pod.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) pod: PodId,
    /// The pod's stable name, in full.
    pub(crate) host: Arc<str>,
    pub(crate) ordinal: Option<Ordinal>,
    verify: Verify,
    timeout: Duration,
    user: String,
    database: Option<String>,
    /// All but the secrets and TLS.
    base: OptsBuilder,
    ssl_mode: SslMode,
    /// The name on the pod's certificate.
    tls_name: String,
    made: Arc<Mutex<Made>>,
    login: Arc<Login>,
}

/// What is kept from connect to connect.
#[derive(Default)]
struct Made {
    /// By version of the credentials, the newest last: they hold the TLS sessions, without which a
    /// connect takes twice as long. Two, for the old password may be in use beside the new one.
    opts: Vec<(u64, Opts)>,
    /// When the server was last without TLS.
    plain: Option<Instant>,
    /// How long the last login took that succeeded.
    login_took: Duration,
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
        let base = OptsBuilder::default()
            .ip_or_hostname(host)
            .resolved_ips(Some(vec![address.ip()]))
            .tcp_port(address.port())
            .user(Some(&config.user))
            .db_name(config.database.as_ref())
            // The default goes to the server's unix socket behind our back.
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(MAX_PACKET))
            // One more than the pool keeps: see `statements`.
            .stmt_cache_size(
                Budget::new(config.statement_cache, config.max_connections)
                    .each()
                    .saturating_add(1),
            )
            // Idle connections are aged by the pool, not by the driver.
            .wait_timeout(Some(28_800));
        let label = host.split('.').next().unwrap_or(host);
        Self {
            pod: PodId::new(label, address),
            host: host.into(),
            ordinal,
            verify: config.verify,
            timeout: config.connect_timeout,
            user: config.user.clone(),
            database: config.database.clone(),
            base,
            ssl_mode: config.tls.mode(),
            tls_name: config.tls.name_of(host),
            made: Arc::default(),
            login,
        }
    }

    /// Connects, logs in, sets the session up and checks who answered, within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub(crate) async fn connect(&self, kind: SessionKind) -> Result<(Raw, Facts), ConnectError> {
        let begun = Instant::now();
        let attempt = self.log_in(kind);
        let (conn, (hostname, facts)) = tokio::time::timeout(self.timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::Silent {
                    pod: self.pod.clone(),
                    after: self.timeout,
                })
            })?;
        self.check_hostname(&hostname)?;
        self.made().login_took = begun.elapsed();
        Ok((conn, facts))
    }

    /// For how long a login should be waited for that tells whether the server is alive: at least
    /// `least`, and longer where logins are slow.
    pub(super) fn sign_of_life(&self, least: Duration) -> Duration {
        let twice = self.made().login_took * 2;
        twice.min(self.timeout).max(least)
    }

    /// Logs in with what is right now. A refused password is read again at once, and tried again
    /// if it, or the servers' idea of it, has changed.
    pub(super) async fn log_in(
        &self,
        kind: SessionKind,
    ) -> Result<(Raw, (String, Facts)), ConnectError> {
        let address = self.pod.address();
        let mut refused = None;
        loop {
            let turn = match self.login.turn(address, refused.is_some()).await {
                Ok(turn) => turn,
                Err(known) => return Err(self.judge_login(refused.unwrap_or(known))),
            };
            let error = match self.greet(&turn.credentials, kind).await {
                Ok(done) => {
                    // Not before: MariaDB lets an expired password in, and then refuses every
                    // statement.
                    self.login.accepted(address, &turn.credentials);
                    return Ok(done);
                }
                Err(error) => error,
            };
            match error {
                ConnectError::AccessDenied { code, .. } if is_wrong_login(code) => {
                    self.login.refused(address, &turn.credentials, &error);
                    refused = Some(error);
                }
                error => return Err(self.judge_login(error)),
            }
        }
    }

    /// An account that worked before is right; this server is not one of ours, or not ready yet,
    /// or the password is being changed.
    fn judge_login(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::AccessDenied {
                pod, code, message, ..
            } if self.login.was_accepted() => ConnectError::Rejected { pod, code, message },
            error => error,
        }
    }

    /// Connects, and asks who answered.
    async fn greet(
        &self,
        credentials: &Credentials,
        kind: SessionKind,
    ) -> Result<(Raw, (String, Facts)), ConnectError> {
        let plain = self.ssl_mode == SslMode::Preferred
            && (self.made().plain).is_some_and(|at| at.elapsed() < PLAIN_MEMORY);
        let conn = match self.dial(credentials, plain).await {
            Err(error) if self.ssl_mode == SslMode::Preferred => {
                self.prefer(plain, error, credentials).await
            }
            conn => conn,
        };
        let mut conn = Raw::new(conn?);
        let facts = self.introduce(&mut conn, kind).await;
        let facts = facts.map_err(|error| refusal(&self.pod, &self.user, error))?;
        Ok((conn, facts))
    }

    async fn dial(&self, credentials: &Credentials, plain: bool) -> Result<Conn, ConnectError> {
        let conn = Conn::new(self.opts(credentials, plain)).await;
        conn.map_err(|error| refusal(&self.pod, &self.user, error))
    }

    /// The other way, encrypted or not, if `error` may be because of the one that was tried.
    async fn prefer(
        &self,
        plain: bool,
        error: ConnectError,
        credentials: &Credentials,
    ) -> Result<Conn, ConnectError> {
        match error {
            ConnectError::Tls {
                problem: TlsProblem::NotOffered,
                ..
            } => {
                self.made().plain = Some(Instant::now());
                self.dial(credentials, true).await
            }
            // It offered none a moment ago; perhaps it demands it now. MariaDB does not tell that
            // from a wrong password.
            ConnectError::Tls { .. } | ConnectError::AccessDenied { .. } if plain => {
                self.made().plain = None;
                match self.dial(credentials, false).await {
                    Err(ConnectError::Tls {
                        problem: TlsProblem::NotOffered,
                        ..
                    }) => Err(error),
                    conn => conn,
                }
            }
            error => Err(error),
        }
    }

    /// The driver's options for these credentials, made once.
    fn opts(&self, credentials: &Credentials, plain: bool) -> Opts {
        let password = credentials.password.as_ref().map(|secret| secret.expose());
        let base = || self.base.clone().pass(password);
        if plain {
            // Nothing in it is worth keeping.
            return base().into();
        }
        let mut made = self.made();
        let version = credentials.version;
        if let Some((_, opts)) = made.opts.iter().find(|(made, _)| *made == version) {
            return opts.clone();
        }
        let ssl = tls::options(self.ssl_mode, &self.tls_name, credentials);
        let opts: Opts = base().ssl_opts(ssl).into();
        made.opts.push((version, opts.clone()));
        made.opts.sort_unstable_by_key(|(version, _)| *version);
        if made.opts.len() > 2 {
            made.opts.remove(0);
        }
        opts
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
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
                "{}; {question}, {home}, @@global.max_connections{applied}",
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
            let applied = text(7).unwrap_or_default();
            Position::parse_mariadb(&format!("{position},{applied}"))
        } else {
            Position::parse_mysql(&position)
        };
        let identity = match maria {
            true => format!("{hostname}/{server}"),
            false => server,
        };
        let facts = Facts {
            identity: identity.clone(),
            // An enum on newer MariaDB: only these two texts mean writable.
            writable: matches!(read_only.to_ascii_uppercase().as_str(), "0" | "OFF"),
            position: position.map_err(other)?,
            max_connections: text(6).and_then(|most| most.parse().ok()),
            origin: Arc::new(Origin {
                identity,
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
