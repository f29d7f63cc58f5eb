//! Owns the way to read an option back: for each `with_` method one of the same name without it. It
//! must never hand out the password as plain text: [`Secret`] prints as `***`, and who wants the
//! text has to say [`expose`](Secret::expose).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{
    ColdStart, Config, PrimaryBy, ReplicaPolicy, Reset, Secret, SslMode, TwoPrimaries, Verify,
};

/// One line for each: the option, what it is read as, and from where.
macro_rules! getters {
    ($($(#[$doc:meta])* $option:ident -> $type:ty: |$config:ident| $value:expr;)*) => {
        /// # Reading options back
        ///
        /// What is set now: by a `with_` method, by a URL, or by default.
        impl Config {
            $(
                #[doc = concat!("See [`Config::with_", stringify!($option), "`].")]
                $(#[$doc])*
                pub fn $option(&self) -> $type {
                    let $config = self;
                    $value
                }
            )*
        }

        /// For the test that none is missing.
        #[cfg(test)]
        const GETTERS: &[&str] = &[$(stringify!($option)),*];
    };
}

getters! {
    service -> &str: |config| &config.service;
    port -> u16: |config| config.port;
    user -> &str: |config| &config.user;
    password -> Option<&Secret>: |config| config.password.as_ref();
    password_file -> Option<&Path>: |config| config.password_file.as_deref();
    database -> Option<&str>: |config| config.database.as_deref();
    statefulset -> Option<&str>: |config| config.statefulset.as_deref();
    connect_timeout -> Duration: |config| config.connect_timeout;
    checkout_timeout -> Duration: |config| config.checkout_timeout;
    statement_timeout -> Option<Duration>: |config| config.statement_timeout;
    max_connections -> usize: |config| config.max_connections;
    min_connections -> usize: |config| config.min_connections;
    max_share -> u8: |config| config.max_share;
    max_waiters -> usize: |config| config.max_waiters;
    idle_ping_after -> Duration: |config| config.idle_ping_after;
    idle_timeout -> Duration: |config| config.idle_timeout;
    max_lifetime -> Option<Duration>: |config| config.max_lifetime;
    statement_cache -> usize: |config| config.statement_cache;
    grace -> Duration: |config| config.grace;
    /// The shortest interval, and the longest.
    refresh -> (Duration, Duration): |config| (config.refresh_min, config.refresh_max);
    connect_wait -> Duration: |config| config.connect_wait;
    read_retry -> bool: |config| config.read_retry;
    replica_policy -> ReplicaPolicy: |config| config.replica_policy;
    verify -> Verify: |config| config.verify;
    reset -> Reset: |config| config.reset;
    primary -> PrimaryBy: |config| config.primary;
    two_primaries -> TwoPrimaries: |config| config.two_primaries;
    cold_start -> ColdStart: |config| config.cold_start;
    /// If none was given, what the other options come to: `verify-ca` with an authority, for one.
    ssl_mode -> SslMode: |config| config.tls.mode();
    ssl_ca -> Option<&Path>: |config| config.tls.ca.as_deref();
    ssl_identity -> Option<(&Path, &Path)>:
        |config| config.tls.cert.as_deref().zip(config.tls.key.as_deref());
    tls_name -> Option<&str>: |config| config.tls.name.as_deref();
    name_servers -> &[SocketAddr]: |config| &config.name_servers;
    search -> Option<&[String]>: |config| config.search.as_deref();
    kill_query -> bool: |config| config.kill_query;
    port_name -> Option<&str>: |config| config.port_name.as_deref();
    allow_alias -> bool: |config| config.allow_alias;
    replica_service -> Option<&str>: |config| config.replica_service.as_deref();
    pace -> bool: |config| config.pace;
    weights -> impl Iterator<Item = (u32, u32)>:
        |config| config.weights.iter().map(|(ordinal, weight)| (*ordinal, *weight));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_can_be_set_can_be_read_back() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = std::fs::read_dir(src.join("config")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let files = files.chain([src.join("config.rs")]);
        let sources: Vec<String> = files
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let setter = concat!("    pub fn ", "with_");
        let setters = sources
            .iter()
            .flat_map(|source| source.split(setter).skip(1));
        let name = |rest: &'static str| rest.split(['(', '<']).next().unwrap();
        let setters = setters.map(|rest| name(rest.to_owned().leak()));
        let mut setters: Vec<_> = setters.collect();
        let mut getters = GETTERS.to_vec();
        setters.sort_unstable();
        getters.sort_unstable();
        assert_eq!(setters, getters);
    }

    #[test]
    fn what_is_read_back_is_what_was_set() {
        let second = Duration::from_secs;
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        let config = Config::new("db.shop", "app")
            .with_port(3307)
            .with_password_file("/password")
            .with_database("shop")
            .with_statefulset("set")
            .with_connect_timeout(second(11))
            .with_checkout_timeout(second(12))
            .with_statement_timeout(None)
            .with_max_connections(21)
            .with_min_connections(22)
            .with_max_share(23)
            .with_max_waiters(24)
            .with_statement_cache(25)
            .with_idle_ping_after(second(13))
            .with_idle_timeout(second(14))
            .with_max_lifetime(None)
            .with_grace(second(15))
            .with_refresh(second(16), second(17))
            .with_connect_wait(second(18))
            .with_read_retry(false)
            .with_replica_policy(ReplicaPolicy::Any)
            .with_verify(Verify::Strict)
            .with_reset(Reset::Always)
            .with_primary(PrimaryBy::Detected)
            .with_two_primaries(TwoPrimaries::Keep)
            .with_cold_start(ColdStart::Trust)
            .with_ssl_ca("/ca")
            .with_ssl_identity("/cert", "/key")
            .with_tls_name("{pod}")
            .with_name_servers([server])
            .with_search(["svc.k8s"])
            .with_kill_query(false)
            .with_port_name("mysql")
            .with_allow_alias(true)
            .with_replica_service("readers")
            .with_pace(false)
            .with_weights([(2, 5), (1, 0)]);
        assert_eq!((config.service(), config.user()), ("db.shop", "app"));
        assert_eq!(config.port(), 3307);
        assert_eq!(config.password_file(), Some(Path::new("/password")));
        assert_eq!(config.database(), Some("shop"));
        assert_eq!(config.statefulset(), Some("set"));
        assert_eq!(config.connect_timeout(), second(11));
        assert_eq!(config.checkout_timeout(), second(12));
        assert_eq!(config.statement_timeout(), None);
        assert_eq!(config.max_connections(), 21);
        assert_eq!(config.min_connections(), 22);
        assert_eq!(config.max_share(), 23);
        assert_eq!(config.max_waiters(), 24);
        assert_eq!(config.statement_cache(), 25);
        assert_eq!(config.idle_ping_after(), second(13));
        assert_eq!(config.idle_timeout(), second(14));
        assert_eq!(config.max_lifetime(), None);
        assert_eq!(config.grace(), second(15));
        assert_eq!(config.refresh(), (second(16), second(17)));
        assert_eq!(config.connect_wait(), second(18));
        assert!(!config.read_retry() && !config.kill_query() && !config.pace());
        assert!(config.allow_alias());
        assert_eq!(config.replica_policy(), ReplicaPolicy::Any);
        assert_eq!(config.verify(), Verify::Strict);
        assert_eq!(config.reset(), Reset::Always);
        assert_eq!(config.primary(), PrimaryBy::Detected);
        assert_eq!(config.two_primaries(), TwoPrimaries::Keep);
        assert_eq!(config.cold_start(), ColdStart::Trust);
        assert_eq!(config.ssl_mode(), SslMode::VerifyCa);
        assert_eq!(config.ssl_ca(), Some(Path::new("/ca")));
        let identity = (Path::new("/cert"), Path::new("/key"));
        assert_eq!(config.ssl_identity(), Some(identity));
        assert_eq!(config.tls_name(), Some("{pod}"));
        assert_eq!(config.name_servers(), [server]);
        assert_eq!(config.search(), Some(&["svc.k8s".to_owned()][..]));
        assert_eq!(config.port_name(), Some("mysql"));
        assert_eq!(config.replica_service(), Some("readers"));
        assert!(config.weights().eq([(1, 0), (2, 5)]));
    }

    #[test]
    fn a_password_that_is_read_back_is_plain_text_only_on_demand() {
        let config = Config::new("mysql", "app").with_password("hunter2");
        let password = config.password().unwrap();
        assert_eq!(format!("{password} {password:?}"), "*** ***");
        assert_eq!(password.expose(), "hunter2");
    }
}
