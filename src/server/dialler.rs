//! Makes one connection to one pod: dials, logs in, and checks that the server is the pod's.
//!
//! [`Dialler::connect`] returns the connection and the server's [`Facts`].
//!
//! Owns everything between an address and a connection that may be handed out: the driver's
//! options, the deadline, and the one extra round trip that asks who the server is. It must never
//! hand out a connection whose identity was not checked, and never put a password into an error.

use crate::config::{Config, SslMode, Verify};
use crate::error::{ConnectError, PodId, TlsProblem};
use crate::name::Ordinal;
use crate::server::closing_conn::ClosingConn;
use crate::server::credentials::Credentials;
use crate::server::facts::{Facts, Galera, Origin};
use crate::server::failure::{Cause, SETUP_PAUSE, of_connect_error};
use crate::server::introduction::introduce;
use crate::server::login::Login;
use crate::server::login_limiter::LoginLimiter;
use crate::server::names::Names;
use crate::server::questions;
use crate::server::refusal::refusal;
pub(crate) use crate::server::session_kind::SessionKind;
use crate::server::tls;
use futures_util::FutureExt;
use mysql_async::{Conn, Opts, OptsBuilder};
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Larger rows cannot be received. This is the protocol's own limit, so that the server's
/// `max_allowed_packet` decides; to ask the server would cost a round trip per connect.
const MAX_PACKET: usize = 1 << 30;

/// With `sslmode=preferred`: how long a server that offered no TLS is not asked for it again. Each
/// time, the question costs a connection.
const PLAIN_MEMORY: Duration = Duration::from_secs(60);

/// How to connect to one incarnation of a pod.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) pod: PodId,
    /// The pod's stable name, in full.
    pub(crate) host: Arc<str>,
    pub(crate) ordinal: Option<Ordinal>,
    pub(crate) verify: Verify,
    timeout: Duration,
    pub(crate) user: String,
    database: Option<String>,
    /// All options except the secrets and TLS.
    base: OptsBuilder,
    ssl_mode: SslMode,
    /// The name on the pod's certificate.
    tls_name: String,
    made: Arc<Mutex<Made>>,
    logins: Arc<LoginLimiter>,
    pub(crate) login: Arc<Login>,
    pub(crate) names: Arc<Names>,
}

/// What is kept from one connect to the next.
#[derive(Default)]
struct Made {
    /// The options for each version of the credentials, the newest last. They hold the TLS
    /// sessions, without which a connect takes twice as long. Two are kept, because the old
    /// password may be in use beside the new one.
    opts: Vec<(u64, Opts)>,
    /// When the server was last found without TLS.
    plain: Option<Instant>,
    /// How long the last successful login took.
    login_took: Duration,
    /// Whether a panic of the driver was logged.
    panicked: bool,
    /// A failure that only other credentials or a change on the server can cure, with its time and
    /// the version of the credentials.
    setup: Option<(Instant, u64, ConnectError)>,
}

impl fmt::Debug for Dialler {
    /// Written by hand, because the driver's options print the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler")
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

impl Dialler {
    /// `host` is the pod's stable name. `ordinal` is `None` if DNS did not give it.
    pub(crate) fn new(
        config: &Config,
        host: &str,
        ordinal: Option<Ordinal>,
        address: SocketAddr,
        login: Arc<Login>,
        names: Arc<Names>,
    ) -> Self {
        let base = OptsBuilder::default()
            .ip_or_hostname(host)
            .resolved_ips(Some(vec![address.ip()]))
            .tcp_port(address.port())
            .user(Some(&config.user))
            .db_name(config.database.as_ref())
            // By default the driver may switch to the server's Unix socket.
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(MAX_PACKET))
            .enable_cleartext_plugin(config.tls.cleartext_password)
            // The driver's cache has no limit, because `statements` decides which statements are
            // closed.
            .stmt_cache_size(usize::MAX)
            // The pool, not the driver, limits the age of idle connections.
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
            logins: Arc::default(),
            login,
            names,
        }
    }

    /// Connects, logs in, sets the session up and checks who answered, within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub(crate) async fn connect(
        &self,
        kind: SessionKind,
    ) -> Result<(ClosingConn, Facts), ConnectError> {
        let begun = Instant::now();
        let attempt = self.log_in(kind);
        let (conn, facts) = tokio::time::timeout(self.timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::Silent {
                    pod: self.pod.clone(),
                    after: self.timeout,
                })
            })?;
        self.check_hostname(&facts.hostname)?;
        self.check_ready(&facts)?;
        self.made().login_took = begun.elapsed();
        Ok((conn, facts))
    }

    /// How long to wait for a login that tests whether the server is alive: at least `least`, and
    /// longer if logins are slow.
    pub(crate) fn sign_of_life(&self, least: Duration) -> Duration {
        let twice = self.made().login_took * 2;
        twice.min(self.timeout).max(least)
    }

    /// Logs in with the current credentials. After a refused password the files are read again, and
    /// another login is tried if the password, or the password that the servers accept, has
    /// changed.
    pub(crate) async fn log_in(
        &self,
        kind: SessionKind,
    ) -> Result<(ClosingConn, Facts), ConnectError> {
        let address = self.pod.address();
        let mut refused = None;
        loop {
            let turn = match self.login.turn(address, refused.is_some()).await {
                Ok(turn) => turn,
                Err(known) => return Err(self.judge_login(refused.unwrap_or(known))),
            };
            let version = turn.credentials.version;
            if let Some(known) = self.known_setup_failure(version) {
                return Err(known);
            }
            let error = match self.guarded(&turn.credentials, kind).await {
                Ok(done) => {
                    // Not earlier: MariaDB accepts a login with an expired password, and then
                    // refuses every statement.
                    self.login.accepted(address, &turn.credentials);
                    return Ok(done);
                }
                Err(error) => error,
            };
            if error.is_of_setup() {
                self.made().setup = Some((Instant::now(), version, error.clone()));
            }
            if of_connect_error(&error).cause != Cause::Login {
                return Err(self.judge_login(error));
            }
            self.login.refused(address, &turn.credentials, &error);
            refused = Some(error);
        }
    }

    /// A recent setup failure that a new try with the same credentials would only repeat. Each try
    /// costs the server an aborted login, and MariaDB blocks a host after a number of them.
    fn known_setup_failure(&self, version: u64) -> Option<ConnectError> {
        let made = self.made();
        let (at, of, error) = made.setup.as_ref()?;
        (*of == version && at.elapsed() < SETUP_PAUSE).then(|| error.clone())
    }

    /// An account that worked before is correct, so its refusal is about the server: it is not one
    /// of ours, it is not ready yet, or the password is being changed.
    fn judge_login(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::AccessDenied {
                pod, code, message, ..
            } if self.login.was_accepted() => ConnectError::Rejected { pod, code, message },
            error => error,
        }
    }

    /// Calls [`Dialler::greet`]. A panic of the driver, for example for a login method that it was
    /// built without, becomes an error and is logged once.
    async fn guarded(
        &self,
        credentials: &Credentials,
        kind: SessionKind,
    ) -> Result<(ClosingConn, Facts), ConnectError> {
        // State that a panic left inconsistent is dropped with the connection.
        let greeting = AssertUnwindSafe(self.greet(credentials, kind));
        let panic = match greeting.catch_unwind().await {
            Ok(done) => return done,
            Err(panic) => panic,
        };
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let error = ConnectError::Panicked {
            pod: self.pod.clone(),
            message: text.unwrap_or("no message").to_owned(),
        };
        if !std::mem::replace(&mut self.made().panicked, true) {
            tracing::error!("{error}");
        }
        Err(error)
    }

    /// Connects, and asks the server who it is.
    async fn greet(
        &self,
        credentials: &Credentials,
        kind: SessionKind,
    ) -> Result<(ClosingConn, Facts), ConnectError> {
        let place = self.logins.place().await;
        let plain = self.ssl_mode == SslMode::Preferred
            && (self.made().plain).is_some_and(|at| at.elapsed() < PLAIN_MEMORY);
        let conn = match self.dial(credentials, plain).await {
            Err(error) if self.ssl_mode == SslMode::Preferred => {
                self.prefer(plain, error, credentials).await
            }
            conn => conn,
        };
        let mut conn = ClosingConn::new(conn?);
        let answer = async move { Ok((introduce(&mut conn, kind).await?, conn)) };
        let answer = self.logins.see_through(place, answer).await;
        let gone = || ConnectError::ClosedEarly {
            pod: self.pod.clone(),
        };
        let answer = answer.ok_or_else(gone)?;
        let (facts, conn) = answer.map_err(|error| refusal(&self.pod, &self.user, error))?;
        Ok((conn, facts))
    }

    async fn dial(&self, credentials: &Credentials, plain: bool) -> Result<Conn, ConnectError> {
        let conn = Conn::new(self.opts(credentials, plain)).await;
        conn.map_err(|error| refusal(&self.pod, &self.user, error))
    }

    /// Connects the other way (encrypted or not) if the way that was tried may be the reason for
    /// `error`.
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
            // The server offered no TLS a moment ago, but may demand it now. MariaDB reports that
            // like a wrong password.
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

    /// The driver's options for these credentials, made once per version.
    fn opts(&self, credentials: &Credentials, plain: bool) -> Opts {
        let password = credentials.password.as_ref().map(|secret| secret.expose());
        let base = || self.base.clone().pass(password);
        if plain {
            // These options hold no TLS session, so they are not kept.
            return base().into();
        }
        let mut made = self.made();
        let version = credentials.version;
        if let Some((_, opts)) = made.opts.iter().find(|(made, _)| *made == version) {
            return opts.clone();
        }
        let ssl = tls::options(self.ssl_mode, &self.tls_name, credentials.pem());
        let opts: Opts = base().ssl_opts(ssl).into();
        made.opts.push((version, opts.clone()));
        made.opts.sort_unstable_by_key(|(version, _)| *version);
        if made.opts.len() > 2 {
            made.opts.remove(0);
        }
        opts
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock()
    }

    /// The SQL that sets up a session after a reset, and asks whether this succeeded.
    pub(crate) fn set_up_again(&self, origin: &Origin, kind: SessionKind) -> String {
        let set_up = questions::set_up_again(kind, origin, self.database.as_deref());
        format!(
            "{set_up}; SELECT {}, {}",
            questions::HOME,
            questions::RECORDS
        )
    }
}

impl Dialler {
    /// Refuses a Galera node that rejects statements, and a Group Replication member that is absent
    /// from its group. Either may still be writable.
    pub(crate) fn check_ready(&self, facts: &Facts) -> Result<(), ConnectError> {
        if facts
            .group
            .as_ref()
            .is_some_and(|group| group.state.is_none())
        {
            self.login.warn_of_group(&self.user);
        }
        let of_node = || {
            facts
                .galera
                .as_ref()
                .and_then(Galera::refuses)
                .map(str::to_owned)
        };
        let of_member = || {
            let state = facts.group.as_ref()?.absence()?;
            Some(format!("its member state in Group Replication is {state}"))
        };
        match of_node().or_else(of_member) {
            None => Ok(()),
            Some(state) => Err(ConnectError::NotReady {
                pod: self.pod.clone(),
                state,
            }),
        }
    }

    /// Compares the server's host name with the pod's; see [`Names`](crate::server::names::Names).
    pub(crate) fn check_hostname(&self, hostname: &str) -> Result<(), ConnectError> {
        let expected = self.pod.name();
        if (self.names).allow(self.verify, hostname, expected, self.ordinal) {
            return Ok(());
        }
        Err(ConnectError::WrongPod {
            pod: self.pod.clone(),
            hostname: hostname.to_owned(),
        })
    }
}
