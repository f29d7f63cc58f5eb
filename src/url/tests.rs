//! Tests of the grammar, of each error, and that no error shows a password.

use std::time::Duration;

use proptest::prelude::*;

use super::parse;
use crate::config::{Config, ConfigError, ReplicaPolicy, Reset, Verify};

fn error(url: &str) -> ConfigError {
    parse(url).map(|_| ()).expect_err(url)
}

#[test]
fn the_short_form_leaves_the_defaults() {
    let config = parse("mysql://app@mysql").unwrap();
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", Config::new("mysql", "app"))
    );
}

#[test]
fn the_long_form_sets_everything() {
    let config = parse(
        "MySQL://app:se%2Fcret@mysql.default.svc.cluster.local:3307/my%20shop?statefulset=db\
         &connect_timeout=500ms&checkout_timeout=2s&statement_timeout=1m&max_connections=4\
         &read_checkout_timeout=1s&read_other_pods=true\
         &replica_policy=replica-only&verify=strict&reset=always&read_retry=false\
         &kill_query=false&min_connections=2&max_share=25&max_lifetime=5m&statement_cache=64\
         &port_name=mysql&allow_alias=true&replica_service=mysql-replicas.default\
         &pace=false&weights=1:2,2:0",
    )
    .unwrap();
    assert_eq!(config.service, "mysql.default.svc.cluster.local");
    assert_eq!(config.port, 3307);
    assert_eq!(config.user, "app");
    assert_eq!(config.password.unwrap().expose(), "se/cret");
    assert_eq!(config.database.as_deref(), Some("my shop"));
    assert_eq!(config.statefulset.as_deref(), Some("db"));
    assert_eq!(config.connect_timeout, Duration::from_millis(500));
    assert_eq!(config.checkout_timeout, Duration::from_secs(2));
    assert_eq!(config.read_checkout_timeout, Duration::from_secs(1));
    assert!(config.read_other_pods);
    let config_of_five = parse("mysql://app@mysql?first_ordinal=5").unwrap();
    assert_eq!(config_of_five.first_ordinal, 5);
    assert_eq!(config.statement_timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.max_connections, 4);
    assert_eq!(config.replica_policy, ReplicaPolicy::ReplicaOnly);
    assert_eq!(config.verify, Verify::Strict);
    assert_eq!(config.reset, Reset::Always);
    assert!(!config.read_retry);
    assert!(!config.kill_query);
    assert_eq!((config.min_connections, config.max_share), (2, 25));
    assert_eq!(config.max_lifetime, Some(Duration::from_secs(300)));
    assert_eq!(config.statement_cache, 64);
    assert!(!config.pace);
    assert_eq!(config.weights, [(1, 2), (2, 0)].into());
    assert_eq!(config.port_name.as_deref(), Some("mysql"));
    assert!(config.allow_alias);
    assert_eq!(
        config.replica_service.as_deref(),
        Some("mysql-replicas.default")
    );
}

#[cfg(feature = "rustls-tls")]
#[test]
fn encryption_is_spelled_in_mysqls_words_and_in_those_of_this_crate() {
    use crate::config::SslMode;
    let ours = parse(
        "mysql://app@mysql?sslmode=verify-identity&ssl_ca=/tls/ca.crt&ssl_cert=/tls/tls.crt\
         &ssl_key=/tls/tls.key&tls_name={pod}.db.example.com\
         &cleartext_password=true&password_file=/run/pass%20word",
    )
    .unwrap();
    let same = Config::new("mysql", "app")
        .with_password_file("/run/pass word")
        .with_ssl_mode(SslMode::VerifyIdentity)
        .with_ssl_ca("/tls/ca.crt")
        .with_ssl_identity("/tls/tls.crt", "/tls/tls.key")
        .with_tls_name("{pod}.db.example.com")
        .with_cleartext_password(true);
    assert_eq!(format!("{ours:?}"), format!("{same:?}"));

    let tools = "ssl-mode=VERIFY_CA&ssl-ca=/c&ssl-cert=/d&ssl-key=/e";
    let tools = parse(&format!("mysql://app@mysql?{tools}")).unwrap();
    assert_eq!(tools.tls.mode(), SslMode::VerifyCa);
    assert_eq!(tools.tls.key.as_deref(), Some("/e".as_ref()));
    let twice = error("mysql://app@mysql?ssl-mode=REQUIRED&sslmode=required");
    assert_eq!(twice, ConfigError::DuplicateOption { name: "sslmode" });
    let wrong = error("mysql://app@mysql?sslmode=verify-full").to_string();
    assert!(wrong.contains("verify-identity"), "{wrong}");
}

#[test]
fn forms_that_are_accepted() {
    let password = |url| {
        parse(url)
            .unwrap()
            .password
            .map(|secret| secret.expose().to_owned())
    };
    assert_eq!(password("mariadb://app@mysql/"), None);
    assert_eq!(password("mysql://app:@mysql"), None);
    assert_eq!(password("mysql://app:a:b@mysql").as_deref(), Some("a:b"));
    assert_eq!(password("mysql://app:a@b@mysql").as_deref(), Some("a@b"));
    assert_eq!(
        password("mysql://app:p%C3%A9%25@mysql?").as_deref(),
        Some("pé%")
    );
    assert_eq!(parse("mysql://us%40er@mysql").unwrap().user, "us@er");
    assert_eq!(
        parse("mysql://a@mysql/a%2Fb").unwrap().database.as_deref(),
        Some("a/b")
    );
    assert_eq!(
        parse("mysql://a@m?statement_timeout=none")
            .unwrap()
            .statement_timeout,
        None
    );
    assert_eq!("mysql://app@mysql:1".parse::<Config>().unwrap().port, 1);
}

#[test]
fn each_mistake_has_its_own_error() {
    use ConfigError as E;
    let given = String::from;
    let cases = [
        (
            "postgres://app@mysql",
            E::Scheme {
                given: given("postgres"),
            },
        ),
        (
            "mysql:app@mysql",
            E::NotAUrl {
                reason: "it has no `://`",
            },
        ),
        (
            "://app@mysql",
            E::NotAUrl {
                reason: "it does not start with a scheme",
            },
        ),
        ("mysql://mysql/shop", E::MissingUser),
        ("mysql://:pw@mysql/shop", E::MissingUser),
        ("mysql://app:pw@/shop", E::MissingHost),
        ("mysql://app:pw@:3306/shop", E::MissingHost),
        (
            "mysql://app@a,b/shop",
            E::SeveralHosts {
                given: given("a,b"),
            },
        ),
        (
            "mysql://app@a:1,b:2/shop",
            E::SeveralHosts {
                given: given("a:1,b:2"),
            },
        ),
        ("mysql://app@mysql:x", E::Port { given: given("x") }),
        ("mysql://app@mysql:", E::Port { given: given("") }),
        ("mysql://app@mysql:0", E::Port { given: given("0") }),
        ("mysql://app@mysql:+1", E::Port { given: given("+1") }),
        (
            "mysql://app@mysql:65536",
            E::Port {
                given: given("65536"),
            },
        ),
        (
            "mysql://app@mysql:1:2",
            E::Port {
                given: given("1:2"),
            },
        ),
        (
            "mysql://app@mysql/a/b",
            E::Path {
                given: given("/a/b"),
            },
        ),
        (
            "mysql://app@mysql/a/",
            E::Path {
                given: given("/a/"),
            },
        ),
        ("mysql://app@mysql/a#b", E::Fragment { given: given("#b") }),
        ("mysql://app@mysql#", E::Fragment { given: given("#") }),
        ("mysql://app:a/b@mysql", E::Unescaped),
        (
            "mysql://a%z1b@m",
            E::PercentEncoding {
                part: "user",
                given: Some(given("%z1")),
            },
        ),
        (
            "mysql://a@m/%4",
            E::PercentEncoding {
                part: "database",
                given: Some(given("%4")),
            },
        ),
        (
            "mysql://a@m/%éé",
            E::PercentEncoding {
                part: "database",
                given: Some(given("%éé")),
            },
        ),
        (
            "mysql://a@m/x%ff",
            E::PercentEncoding {
                part: "database",
                given: Some(given("x%ff")),
            },
        ),
        (
            "mysql://a:x%ff@m",
            E::PercentEncoding {
                part: "password",
                given: None,
            },
        ),
        (
            "mysql://a:x%0@m",
            E::PercentEncoding {
                part: "password",
                given: None,
            },
        ),
        ("mysql://app:a%00b@m", E::Password),
        (
            "mysql://app@m?reset=auto&reset=auto",
            E::DuplicateOption { name: "reset" },
        ),
    ];
    for (url, expected) in cases {
        assert_eq!(error(url), expected, "{url}");
    }
    assert!(matches!(error("mysql://app@a b"), E::NotAUrl { .. }));
    assert!(matches!(error("mysql://app@a<b"), E::Host { .. }));
    assert!(matches!(error("mysql://app@[::1/x"), E::Host { .. }));
}

#[test]
fn a_bad_option_is_named_quoted_and_corrected() {
    let shown = |url: &str| error(url).to_string();
    let unknown = shown("mysql://app@mysql?conect_timeout=1s");
    assert!(unknown.contains("\"conect_timeout\""), "{unknown}");
    assert!(
        unknown.contains("did you mean `connect_timeout`?"),
        "{unknown}"
    );
    assert!(unknown.contains("read_retry"), "{unknown}");
    for (option, value) in [
        ("connect_timeout", "5"),
        ("connect_timeout", "0s"),
        ("statement_timeout", "never"),
        ("checkout_timeout", "99999999m"),
        ("max_connections", "many"),
        ("max_connections", "0"),
        ("replica_policy", "replica"),
        ("verify", "Strict"),
        ("reset", ""),
        ("read_retry", "yes"),
        ("statefulset", ""),
        ("port_name", ""),
        ("port_name", "my_port"),
        ("port_name", "longer-than-fifteen"),
        ("allow_alias", "yes"),
        ("replica_service", ""),
        ("replica_service", "mysql"),
        ("pace", "on"),
        ("weights", ""),
        ("weights", "2"),
        ("weights", "1:1,1:2"),
        ("weights", "1:-1"),
        ("weights", "1:101"),
    ] {
        let ConfigError::Value { option: named, .. } =
            error(&format!("mysql://app@mysql?{option}={value}"))
        else {
            panic!("{option}={value}");
        };
        assert_eq!(named, option);
    }
}

/// URLs with a placeholder for the password, combined with each other mistake.
const TEMPLATES: [&str; 32] = [
    "mysql://app:{}@mysql/shop",
    "mysql://app:{}@mysql:x/shop",
    "mysql://app:{}@mysql:/shop",
    "mysql://app:{}@a,b/shop",
    "mysql://app:{}@a:1,b:2/shop",
    "mysql://app:{}@mysql/a/b",
    "mysql://app:{}@mysql/a#b",
    "mysql://app:{}@mysql/%zz",
    "mysql://app:{}@mysql/%ff",
    "mysql://a%zz:{}@mysql",
    "mysql://a%ff:{}@mysql",
    "mysql://:{}@mysql/shop",
    "mysql://app:{}@/shop",
    "mysql://app:{}@:1/shop",
    "mysql://app:{}@",
    "mysql://app:{}",
    "mysql://app:{}/shop",
    "mysql://app:{}@my sql/shop",
    "mysql://app:{}@my<sql/shop",
    "mysql://app:{}@[::1/shop",
    "mysql://app:{}@mysql?verfy=auto",
    "mysql://app:{}@mysql?nonsense",
    "mysql://app:{}@mysql?reset=auto&reset=auto",
    "mysql://app:{}@mysql?reset=x",
    "mysql://app@mysql?password={}",
    "postgres://app:{}@mysql/shop",
    "mysql:app:{}@mysql/shop",
    "mysql:/app:{}@mysql/shop",
    "//app:{}@mysql/shop",
    "app:{}@mysql/shop",
    "mysql://app:%zz{}@mysql/shop",
    "mysql://app:%ff{}@mysql/shop",
];

const MARK: &str = "Hunter2";

/// Passwords of `Hunter2` and any delimiters in between.
fn secrets() -> impl Strategy<Value = String> {
    let delimiter = prop_oneof![
        "[@/#?:%&=,;\\[\\]<> +.]{0,2}",
        Just("://".to_owned()),
        Just("%zz".to_owned()),
        Just("%ff".to_owned()),
        Just("%00".to_owned()),
        ".{0,2}",
    ];
    prop::collection::vec(delimiter, 1..4)
        .prop_map(|delimiters| format!("{MARK}{}{MARK}", delimiters.join(MARK)))
}

fn assert_no_leak(url: &str) {
    match parse(url) {
        Ok(config) if url.contains('@') => {
            // In a URL without its own `@`, an `@` in the password starts the host.
            let misread = config.service.contains(MARK);
            assert!(misread || !format!("{config:?}").contains(MARK), "{url}");
        }
        Ok(config) => assert!(!format!("{config:?}").contains(MARK), "{url}"),
        Err(error) => {
            let shown = format!("{error} {error:?} {error:#?}");
            assert!(!shown.contains(MARK), "{url}: {shown}");
        }
    }
}

#[test]
fn no_error_shows_a_password() {
    let secrets = [
        "", "@", "/", "#", ":", "?", "%", "://", "@/", "/@", "#@:/?", "&", ",", " ",
    ];
    for between in secrets {
        for template in TEMPLATES {
            // Skipped: in a URL without its own `@`, an `@` in the password would start the host.
            if between.contains('@') && !template.replace("://", "").contains("}@") {
                continue;
            }
            assert_no_leak(&template.replace("{}", &format!("{MARK}{between}{MARK}")));
        }
    }
}

proptest! {
    #[test]
    fn parse_never_panics(url in ".{0,80}") {
        let _ = parse(&url);
    }

    #[test]
    fn parse_never_panics_behind_the_scheme(rest in "[a-z@:/?#%&=,\\[\\]é0-9]{0,60}") {
        let _ = parse(&format!("mysql://{rest}"));
    }

    #[test]
    fn no_error_ever_shows_a_password(
        secret in secrets(),
        template in prop::sample::select(&TEMPLATES[..]),
    ) {
        prop_assume!(template.contains("}@") || !secret.contains('@'));
        assert_no_leak(&template.replace("{}", &secret));
    }

    #[test]
    fn what_is_encoded_comes_back(user in "\\PC{1,8}", password in "\\PC{0,20}", db in "\\PC{0,8}") {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let url = format!("mysql://{}:{}@m/{}", encode(&user), encode(&password), encode(&db));
        let config = parse(&url).unwrap();
        prop_assert_eq!(config.user, user);
        prop_assert_eq!(config.password.map_or(String::new(), |s| s.expose().to_owned()), password);
        prop_assert_eq!(config.database.unwrap_or_default(), db);
    }
}
