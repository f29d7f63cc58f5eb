//! What `sslmode` promises must hold on the platform's TLS as well, with the same typed errors.
#![cfg(test)]

use headless_mysql::config::{ReplicaPolicy, SslMode};
use headless_mysql::error::TlsProblem;
use headless_mysql::{Cluster, Config, ConfigError};
use headless_mysql_testkit::lab::{Authority, Lab};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeSet;
use std::time::Duration;

/// A primary with a good certificate, and replicas whose certificate is another pod's, expired, a
/// stranger's, and not valid yet.
async fn stage(authority: &Authority) -> Stage {
    let stranger = Authority::new("a stranger").unwrap();
    let pod = |authority: &Authority, n| authority.issue_for_pod("mysql", n).unwrap();
    let expired = authority.issue_expired(["mysql-2.mysql.default.svc.cluster.local"]);
    let early = authority.issue_not_yet_valid(["mysql-4.mysql.default.svc.cluster.local"]);
    let ca = authority.pem();
    let lab = Lab::builder()
        .replicas(4)
        .tls(0, pod(authority, 0), ca)
        .tls(1, pod(authority, 2), ca)
        .tls(2, expired.unwrap(), ca)
        .tls(3, pod(&stranger, 3), ca)
        .tls(4, early.unwrap(), ca);
    let stage = Stage::with(lab).await.unwrap();
    std::fs::write(stage.lab.directory().join("ca.pem"), ca).unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_keeps_its_promise_and_each_bad_certificate_has_its_error() {
    let stage = stage(&Authority::new("the test's authority").unwrap()).await;
    let ca = stage.lab.directory().join("ca.pem");
    for (mode, wanted) in [
        (SslMode::Disabled, vec![2, 3, 4, 5]),
        (SslMode::Preferred, vec![2, 3, 4, 5]),
        (SslMode::Required, vec![2, 3, 4, 5]),
        (SslMode::VerifyCa, vec![2]),
        (SslMode::VerifyIdentity, vec![]),
    ] {
        let config: Config = stage.url().parse().unwrap();
        let mut config = config.with_ssl_mode(mode);
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyIdentity) {
            config = config.with_ssl_ca(&ca);
        }
        let cluster = Cluster::builder(config).connect().await.unwrap();
        let status = cluster
            .primary()
            .query_first("SHOW STATUS LIKE 'Ssl_cipher'");
        let (_, cipher): (String, String) = status.await.unwrap().unwrap();
        assert_eq!(cipher.is_empty(), mode == SslMode::Disabled, "{mode:?}");

        let replicas = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        let replicas = replicas.deadline(Duration::from_secs(2));
        let mut seen = BTreeSet::new();
        let mut said = String::new();
        for n in 0..1000 {
            // Whoever is to be seen comes up some time; who is not has had the chance.
            if n >= 60 && seen.len() >= wanted.len() {
                break;
            }
            match replicas.clone().query_first("SELECT @@server_id").await {
                Ok(id) => seen.extend(id as Option<u32>),
                Err(error) => {
                    said = error.to_string();
                    break;
                }
            }
        }
        assert_eq!(seen, BTreeSet::from_iter(wanted), "{mode:?}: {said}");
        if mode == SslMode::VerifyIdentity {
            // When no pod can be verified, a call is told at once of one of them.
            for _ in 0..100 {
                let refused = replicas.clone().query_drop("DO 1").await;
                said += &refused.unwrap_err().to_string();
            }
            for (n, problem) in [
                (1, TlsProblem::WrongName),
                (2, TlsProblem::Expired),
                (3, TlsProblem::UnknownAuthority),
                (4, TlsProblem::NotYetValid),
            ] {
                let words = format!(
                    "no TLS with mysql-{n} ({}:3306): {problem}",
                    stage.lab.address(n)
                );
                assert!(said.contains(&words), "{words}: {said}");
            }
        }
    }
}

#[test]
fn a_clients_certificate_is_refused_and_not_left_out() {
    let config = Config::new("mysql", "app")
        .with_ssl_mode(SslMode::Required)
        .with_ssl_identity("/client.pem", "/client.key");
    let refused = config.validate();
    assert!(
        matches!(
            refused,
            Err(ConfigError::Value {
                option: "ssl_cert",
                ..
            })
        ),
        "{refused:?}"
    );
}
