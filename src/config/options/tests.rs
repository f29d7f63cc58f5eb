//! What is set can be read back, and the README describes each word of a URL.

use super::*;
use crate::config::SslMode;
use std::collections::BTreeSet;

/// The names between backquotes.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_of_the_readme_has_each_word_of_a_url() {
    let words: BTreeSet<&str> = Config::WORDS.iter().map(|(name, _)| *name).collect();
    // There, an asterisk says that the URL takes it; some stand in front of the `?`.
    let readme = include_str!("../../../README.md");
    let (_, rows) = readme.split_once("## Options").unwrap();
    let (rows, _) = rows.split_once("## Errors").unwrap();
    let cells = rows.lines().filter_map(|row| row.split('|').nth(1));
    let starred = cells.filter(|cell| cell.trim_end().ends_with('*'));
    let mut known: BTreeSet<&str> = starred.flat_map(names).collect();
    for part in ["service", "user", "password", "database", "port"] {
        assert!(known.remove(part), "{part}");
    }
    assert_eq!(known, words);
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
        .with_first_ordinal(5)
        .with_read_other_pods(true)
        .with_connect_timeout(second(11))
        .with_checkout_timeout(second(12))
        .with_read_checkout_timeout(second(19))
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
        .with_read_from(ReadFrom::Listed)
        .with_cold_start(ColdStart::Trust)
        .with_ssl_ca("/ca")
        .with_ssl_identity("/cert", "/key")
        .with_tls_name("{pod}")
        .with_cleartext_password(true)
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
    assert_eq!(config.read_checkout_timeout(), second(19));
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
    assert!(config.allow_alias() && config.read_other_pods() && config.cleartext_password());
    assert_eq!(config.first_ordinal(), 5);
    assert_eq!(config.replica_policy(), ReplicaPolicy::Any);
    assert_eq!(config.verify(), Verify::Strict);
    assert_eq!(config.reset(), Reset::Always);
    assert_eq!(config.primary(), PrimaryBy::Detected);
    assert_eq!(config.two_primaries(), TwoPrimaries::Keep);
    assert_eq!(config.read_from(), ReadFrom::Listed);
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
