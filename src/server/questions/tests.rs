use super::*;
use std::collections::HashMap;

/// The columns of an answer, by name.
struct Answer(HashMap<&'static str, String>);

impl Answer {
    fn maria() -> Self {
        Self::new(&[
            ("version", "10.11.14-MariaDB"),
            ("logged", "0-1-42,0-2-7"),
            ("replicated", "0-3-40"),
        ])
    }

    fn mysql() -> Self {
        Self::new(&[
            ("version", "26.7.0"),
            ("server_uuid", "3e11fa47-71ca-11e1-9e33-c80aa9429562"),
            ("super_read_only", "0"),
            ("offline_mode", "0"),
            ("gtid_mode", "ON"),
            ("executed", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"),
        ])
    }

    fn new(own: &[(&'static str, &str)]) -> Self {
        let common = [
            ("hostname", "mysql-0"),
            ("server_id", "1"),
            ("read_only", "0"),
            ("max_connections", "151"),
            ("max_user_connections", "0"),
            ("max_allowed_packet", "16777216"),
            ("log_bin", "1"),
            ("init_connect", ""),
            ("collation", "utf8mb4_general_ci"),
            ("home", "'app@%''app'NULL"),
        ];
        let all = common.iter().chain(own);
        Self(
            all.map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        )
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    fn read(&self) -> Result<Facts, BadAnswer> {
        read(|name| self.0.get(name).cloned())
    }
}

#[test]
fn the_kind_of_server_follows_from_the_columns_it_knows_not_from_its_version() {
    for version in ["8.4.0", "9.7.4", "26.7.0", "26.10.1", "8.0.11-TiDB-v8.5.0"] {
        let facts = Answer::mysql().with("version", version).read().unwrap();
        assert_eq!((facts.kind, &*facts.version), (ServerKind::MySql, version));
        assert_eq!(Some(facts.identity), facts.server_uuid);
    }
    for version in ["10.11.14-MariaDB", "11.8.3-MariaDB-log", "8.0.0-spoofed"] {
        let facts = Answer::maria().with("version", version).read().unwrap();
        assert_eq!(
            (facts.kind, &*facts.identity),
            (ServerKind::MariaDb, "mysql-0/1")
        );
    }
}

#[test]
fn a_server_that_does_not_say_who_it_is_is_refused_with_what_it_did_not_say() {
    for (answer, missing) in [
        (Answer::mysql().without("server_uuid"), "server_uuid"),
        (Answer::mysql().without("hostname"), "hostname"),
        (Answer::maria().without("read_only"), "read_only"),
    ] {
        let error = answer.read().unwrap_err().to_string();
        assert!(error.contains(missing), "{error}");
    }
    assert!(Answer::maria().with("logged", "x").read().is_err());
}

#[test]
fn any_of_the_three_switches_makes_a_server_read_only() {
    assert!(Answer::mysql().read().unwrap().writable);
    assert!(Answer::maria().read().unwrap().writable);
    for switch in ["read_only", "super_read_only", "offline_mode"] {
        assert!(!Answer::mysql().with(switch, "1").read().unwrap().writable);
    }
    // An enum since MariaDB 12.0.
    for (word, writable) in [("OFF", true), ("NO_LOCK", false), ("ON", false)] {
        let facts = Answer::maria().with("read_only", word).read().unwrap();
        assert_eq!(facts.writable, writable, "{word}");
    }
}

#[test]
fn what_a_server_does_not_know_or_limit_is_none() {
    let mysql = Answer::mysql().read().unwrap();
    assert_eq!(mysql.max_user_connections, None);
    assert_eq!(
        (mysql.logged, mysql.replicated, mysql.galera),
        (None, None, None)
    );
    assert_eq!((mysql.gtid_mode, mysql.log_bin), (Some(true), Some(true)));
    let maria = Answer::maria()
        .with("max_user_connections", "8")
        .read()
        .unwrap();
    assert_eq!(maria.max_user_connections, Some(8));
    assert_eq!((maria.server_uuid, maria.gtid_mode), (None, None));
    let unlogged = Answer::mysql()
        .with("log_bin", "0")
        .with("gtid_mode", "OFF");
    let unlogged = unlogged.read().unwrap();
    assert_eq!(
        (unlogged.gtid_mode, unlogged.log_bin),
        (Some(false), Some(false))
    );
}

#[test]
fn mariadb_holds_what_it_logged_and_what_it_replicated() {
    let facts = Answer::maria().read().unwrap();
    assert_eq!(facts.position.to_string(), "0-1-42,0-2-7,0-3-40");
    assert_eq!(facts.logged.unwrap().to_string(), "0-1-42,0-2-7");
    assert_eq!(facts.replicated.unwrap().to_string(), "0-3-40");
}

#[test]
fn galera_is_told_by_its_library_not_by_the_names_of_its_state() {
    let status = |provider: &str| {
        format!(
            "WSREP_LAST_COMMITTED=4,WSREP_LOCAL_STATE=4,WSREP_CLUSTER_STATUS=Primary,\
             WSREP_CLUSTER_STATE_UUID=fa5543ae-ec4b-11f1-97ea-061871aade1d,\
             WSREP_PROVIDER_NAME={provider},WSREP_READY=ON"
        )
    };
    let none = Answer::maria().with("galera", &status("")).read().unwrap();
    assert_eq!(none.galera, None);
    let some = Answer::maria()
        .with("galera", &status("Galera"))
        .with("galera_rejects", "NONE")
        .read()
        .unwrap();
    let galera = Galera {
        ready: true,
        rejects: false,
        cluster: "fa5543ae-ec4b-11f1-97ea-061871aade1d".to_owned(),
        state: Some(Galera::SYNCED),
        has_quorum: true,
        last_committed: Some(4),
    };
    assert_eq!(galera.refuses(), None);
    assert_eq!(some.galera, Some(galera));
}

#[test]
fn a_node_of_galera_that_refuses_to_work_says_why() {
    let refuses = |ready: &str, rejects: &str| {
        let status = format!("WSREP_PROVIDER_NAME=Galera,WSREP_READY={ready}");
        let answer = Answer::maria().with("galera", &status);
        let facts = answer.with("galera_rejects", rejects).read().unwrap();
        facts.galera.unwrap().refuses()
    };
    assert_eq!(refuses("ON", "NONE"), None);
    assert_eq!(refuses("OFF", "NONE"), Some("wsrep_ready is OFF"));
    let told = refuses("ON", "ALL").unwrap();
    assert!(told.contains("wsrep_reject_queries"), "{told}");
}

#[test]
fn after_a_reset_the_session_has_the_collation_it_was_found_with() {
    let origin = Origin {
        collation: "utf8mb4_unicode_ci".to_owned(),
        ..Origin::default()
    };
    let text = set_up_again(SessionKind::ReadOnly, &origin, Some("a`b"));
    assert!(
        text.contains("collation_connection = 'utf8mb4_unicode_ci'"),
        "{text}"
    );
    assert!(text.ends_with("; USE `a``b`"), "{text}");
}
