//! Checks the options of a [`Config`], alone and together. It must never change an option, or use
//! anything outside of the `Config`.

use std::time::Duration;

use super::{Config, ConfigError, PrimaryBy, TwoPrimaries, tls};

/// The longest allowed duration. A longer one is a mistake, and could overflow when added to a
/// point in time.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The largest value that servers accept for their own `max_connections`.
const MOST_CONNECTIONS: usize = 100_000;
const MOST_WAITERS: usize = 1_000_000;
/// The highest weight of a pod.
const HEAVIEST: u32 = 100;
/// What servers accept at most as their own `max_prepared_stmt_count`.
const MOST_STATEMENTS: usize = 4_194_304;

impl Config {
    /// Whether these options can work together. Whatever takes a `Config` calls it.
    ///
    /// # Errors
    ///
    /// The first option that cannot be used: what was given and what would be right.
    pub fn validate(&self) -> Result<(), ConfigError> {
        names(self)?;
        durations(self)?;
        counts(self)?;
        roles(self)?;
        self.tls.validate(tls::driver_has_tls())?;
        dns(self)
    }
}

fn names(config: &Config) -> Result<(), ConfigError> {
    name(
        "service",
        &config.service,
        "give the name of the headless Service",
    )?;
    name("user", &config.user, "give the name of the account")?;
    if let Some(database) = &config.database {
        name("database", database, "give its name, or none")?;
    }
    if let Some(statefulset) = &config.statefulset {
        name(
            "statefulset",
            statefulset,
            "give its name, or none to use the Service's",
        )?;
    }
    if let Some(service) = &config.replica_service {
        name(
            "replica_service",
            service,
            "give the name of the replicas' headless Service, or none",
        )?;
        if config.first_ordinal != 0 {
            let wanted = "give none with a replica_service: its primary is found by its Service";
            return Err(invalid(
                "first_ordinal",
                config.first_ordinal.to_string(),
                wanted,
            ));
        }
        if *service == config.service {
            let wanted = "give another Service than the primary's, or none";
            return Err(invalid("replica_service", service, wanted));
        }
    }
    // A label of a DNS name, at most 15 characters: Kubernetes has the same rule.
    if let Some(port) = &config.port_name {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !(1..=15).contains(&port.len()) || !port.bytes().all(plain) {
            let wanted = "give the port's name as the Service has it, such as mysql";
            return Err(invalid("port_name", port, wanted));
        }
    }
    if config
        .password
        .as_ref()
        .is_some_and(|password| password.expose().contains('\0'))
    {
        return Err(ConfigError::Password);
    }
    if let Some(path) = &config.password_file {
        tls::file("password_file", path)?;
        if config.password.is_some() {
            let given = path.display().to_string();
            let wanted = "a password is given as well: give one of them";
            return Err(invalid("password_file", given, wanted));
        }
    }
    Ok(())
}

fn roles(config: &Config) -> Result<(), ConfigError> {
    if config.two_primaries == TwoPrimaries::Keep && config.primary == PrimaryBy::Ordinal {
        let wanted = "give it together with primary=detected: ordinal 0 is one pod";
        return Err(invalid("two_primaries", "keep", wanted));
    }
    Ok(())
}

fn durations(config: &Config) -> Result<(), ConfigError> {
    let required = [
        ("connect_timeout", config.connect_timeout),
        ("checkout_timeout", config.checkout_timeout),
        ("read_checkout_timeout", config.read_checkout_timeout),
        ("idle_timeout", config.idle_timeout),
        ("grace", config.grace),
        ("refresh_min", config.refresh_min),
        ("refresh_max", config.refresh_max),
        ("connect_wait", config.connect_wait),
    ];
    let statement = config
        .statement_timeout
        .map(|timeout| ("statement_timeout", timeout));
    let lifetime = config.max_lifetime.map(|limit| ("max_lifetime", limit));
    for (option, duration) in required.into_iter().chain(statement).chain(lifetime) {
        if duration.is_zero() {
            return Err(invalid(option, "0s", "give more than zero"));
        }
        not_too_long(option, duration)?;
    }
    not_too_long("idle_ping_after", config.idle_ping_after)?;
    if config.refresh_min > config.refresh_max {
        let given = format!("{:?}", config.refresh_min);
        return Err(invalid(
            "refresh_min",
            given,
            "give no more than refresh_max",
        ));
    }
    Ok(())
}

fn counts(config: &Config) -> Result<(), ConfigError> {
    if config.port == 0 {
        return Err(invalid("port", "0", "give a number from 1 to 65535"));
    }
    let connections = config.max_connections;
    if !(1..=MOST_CONNECTIONS).contains(&connections) {
        let given = connections.to_string();
        return Err(invalid(
            "max_connections",
            given,
            "give from 1 to 100000 per pod",
        ));
    }
    if config.min_connections > connections {
        let given = config.min_connections.to_string();
        let wanted = "give no more than max_connections";
        return Err(invalid("min_connections", given, wanted));
    }
    if !(1..=100).contains(&config.max_share) {
        let given = config.max_share.to_string();
        return Err(invalid(
            "max_share",
            given,
            "give a percentage from 1 to 100",
        ));
    }
    if !(1..=MOST_STATEMENTS).contains(&config.statement_cache) {
        let given = config.statement_cache.to_string();
        let wanted = "give from 1 to 4194304 per pod";
        return Err(invalid("statement_cache", given, wanted));
    }
    let heavy = config
        .weights
        .iter()
        .find(|(_, weight)| **weight > HEAVIEST);
    if let Some((ordinal, weight)) = heavy {
        let given = format!("{ordinal}:{weight}");
        return Err(invalid("weights", given, "give weights from 0 to 100"));
    }
    let waiters = config.max_waiters;
    if !(1..=MOST_WAITERS).contains(&waiters) {
        return Err(invalid(
            "max_waiters",
            waiters.to_string(),
            "give from 1 to 1000000",
        ));
    }
    Ok(())
}

fn dns(config: &Config) -> Result<(), ConfigError> {
    if let Some(server) = config.name_servers.iter().find(|server| server.port() == 0) {
        return Err(invalid(
            "name_servers",
            server.to_string(),
            "give a port, usually 53",
        ));
    }
    for domain in config.search.iter().flatten() {
        name(
            "search",
            domain,
            "give domains such as default.svc.cluster.local",
        )?;
    }
    Ok(())
}

/// Refuses an empty name, and one with a NUL: servers truncate a name at the first NUL.
fn name(option: &'static str, given: &str, wanted: &'static str) -> Result<(), ConfigError> {
    if given.is_empty() || given.contains('\0') {
        return Err(invalid(option, given, wanted));
    }
    Ok(())
}

fn not_too_long(option: &'static str, duration: Duration) -> Result<(), ConfigError> {
    if duration > LONGEST {
        return Err(invalid(
            option,
            format!("{duration:?}"),
            "give at most 30 days",
        ));
    }
    Ok(())
}

fn invalid(option: &'static str, given: impl Into<String>, wanted: &'static str) -> ConfigError {
    ConfigError::Value {
        option,
        given: given.into(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config::new("mysql", "app").with_password("hunter2")
    }

    #[test]
    fn the_defaults_are_valid_once_service_and_user_are_given() {
        assert_eq!(good().validate(), Ok(()));
        assert!(Config::default().validate().is_err());
    }

    #[test]
    fn each_bad_option_is_named_with_what_was_given() {
        let zero = Duration::ZERO;
        let (second, long) = (Duration::from_secs(1), LONGEST + Duration::from_nanos(1));
        let cases = [
            ("service", "", good().with_service("")),
            ("user", "", good().with_user("")),
            ("user", "a\0b", good().with_user("a\0b")),
            ("database", "", good().with_database("")),
            ("statefulset", "", good().with_statefulset("")),
            (
                "first_ordinal",
                "5",
                good().with_replica_service("r").with_first_ordinal(5),
            ),
            ("port", "0", good().with_port(0)),
            ("connect_timeout", "0s", good().with_connect_timeout(zero)),
            ("checkout_timeout", "0s", good().with_checkout_timeout(zero)),
            (
                "read_checkout_timeout",
                "0s",
                good().with_read_checkout_timeout(zero),
            ),
            (
                "statement_timeout",
                "0s",
                good().with_statement_timeout(Some(zero)),
            ),
            ("idle_timeout", "0s", good().with_idle_timeout(zero)),
            ("grace", "0s", good().with_grace(zero)),
            ("refresh_min", "0s", good().with_refresh(zero, second)),
            ("refresh_min", "2s", good().with_refresh(second * 2, second)),
            (
                "refresh_max",
                "2592000.000000001s",
                good().with_refresh(second, long),
            ),
            ("connect_wait", "0s", good().with_connect_wait(zero)),
            (
                "idle_ping_after",
                "2592000.000000001s",
                good().with_idle_ping_after(long),
            ),
            ("max_connections", "0", good().with_max_connections(0)),
            (
                "max_connections",
                "100001",
                good().with_max_connections(100_001),
            ),
            ("max_waiters", "0", good().with_max_waiters(0)),
            ("max_lifetime", "0s", good().with_max_lifetime(Some(zero))),
            ("min_connections", "17", good().with_min_connections(17)),
            ("max_share", "0", good().with_max_share(0)),
            ("max_share", "101", good().with_max_share(101)),
            ("statement_cache", "0", good().with_statement_cache(0)),
            (
                "weights",
                "2:101",
                good().with_weights([(1, 100), (2, 101)]),
            ),
            (
                "name_servers",
                "127.0.0.1:0",
                good().with_name_servers([([127, 0, 0, 1], 0).into()]),
            ),
            ("search", "", good().with_search([""])),
            (
                "two_primaries",
                "keep",
                good().with_two_primaries(TwoPrimaries::Keep),
            ),
        ];
        for (name, value, config) in cases {
            let error = config.validate().unwrap_err();
            let ConfigError::Value {
                option,
                ref given,
                wanted,
            } = error
            else {
                panic!("{name}: {error:?}");
            };
            assert_eq!((option, given.as_str()), (name, value));
            let shown = error.to_string();
            assert!(shown.contains(name) && shown.contains(wanted), "{shown}");
        }
    }

    #[test]
    fn what_has_a_meaning_is_allowed() {
        let config = good()
            .with_statement_timeout(None)
            .with_max_lifetime(None)
            .with_min_connections(16)
            .with_idle_ping_after(Duration::ZERO)
            .with_refresh(Duration::from_secs(1), Duration::from_secs(1))
            .with_search(Vec::<String>::new());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = good().with_password("hunter2\0hunter2");
        let error = config.validate().unwrap_err();
        let shown = format!("{config:?} {config:#?} {error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***"));
        assert!(good().with_password("").password.is_none());
    }
}
