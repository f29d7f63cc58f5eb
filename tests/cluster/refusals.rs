//! For every reason why a call cannot be served, the error comes in time and names the pod and its
//! address.

use crate::double::{Double, Manner, closed_port, impostors};
use crate::staged::Staged as _;
use crate::support::{lab, stage};
use futures_util::future::join_all;
use headless_mysql::config::PrimaryBy;
use headless_mysql::discovery::{FixedList, ResolveError};
use headless_mysql::error::ConnectError;
use headless_mysql::{Cluster, Config, ConfigError, Error, mysql_async};
use headless_mysql_testkit::lab::Lab;
use headless_mysql_testkit::stage::Stage;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The delay of an error that a busy machine may cause.
const MARGIN: Duration = Duration::from_secs(2);

/// The deadline of the calls in these tests.
const DEADLINE: Duration = Duration::from_secs(2);

/// The application's account on servers at fixed addresses, with a short connect timeout.
fn config(stage: &Stage) -> Config {
    stage
        .config()
        .with_connect_timeout(Duration::from_millis(500))
}

async fn fixed(config: Config, pods: impl IntoIterator<Item = SocketAddr>) -> Cluster {
    let builder = Cluster::builder(config).resolver(FixedList::new(pods));
    builder.connect().await.unwrap()
}

fn address_of(stage: &Stage, ordinal: u32) -> SocketAddr {
    (stage.lab.address(ordinal), stage.lab.port()).into()
}

/// The error of a call that must fail before `deadline`.
async fn refusal<T>(deadline: Duration, call: impl Future<Output = Result<T, Error>>) -> Error {
    let started = Instant::now();
    let Err(error) = call.await else {
        panic!("the call was served");
    };
    let elapsed = started.elapsed();
    assert!(elapsed <= deadline + MARGIN, "{elapsed:?}: {error}");
    error
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_not_exist_is_named_with_all_names_asked() {
    let stage = stage(0).await;
    let wait = Duration::from_millis(600);
    let name = "nosuch.default.svc.cluster.local.";
    let config = stage.config().with_service(name).with_connect_wait(wait);
    let error = refusal(wait, Cluster::builder(config.clone()).connect()).await;
    let Error::Discovery {
        service, source, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(service, name);
    assert!(
        matches!(**source, ResolveError::NotFound { .. }),
        "{source:?}"
    );
    assert_says(&error, &["nosuch.default.svc.cluster.local"]);

    let lazy = Cluster::builder(config).lazy().unwrap();
    for route in [lazy.primary(), lazy.replicas()] {
        let error = refusal(wait, route.deadline(wait).query_drop("DO 1")).await;
        assert!(matches!(error, Error::Discovery { .. }), "{error:?}");
        assert_says(&error, &["nosuch.default.svc.cluster.local"]);
    }

    // A short name is completed by the search list, and cluster DNS refuses the last candidate.
    let config = stage
        .config()
        .with_service("nosuch")
        .with_connect_wait(wait);
    let error = refusal(wait, Cluster::builder(config).connect()).await;
    assert!(matches!(error, Error::Discovery { .. }), "{error:?}");
    assert_says(&error, &["`nosuch`"]);
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_at_once_by_connect_and_lazy() {
    type IsRight = fn(&Error) -> bool;
    let table: [(&str, IsRight); 9] = [
        ("", |e| {
            matches!(e, Error::Config(ConfigError::NotAUrl { .. }))
        }),
        ("mysql.default", |e| {
            matches!(e, Error::Config(ConfigError::NotAUrl { .. }))
        }),
        ("redis://app@mysql", |e| {
            matches!(e, Error::Config(ConfigError::Scheme { .. }))
        }),
        ("mysql://mysql/shop", |e| {
            matches!(e, Error::Config(ConfigError::MissingUser))
        }),
        ("mysql://app@/shop", |e| {
            matches!(e, Error::Config(ConfigError::MissingHost))
        }),
        ("mysql://app@a,b/shop", |e| {
            matches!(e, Error::Config(ConfigError::SeveralHosts { .. }))
        }),
        ("mysql://app@mysql:99999", |e| {
            matches!(e, Error::Config(ConfigError::Port { .. }))
        }),
        ("mysql://app@mysql?verfy=off", |e| {
            matches!(
                e,
                Error::Config(ConfigError::UnknownOption {
                    nearest: Some("verify"),
                    ..
                })
            )
        }),
        ("mysql://app@mysql?checkout_timeout=0s", |e| {
            matches!(e, Error::Config(ConfigError::Value { .. }))
        }),
    ];
    for (url, expected) in table {
        let error = refusal(Duration::ZERO, Cluster::connect(url)).await;
        assert!(expected(&error), "{url}: {error:?}");
        let lazy = Cluster::lazy(url).unwrap_err();
        assert!(expected(&lazy), "{url}: {lazy:?}");
    }
}

#[tokio::test]
async fn a_name_that_no_service_can_have_is_refused_at_once() {
    for name in [
        "my_sql",
        "-mysql",
        "a..b",
        &"x".repeat(64),
        "10.0.0.1",
        "localhost",
    ] {
        let builder = Cluster::builder(Config::new(name, "app"));
        let error = refusal(Duration::ZERO, builder.clone().connect()).await;
        assert!(matches!(error, Error::Name(_)), "{name}: {error:?}");
        let error = builder.lazy().unwrap_err();
        assert!(matches!(error, Error::Name(_)), "{name}: {error:?}");
    }
    let empty = Cluster::builder(Config::new("", "app")).lazy().unwrap_err();
    assert!(matches!(empty, Error::Config(_)), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_at_once_and_not_after_the_checkout_timeout() {
    let stage = stage(1).await;
    let patient = Duration::from_secs(60);
    for by in [PrimaryBy::Ordinal, PrimaryBy::Detected] {
        let config = stage
            .config()
            .with_primary(by)
            .with_password("wrong")
            .with_checkout_timeout(patient);
        let cluster = Cluster::builder(config).connect().await.unwrap();
        for route in [cluster.primary(), cluster.replicas()] {
            let error = refusal(Duration::ZERO, route.query_drop("DO 1")).await;
            let Error::Connect(ConnectError::AccessDenied {
                pod, user, code, ..
            }) = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!((user.as_str(), *code), (stage.lab.user(), 1045));
            assert_says(&error, &[&pod.to_string(), "Access denied", "`app`"]);
            let ordinals = stage.lab.ordinals();
            let mut ordinals = ordinals.iter();
            let ordinal = ordinals.find(|n| stage.lab.pod_name(**n) == pod.name());
            assert_eq!(pod.address(), address_of(&stage, *ordinal.unwrap()));
        }
        let error = refusal(Duration::ZERO, cluster.begin()).await;
        assert!(
            matches!(error, Error::Connect(ConnectError::AccessDenied { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_exist_is_told_at_once_by_its_name() {
    let stage = stage(0).await;
    let lab = &stage.lab;
    let accounts = [
        (lab.user(), lab.password(), 1044),
        (lab.root_user(), lab.root_password(), 1049),
    ];
    for (user, password, expected) in accounts {
        let config = stage
            .config()
            .with_user(user)
            .with_password(password)
            .with_database("nosuch")
            .with_checkout_timeout(Duration::from_secs(60));
        let cluster = Cluster::builder(config).connect().await.unwrap();
        let error = refusal(Duration::ZERO, cluster.primary().query_drop("DO 1")).await;
        let Error::Connect(ConnectError::AccessDenied { code, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*code, expected);
        let place = format!("mysql-0 ({})", address_of(&stage, 0));
        assert_says(&error, &["nosuch", &place]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_listens_in_the_primarys_place_is_told_for_what_it_is() {
    let stage = stage(0).await;
    let impostors = impostors(&stage).await;
    let calls = impostors.iter().map(|(words, address, _)| {
        let config = config(&stage);
        async move {
            let cluster = fixed(config, [*address]).await;
            let place = format!("mysql-0 ({address})");

            let write = cluster.primary().deadline(DEADLINE).query_drop("DO 1");
            let error = refusal(DEADLINE, write).await;
            assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
            assert_says(&error, &[words, &place]);

            let read = cluster.replicas().deadline(DEADLINE).query_drop("DO 1");
            let error = refusal(DEADLINE, read).await;
            assert!(matches!(error, Error::NoReplica { .. }), "{error:?}");
            assert_says(&error, &[words, &place]);

            let begin = cluster.primary().deadline(DEADLINE).begin();
            let error = refusal(DEADLINE, begin).await;
            assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
            assert_says(&error, &[words, &place]);
        }
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_says_which_pod_it_waited_for_when_it_gives_up_before_the_connect_does() {
    let stage = stage(0).await;
    let silent = Double::start(Manner::Silent).await;
    let config = stage.config().with_connect_timeout(Duration::from_secs(30));
    let cluster = fixed(config, [silent.address]).await;
    for route in [cluster.primary(), cluster.replicas()] {
        let within = Duration::from_millis(300);
        let error = refusal(within, route.deadline(within).query_drop("DO 1")).await;
        let place = format!("mysql-0 ({})", silent.address);
        assert_says(&error, &[&place, "no connection to be had within"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_replica_costs_no_read_while_a_good_one_exists() {
    let stage = stage(1).await;
    let (primary, replica) = (address_of(&stage, 0), address_of(&stage, 1));
    let impostors = impostors(&stage).await;
    let calls = impostors.iter().map(|(words, address, _)| {
        // A healthy replica must not be rejected because the machine is busy.
        let config = config(&stage).with_connect_timeout(Duration::from_secs(1));
        async move {
            let cluster = fixed(config, [primary, replica, *address]).await;
            for _ in 0..40 {
                let id = cluster.replicas().query_first("SELECT @@server_id").await;
                let id: Option<u32> = id.unwrap_or_else(|error| panic!("{words}: {error}"));
                assert_eq!(id, Some(2), "{words}");
            }
        }
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_replica_alone_leaves_reads_to_the_primary_unless_that_is_ruled_out() {
    use headless_mysql::config::ReplicaPolicy;
    let stage = stage(0).await;
    let primary = address_of(&stage, 0);
    let impostors = impostors(&stage).await;
    let calls = impostors.iter().map(|(words, address, _)| {
        let config = config(&stage);
        async move {
            let cluster = fixed(config, [primary, *address]).await;
            for _ in 0..20 {
                let id = cluster.replicas().query_first("SELECT @@server_id").await;
                let id: Option<u32> = id.unwrap_or_else(|error| panic!("{words}: {error}"));
                assert_eq!(id, Some(1), "{words}");
            }
            let only = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
            let read = only.deadline(DEADLINE).query_drop("DO 1");
            let error = refusal(DEADLINE, read).await;
            assert!(matches!(error, Error::NoReplica { .. }), "{error:?}");
            assert_says(&error, &[words, &format!("mysql-1 ({address})")]);
            assert!(!error.to_string().contains("mysql-0"), "{error}");
        }
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_closed_ports_names_each_pod_that_could_have_served() {
    let stage = stage(0).await;
    let ports = [closed_port(), closed_port(), closed_port()];
    let cluster = fixed(config(&stage), ports).await;
    let read = cluster.replicas().deadline(DEADLINE).query_drop("DO 1");
    let error = refusal(DEADLINE, read).await;
    let Error::NoReplica { pods, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(pods.len(), 3);
    for (n, address) in ports.iter().enumerate() {
        assert_says(&error, &[&format!("mysql-{n} ({address})")]);
    }
}

/// Opens connections of the application's account until the server is full. It continues for a
/// while, because the server releases closed connections of others with a delay.
async fn occupy(lab: &Lab, ordinal: u32) -> Vec<mysql_async::Conn> {
    let mut held = Vec::new();
    let mut taken = Instant::now();
    // Longer than the connection that asks a pod for its identity is kept.
    while taken.elapsed() < Duration::from_millis(1500) {
        match lab.connect(ordinal).await {
            Ok(conn) => {
                held.push(conn);
                taken = Instant::now();
            }
            Err(error) => {
                assert!(error.to_string().contains("1040"), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_is_told_and_used_again_once_it_has_room() {
    let lab = lab()
        .replicas(1)
        .server_option(0, "--max-connections=10")
        .server_option(1, "--max-connections=10");
    let stage = Stage::with(lab).await.unwrap();
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();

    let on_primary = occupy(&stage.lab, 0).await;
    let write = cluster.primary().deadline(DEADLINE).query_drop("DO 1");
    let error = refusal(DEADLINE, write).await;
    assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
    let place = format!("mysql-0 ({})", address_of(&stage, 0));
    assert_says(&error, &["no room", "1040", &place]);
    // The replica has room.
    let id: Option<u32> = cluster
        .replicas()
        .query_first("SELECT @@server_id")
        .await
        .unwrap();
    assert_eq!(id, Some(2));

    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let on_replica = occupy(&stage.lab, 1).await;
    let read = cluster.replicas().deadline(DEADLINE).query_drop("DO 1");
    let error = refusal(DEADLINE, read).await;
    let place = format!("mysql-1 ({})", address_of(&stage, 1));
    assert_says(&error, &["no room", "1040", &place]);

    drop(on_primary);
    let id: Option<u32> = cluster
        .primary()
        .query_first("SELECT @@server_id")
        .await
        .unwrap();
    assert_eq!(id, Some(1));
    // While the replica is full, the primary serves the reads.
    let id: Option<u32> = cluster
        .replicas()
        .query_first("SELECT @@server_id")
        .await
        .unwrap();
    assert_eq!(id, Some(1));
    drop(on_replica);
    let back = async {
        loop {
            let read = cluster.replicas().query_first("SELECT @@server_id");
            if read.await.unwrap() == Some(2u32) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back)
        .await
        .unwrap();
}
