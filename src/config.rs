//! Owns the options of a cluster: their defaults, their meaning, and whether a set of them makes
//! sense. It must never know the network: a [`Config`] that validates may still name a Service
//! that does not exist.
//!
//! # Every wait on the network and its end
//!
//! | wait | default | where it is set, or why it is fixed |
//! |---|---|---|
//! | first DNS answer in `connect` | 10 s | [`Config::with_connect_wait`]: the Service may be younger than the application |
//! | one look-up by DNS | 5 s | the old pods stay in use meanwhile |
//! | one look-up by a [`Resolve`](crate::discovery::Resolve) of your own | 10 s | as the default of [`RefreshConfig`](crate::topology::RefreshConfig): it should have a limit of its own |
//! | connect: TCP, greeting, login, first questions together | 2 s | [`Config::with_connect_timeout`]: two lost SYN packets, and yet four attempts fit into a checkout |
//! | checkout: queueing, checking, connecting, every attempt together | 5 s | [`Config::with_checkout_timeout`], [`Route::deadline`](crate::Route::deadline): longer than an ordinary fail-over inside one Service takes to show in DNS |
//! | an operation with all its rows; also BEGIN, COMMIT, ROLLBACK, a ping, PREPARE | 30 s | [`Config::with_statement_timeout`], [`Route::deadline`](crate::Route::deadline), [`PodConn::set_statement_timeout`](crate::PodConn::set_statement_timeout): longer than any statement of an interactive application should be |
//! | each row of `*_iter` and `*_stream` | none | the driver's own types; the caller's to time |
//! | what pods say of themselves: the replicas before the first write, every pod each second with [`PrimaryBy::Detected`] | 1 s for all of them together | a silent pod must not hold up a write for longer; a login that takes longer goes on, up to the connect timeout, and is heard the next time |
//! | ping, or the questions to an idle connection before it is used | 1 s | a round trip takes less than 100 ms where anybody would want to run this |
//! | reading what is left of a result | 1 s, within the deadline of the operation that finds it | reading on for longer costs more than another connection |
//! | cleaning a connection that came back: reset, ROLLBACK | 2 s | nobody waits for it but its slot |
//! | side connection that stops a statement | 1 s to connect (twice the last login, if that took longer than 500 ms; the connect timeout at most), 1 s for `KILL QUERY` | it is also the probe of a suspect pod, and the slot stays taken meanwhile |
//! | a connection that is made or checked to be kept warm | as any other | nobody waits for it |
//! | a probe of an ejected pod | the checkout's timeout | in a task of its own |
//! | close of a connection | none | nothing is waited for: a farewell is sent if the socket takes it at once |
//! | `shutdown` | the deadline given | [`Cluster::shutdown`](crate::Cluster::shutdown) |

mod choice;
mod discovery;
mod error;
mod getters;
mod pools;
mod reads;
mod secret;
mod tls;
mod validate;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub(crate) use self::{choice::Choice, tls::Tls};
pub use self::{
    choice::{ColdStart, PrimaryBy, ReplicaPolicy, Reset, SslMode, TwoPrimaries, Verify},
    error::ConfigError,
    secret::Secret,
};

/// What a cluster needs to know. Made by [`Config::new`] or from a URL ([`crate::url`]), changed
/// with the `with_*` methods, checked by [`Config::validate`]. Each option can be read back by the
/// method of its name.
///
/// ```
/// use std::time::Duration;
/// use headless_mysql::Config;
///
/// let config = Config::new("mysql.default.svc.cluster.local", "app")
///     .with_password("secret")
///     .with_database("shop")
///     .with_statement_timeout(Some(Duration::from_secs(5)));
/// assert!(config.validate().is_ok());
/// assert_eq!(config.database(), Some("shop"));
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    pub(crate) service: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) database: Option<String>,
    pub(crate) statefulset: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) checkout_timeout: Duration,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) max_connections: usize,
    pub(crate) max_waiters: usize,
    pub(crate) idle_ping_after: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) refresh_min: Duration,
    pub(crate) refresh_max: Duration,
    pub(crate) connect_wait: Duration,
    pub(crate) read_retry: bool,
    pub(crate) replica_policy: ReplicaPolicy,
    pub(crate) verify: Verify,
    pub(crate) reset: Reset,
    pub(crate) primary: PrimaryBy,
    pub(crate) two_primaries: TwoPrimaries,
    pub(crate) cold_start: ColdStart,
    pub(crate) tls: Tls,
    pub(crate) name_servers: Vec<SocketAddr>,
    pub(crate) search: Option<Vec<String>>,
    pub(crate) kill_query: bool,
    pub(crate) min_connections: usize,
    pub(crate) max_share: u8,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) statement_cache: usize,
    pub(crate) port_name: Option<String>,
    pub(crate) allow_alias: bool,
    pub(crate) replica_service: Option<String>,
    pub(crate) pace: bool,
    pub(crate) weights: BTreeMap<u32, u32>,
}

// === impl Config ===

impl Config {
    /// Every option at its default, for `user` on the headless Service `service`.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            user: user.into(),
            ..Self::default()
        }
    }

    /// The headless Service, as a short name (`mysql`), a name with its namespace
    /// (`mysql.default`) or a full one. No default. The name of a pod (`mysql-0.mysql`, in the same
    /// spellings) means that pod and no other.
    ///
    /// An IP address or `localhost` is no Service: servers that you can list are found by a
    /// [`HostList`](crate::discovery::HostList), given to
    /// [`Builder::resolver`](crate::cluster::Builder::resolver). This name may then be anything.
    #[must_use]
    pub fn with_service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// The servers' port; default 3306. Change it when the StatefulSet's containers listen
    /// elsewhere: a headless Service does not translate ports.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The account's name. No default.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// The account's password; none by default. An empty one is none.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Secret>) -> Self {
        let password = password.into();
        self.password = (!password.expose().is_empty()).then_some(password);
        self
    }

    /// The database that each connection starts in; none by default.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// How long one attempt to connect may take, greeting and login included; default 2 s. Raise
    /// it for servers far away, lower it to leave a dead pod sooner.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may wait for a connection, all attempts and queueing included; default
    /// 5 s. Raise it to let writers wait out a restart of the primary.
    #[must_use]
    pub fn with_checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = timeout;
        self
    }

    /// How long a statement may take, its rows included; default 30 s. `None` is without limit,
    /// so that a frozen server can hold a caller for ever: rather raise it.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Whether a read that lost its connection is sent to another pod; default true. Turn it off
    /// when a read may have a cost that must not be paid twice.
    #[must_use]
    pub fn with_read_retry(mut self, retry: bool) -> Self {
        self.read_retry = retry;
        self
    }

    /// Which pods reads may use; default [`ReplicaPolicy::PreferReplica`].
    #[must_use]
    pub fn with_replica_policy(mut self, policy: ReplicaPolicy) -> Self {
        self.replica_policy = policy;
        self
    }

    /// How strictly a server must prove which pod it is; default [`Verify::Auto`].
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// When sessions are reset; default [`Reset::Auto`].
    #[must_use]
    pub fn with_reset(mut self, reset: Reset) -> Self {
        self.reset = reset;
        self
    }

    /// How it is known which pod takes writes; default [`PrimaryBy::Ordinal`].
    #[must_use]
    pub fn with_primary(mut self, primary: PrimaryBy) -> Self {
        self.primary = primary;
        self
    }

    /// What happens to writes when several pods are writable; default [`TwoPrimaries::Refuse`].
    #[must_use]
    pub fn with_two_primaries(mut self, two_primaries: TwoPrimaries) -> Self {
        self.two_primaries = two_primaries;
        self
    }

    /// How the history of the first primary is judged; default [`ColdStart::Compare`].
    #[must_use]
    pub fn with_cold_start(mut self, cold_start: ColdStart) -> Self {
        self.cold_start = cold_start;
        self
    }

    /// Whether a statement that timed out, or whose call was dropped, is stopped on the server;
    /// default true. A connection besides the pool's (at most one per pod) sends `KILL QUERY`;
    /// after a time-out it also tells whether the pod still answers. Turn it off for accounts whose
    /// connections are counted to the last one, or where a proxy stands between: its connection ids
    /// are not the server's.
    ///
    /// A COMMIT is never stopped, nor anything on a server that may have restarted meanwhile: one
    /// that is less than two seconds older than the statement's connection was alive. Accounts may
    /// stop their own statements without any privilege.
    #[must_use]
    pub fn with_kill_query(mut self, kill: bool) -> Self {
        self.kill_query = kill;
        self
    }

    /// Whether these options can work together. Called by whoever takes a `Config`.
    ///
    /// # Errors
    ///
    /// The first option that cannot be used: what was given and what would be right.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::validate(self)
    }
}

impl Default for Config {
    /// Every option at its default; Service and user are empty and have to be given.
    fn default() -> Self {
        Self {
            service: String::new(),
            port: 3306,
            user: String::new(),
            password: None,
            password_file: None,
            database: None,
            statefulset: None,
            connect_timeout: Duration::from_secs(2),
            checkout_timeout: Duration::from_secs(5),
            statement_timeout: Some(Duration::from_secs(30)),
            max_connections: 16,
            max_waiters: 1024,
            idle_ping_after: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            refresh_min: Duration::from_secs(1),
            refresh_max: Duration::from_secs(5),
            connect_wait: Duration::from_secs(10),
            read_retry: true,
            replica_policy: ReplicaPolicy::default(),
            verify: Verify::default(),
            reset: Reset::default(),
            primary: PrimaryBy::default(),
            two_primaries: TwoPrimaries::default(),
            cold_start: ColdStart::default(),
            tls: Tls::default(),
            name_servers: Vec::new(),
            search: None,
            kill_query: true,
            min_connections: 0,
            max_share: 50,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            statement_cache: 512,
            port_name: None,
            allow_alias: false,
            replica_service: None,
            pace: true,
            weights: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Config {
    /// Written by hand, so that the password stays out even if its type should change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("service", &self.service)
            .field("port", &self.port)
            .field("user", &self.user)
            .field(
                "password",
                &self.password.as_ref().map(|_| format_args!("***")),
            )
            .field("password_file", &self.password_file)
            .field("database", &self.database)
            .field("statefulset", &self.statefulset)
            .field("connect_timeout", &self.connect_timeout)
            .field("checkout_timeout", &self.checkout_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("max_connections", &self.max_connections)
            .field("max_waiters", &self.max_waiters)
            .field("idle_ping_after", &self.idle_ping_after)
            .field("idle_timeout", &self.idle_timeout)
            .field("grace", &self.grace)
            .field("refresh_min", &self.refresh_min)
            .field("refresh_max", &self.refresh_max)
            .field("connect_wait", &self.connect_wait)
            .field("read_retry", &self.read_retry)
            .field("replica_policy", &self.replica_policy)
            .field("verify", &self.verify)
            .field("reset", &self.reset)
            .field("primary", &self.primary)
            .field("two_primaries", &self.two_primaries)
            .field("cold_start", &self.cold_start)
            .field("tls", &self.tls)
            .field("name_servers", &self.name_servers)
            .field("search", &self.search)
            .field("kill_query", &self.kill_query)
            .field("min_connections", &self.min_connections)
            .field("max_share", &self.max_share)
            .field("max_lifetime", &self.max_lifetime)
            .field("statement_cache", &self.statement_cache)
            .field("port_name", &self.port_name)
            .field("allow_alias", &self.allow_alias)
            .field("replica_service", &self.replica_service)
            .field("pace", &self.pace)
            .field("weights", &self.weights)
            .finish()
    }
}
