//! The options: one declaration for each.
//!
//! A row of the table is the field, its default, its setter and getter, its line in `Debug`, and
//! its word in a URL. To add an option: add a row here (and to `validate` what it may not be), use
//! it where it acts, test it there, and describe it in the README, whose table a test compares with
//! this one.
//!
//! Owns the options and their defaults. It must never know the network.

use super::spelling::{
    choice, domains, duration, limit, name_servers, number, percent, small, text, weights,
};
use super::{
    ColdStart, ConfigError, PrimaryBy, ReadFrom, ReplicaPolicy, Reset, Secret, Tls, TwoPrimaries,
    Verify,
};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sets one option to what a URL says.
pub(crate) type Apply = fn(&'static str, Config, &str) -> Result<Config, ConfigError>;

/// Setter and getter by the shape of an option.
macro_rules! accessors {
    (value [$($doc:tt)*] $name:ident $with:ident $type:ty) => {
        $($doc)*
        #[must_use]
        pub fn $with(mut self, value: $type) -> Self {
            self.$name = value;
            self
        }

        #[doc = concat!("See [`Config::", stringify!($with), "`].")]
        pub fn $name(&self) -> $type {
            self.$name
        }
    };
    (name [$($doc:tt)*] $name:ident $with:ident $type:ty) => {
        $($doc)*
        #[must_use]
        pub fn $with(mut self, name: impl Into<String>) -> Self {
            self.$name = name.into();
            self
        }

        #[doc = concat!("See [`Config::", stringify!($with), "`].")]
        pub fn $name(&self) -> &str {
            &self.$name
        }
    };
    (text [$($doc:tt)*] $name:ident $with:ident $type:ty) => {
        $($doc)*
        #[must_use]
        pub fn $with(mut self, name: impl Into<String>) -> Self {
            self.$name = Some(name.into());
            self
        }

        #[doc = concat!("See [`Config::", stringify!($with), "`].")]
        pub fn $name(&self) -> Option<&str> {
            self.$name.as_deref()
        }
    };
    (path [$($doc:tt)*] $name:ident $with:ident $type:ty) => {
        $($doc)*
        #[must_use]
        pub fn $with(mut self, path: impl Into<PathBuf>) -> Self {
            self.$name = Some(path.into());
            self
        }

        #[doc = concat!("See [`Config::", stringify!($with), "`].")]
        pub fn $name(&self) -> Option<&Path> {
            self.$name.as_deref()
        }
    };
    // By hand, below.
    (own [$($doc:tt)*] $name:ident $with:tt $type:ty) => {};
}

/// Each row: documentation of the setter; name and setter (`-`: none of this name); type and
/// default; shape (see [`accessors`]); and, if a URL can set it, the function of `spelling` that
/// reads the URL's text (`choice`: a word of an enum that implements [`Choice`](super::Choice)).
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident $with:tt: $type:ty = $default:expr, $shape:ident $(, url $read:ident)?;
    )*) => {
        /// The configuration of a cluster. Make it with [`Config::new`] or from a URL
        /// ([`crate::url`]), change it with the `with_*` methods, and check it with
        /// [`Config::validate`]. The method with the name of an option returns its value.
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
            $(pub(crate) $name: $type,)*
        }

        impl Default for Config {
            /// Every option at its default; Service and user are empty and have to be given.
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                }
            }
        }

        impl fmt::Debug for Config {
            /// The password is a [`Secret`], which prints as `***`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("Config")
                    $(.field(stringify!($name), &self.$name))*
                    .finish()
            }
        }

        impl Config {
            $(accessors! { $shape [$(#[doc = $doc])*] $name $with $type })*

            /// The words of a URL.
            pub(crate) const WORDS: &[(&str, Apply)] = &[
                $($((stringify!($name), |option, config, given| {
                    Ok(config.$with($read(option, given)?))
                }),)?)*
                ("sslmode", |option, config, given| {
                    Ok(config.with_ssl_mode(choice(option, given)?))
                }),
                ("ssl_ca", |_, config, given| Ok(config.with_ssl_ca(given))),
                ("ssl_cert", |_, mut config, given| {
                    config.tls.cert = Some(given.into());
                    Ok(config)
                }),
                ("ssl_key", |_, mut config, given| {
                    config.tls.key = Some(given.into());
                    Ok(config)
                }),
                ("cleartext_password", |option, config, given| {
                    Ok(config.with_cleartext_password(choice(option, given)?))
                }),
                ("tls_name", |_, config, given| Ok(config.with_tls_name(given))),
            ];
        }
    };
}

options! {
    /// The headless Service, as a short name (`mysql`), a name with its namespace
    /// (`mysql.default`) or a full name. No default. The name of a pod (such as `mysql-0.mysql`, in
    /// the same forms) selects only that pod.
    ///
    /// An IP address or `localhost` is no Service. For a fixed list of servers, give a
    /// [`HostList`](crate::discovery::HostList) to
    /// [`Builder::resolver`](crate::cluster::Builder::resolver). The Service name may then be
    /// anything.
    service with_service: String = String::new(), name;

    /// The servers' port; default 3306. Change it if the containers of the StatefulSet listen on
    /// another port: a headless Service does not translate ports.
    port with_port: u16 = 3306, value;

    /// The account's name. No default.
    user with_user: String = String::new(), name;

    password -: Option<Secret> = None, own;

    /// A file that holds the account's password, such as a mounted Secret; none by default. The
    /// file is read when the password is needed, and again after the file has changed (even by a
    /// replaced symlink). So new connections use a new password without a restart. Trailing line
    /// breaks are ignored. Cannot be combined with [`Config::with_password`].
    ///
    /// The password may be changed in the file and on the servers in any order: the old password is
    /// used until the servers accept the new one.
    password_file with_password_file: Option<PathBuf> = None, path, url text;

    /// The default database of each connection; none by default.
    database with_database: Option<String> = None, text;

    /// The name of the StatefulSet; by default the Service's first label. Needed if the two names
    /// differ, because pods are identified as `<statefulset>-<ordinal>`. Pods of the Service that
    /// belong to no or another StatefulSet are not used; see [`Config::with_read_other_pods`].
    statefulset with_statefulset: Option<String> = None, text, url text;

    /// The ordinal of the first pod, which is the primary; default 0. Set it if the StatefulSet's
    /// `.spec.ordinals.start` is another number. Cannot be combined with
    /// [`replica_service`](Config::with_replica_service).
    first_ordinal with_first_ordinal: u32 = 0, value, url small;

    /// Whether pods of the Service that do not belong to the StatefulSet serve reads; default
    /// false. Set it if the pods of several StatefulSets hold the same data.
    read_other_pods with_read_other_pods: bool = false, value, url choice;

    /// How long one attempt to connect may take, including greeting and login; default 2 s. Raise
    /// it for distant servers. Lower it to give up on a dead pod sooner.
    connect_timeout with_connect_timeout: Duration = Duration::from_secs(2), value, url duration;

    /// How long a call on the primary's route may wait for a connection, including all attempts and
    /// queueing; default 30 s, which is longer than a restart of the primary in Kubernetes takes.
    /// Lower it if callers prefer an error to a wait. [`max_waiters`](Config::with_max_waiters)
    /// limits the number of waiting calls.
    checkout_timeout with_checkout_timeout: Duration = Duration::from_secs(30), value, url duration;

    /// The same for calls on the replicas' route; default 5 s, and never more than
    /// [`checkout_timeout`](Config::with_checkout_timeout). Raise it if reads should wait longer
    /// until a pod can serve them again.
    read_checkout_timeout with_read_checkout_timeout: Duration = Duration::from_secs(5),
        value, url duration;

    /// How long a statement may take, including its rows; default 30 s. `None` means no limit: a
    /// frozen server can then block a caller forever, so prefer a higher limit.
    statement_timeout with_statement_timeout: Option<Duration> = Some(Duration::from_secs(30)),
        value, url limit;

    /// The most connections to one pod; default 16. This value, multiplied with the number of
    /// application processes, must stay below the servers' `max_connections`.
    max_connections with_max_connections: usize = 16, value, url number;

    /// The number of connections that are kept open to each pod while it is listed and healthy,
    /// even if unused; default 0. They are opened one at a time. Raise it so that the first calls
    /// after a start or a pause need not wait for a login.
    min_connections with_min_connections: usize = 0, value, url number;

    /// The largest share of a server's `@@max_connections` that this process may use, in percent;
    /// default 50. On a server with less room than expected it lowers `max_connections` (never
    /// below 1), so that one process cannot lock out the other processes or the operator. For a
    /// strict limit, lower it to 100 divided by the number of application processes.
    max_share with_max_share: u8 = 50, value, url percent;

    /// The most calls that may wait for a connection; default 1,024. Further calls fail at once.
    /// Lower it to shed load earlier.
    max_waiters with_max_waiters: usize = 1024, value;

    /// A connection that was idle for longer is pinged before its use; default 500 ms. With zero,
    /// every checkout pings, which costs a round trip.
    idle_ping_after with_idle_ping_after: Duration = Duration::from_millis(500), value;

    /// A connection that was idle for longer is closed; default 60 s. Keep it below the servers'
    /// `wait_timeout`, and below the idle limit of any proxy or firewall on the way.
    idle_timeout with_idle_timeout: Duration = Duration::from_secs(60), value;

    /// A connection older than this is closed when it is not in use; default 30 min. The limit of
    /// each connection varies at random by up to 10 %. `None` means no limit. The limit spreads
    /// connections again after changes, and frees the memory that servers keep per session.
    max_lifetime with_max_lifetime: Option<Duration> = Some(Duration::from_secs(30 * 60)),
        value, url limit;

    /// The number of prepared statements that are kept on one pod for the next use, on all
    /// connections together; default 512. Each connection keeps an equal part (at least one): 32
    /// with 16 connections. This value, multiplied with the number of processes, must stay below
    /// the servers' `max_prepared_stmt_count` (16,382 by default). If a server is at its limit
    /// (error 1461), the pool keeps fewer.
    statement_cache with_statement_cache: usize = 512, value, url number;

    /// How long the connections of a pod that DNS no longer lists are kept, in case the pod is
    /// listed again; default 40 s. An answer may be 35 s old: 30 s in a cache, plus the longest
    /// interval between look-ups. Keep it above the lifetime of the longest DNS cache on the way,
    /// plus 5 s.
    grace with_grace: Duration = Duration::from_secs(40), value;

    refresh_min -: Duration = Duration::from_secs(1), own;
    refresh_max -: Duration = Duration::from_secs(5), own;

    /// How long connecting to the cluster waits for the first good DNS answer; default 10 s. Raise
    /// it if the application may start before the Service exists.
    connect_wait with_connect_wait: Duration = Duration::from_secs(10), value;

    /// Whether a read whose connection was lost is repeated on another pod; default true. Turn it
    /// off if a read is too expensive to run twice.
    read_retry with_read_retry: bool = true, value, url choice;

    /// Which pods reads may use; default [`ReplicaPolicy::PreferReplica`].
    replica_policy with_replica_policy: ReplicaPolicy = ReplicaPolicy::default(), value, url choice;

    /// How strictly a server must prove its identity as a pod; default [`Verify::Auto`].
    verify with_verify: Verify = Verify::default(), value, url choice;

    /// When sessions are reset; default [`Reset::Auto`].
    reset with_reset: Reset = Reset::default(), value, url choice;

    /// How the pod that takes writes is found; default [`PrimaryBy::Ordinal`].
    primary with_primary: PrimaryBy = PrimaryBy::default(), value, url choice;

    /// What happens to writes when several pods are writable; default [`TwoPrimaries::Refuse`].
    two_primaries with_two_primaries: TwoPrimaries = TwoPrimaries::default(), value, url choice;

    /// Which pods may be read from as replicas; default [`ReadFrom::Proven`].
    read_from with_read_from: ReadFrom = ReadFrom::default(), value, url choice;

    /// How the history of the first primary is judged; default [`ColdStart::Compare`].
    cold_start with_cold_start: ColdStart = ColdStart::default(), value, url choice;

    /// Whether a statement that timed out, or whose call was dropped, is stopped on the server;
    /// default true. Turn it off if such statements should continue.
    ///
    /// A side connection outside of the pool (one per pod, kept for a second after its last use)
    /// sends `KILL QUERY`. Even if this option is off, the side connection asks whether the
    /// statement's thread still exists, because the slot is freed only after the thread has ended.
    /// After a time-out, the side connection shows whether the pod still answers.
    ///
    /// A COMMIT is never stopped. Nothing is stopped on a server that may have restarted meanwhile:
    /// one whose uptime is less than two seconds above the time since the last answer on the
    /// statement's connection. An account may stop its own statements without any privilege.
    kill_query with_kill_query: bool = true, value, url choice;

    /// The name of the Service's port for MySQL, such as `mysql`; none by default. Its SRV records
    /// are looked up first, and give the servers' port. Needed if the Service has several ports and
    /// the number is not known beforehand.
    port_name with_port_name: Option<String> = None, text, url text;

    /// Whether the Service's name may be an alias (a Service of the type ExternalName); default
    /// false. If the cluster's DNS uses autopath, a Service without ready pods can look like an
    /// alias of an unrelated name, so allow aliases only if your Service is one.
    allow_alias with_allow_alias: bool = false, value, url choice;

    /// A second headless Service, whose pods are the replicas, for charts that deploy primary and
    /// replicas separately; none by default. The first Service then has the primary; see
    /// [`PrimaryAndReplicas`](crate::discovery::PrimaryAndReplicas). The name of the StatefulSet,
    /// if given, is that of the first Service.
    replica_service with_replica_service: Option<String> = None, text, url text;

    name_servers with_name_servers: Vec<SocketAddr> = Vec::new(), own, url name_servers;
    search with_search: Option<Vec<String>> = None, own, url domains;

    /// Whether a pod that answers reads more slowly than the others gets fewer reads; default true.
    ///
    /// The times of single statements in read-only sessions are compared, as the mean of the
    /// logarithm over roughly the last 16 answers and the last 15 s. Times below a millisecond, and
    /// differences below a factor of two, have no effect. A pod that is n times slower counts as n
    /// times as loaded, but at one read in n² it has its full weight. So its speed is still
    /// measured, and it gets its share back once it is as fast as the others.
    ///
    /// Turn it off if slower pods should get equal shares: for example, pods that are slow only for
    /// this process, because they are farther away.
    pace with_pace: bool = true, value, url choice;

    weights with_weights: BTreeMap<u32, u32> = BTreeMap::new(), own, url weights;
    tls -: Tls = Tls::default(), own;
}

#[cfg(test)]
mod tests;
