//! What the Service is called from where, and who is behind its name.

use super::report::{Report, brief};
use super::world::{Failure, Outcome, PODS, Seat, World, connect, direct, eventually, table};
use headless_mysql::discovery::{Resolve as _, ResolveError};
use headless_mysql::mysql_async::prelude::Queryable as _;
use headless_mysql::{Cluster, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The names that have the namespace in them: they mean the same everywhere.
fn with_namespace(world: &impl World) -> [String; 4] {
    let (service, namespace, zone) = (world.service(), world.namespace(), world.zone());
    [
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{zone}"),
        format!("{service}.{namespace}.svc.{zone}."),
    ]
}

/// Reads and writes through the Service as `name`.
async fn works(world: &impl World, seat: Seat, name: &str, report: &mut Report) -> Outcome {
    let began = Instant::now();
    let cluster = Cluster::builder(world.config(seat, name)).connect().await?;
    let writer: Option<u32> = cluster.primary().query_first("SELECT @@server_id").await?;
    ensure!(
        writer == Some(1),
        "as {name}, writes go to server {writer:?}"
    );
    let reader: Option<u32> = cluster.replicas().query_first("SELECT @@server_id").await?;
    ensure!(reader > Some(1), "as {name}, reads go to server {reader:?}");
    let took = began.elapsed();

    let (service, namespace, zone) = (world.service(), world.namespace(), world.zone());
    let full = format!("{service}.{namespace}.svc.{zone}");
    let status = cluster.status();
    ensure!(
        status.service.as_deref() == Some(full.as_str()),
        "{name} was taken for {:?}",
        status.service
    );
    report.say(format!(
        "{name}: connected, read and wrote in {}",
        brief(took)
    ));
    cluster.shutdown(world.pace().patience).await?;
    Ok(())
}

pub(crate) async fn every_spelling_of_the_service_reaches_it_from_its_namespace(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    works(world, Seat::Same, world.service(), report).await?;
    for name in with_namespace(world) {
        works(world, Seat::Same, &name, report).await?;
    }
    Ok(())
}

pub(crate) async fn spellings_with_the_namespace_reach_it_from_another_one(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    for name in with_namespace(world) {
        works(world, Seat::Elsewhere, &name, report).await?;
    }
    // There it is another Service, and that one does not exist. Outside of the cluster's zone,
    // where the last attempt goes, the name server may answer with another error.
    let found = world.resolver(Seat::Elsewhere, world.service())?;
    let found = found.resolve().await;
    match &found {
        Err(ResolveError::NotFound { .. } | ResolveError::Search { .. }) => Ok(()),
        other => Err(format!("the short name from elsewhere: {other:?}").into()),
    }
}

/// `mysql-0.mysql` and its kin.
pub(crate) async fn a_pods_own_name_reaches_that_pod_alone(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    for ordinal in 0..PODS {
        let name = format!("{0}-{ordinal}.{0}", world.service());
        let config = world.config(Seat::Same, &name);
        let cluster = Cluster::builder(config).connect().await?;
        for _ in 0..4 {
            let server: Option<u32> = cluster.replicas().query_first("SELECT @@server_id").await?;
            ensure!(
                server == Some(ordinal + 1),
                "{name} went to server {server:?}"
            );
        }
        report.say(format!("{name}: server {}", ordinal + 1));
    }
    Ok(())
}

pub(crate) async fn the_services_name_has_the_addresses_of_all_pods(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let pods = world.addresses().await?;
    let began = Instant::now();
    let answer = world
        .resolver(Seat::Same, world.service())?
        .resolve()
        .await?;
    let took = began.elapsed();
    let mut found = BTreeMap::new();
    for pod in &answer.pods {
        let ordinal = pod.ordinal.map(|ordinal| ordinal.get());
        let ordinal = ordinal.ok_or_else(|| format!("{} has no ordinal", pod.host))?;
        ensure!(
            pod.addresses.len() == 1,
            "{} has the addresses {:?}",
            pod.host,
            pod.addresses
        );
        found.insert(ordinal, pod.addresses[0]);
    }
    ensure!(found == pods, "DNS says {found:?}, the pods are {pods:?}");
    report.say(format!(
        "{} pods in {}, TTL {:?}",
        found.len(),
        brief(took),
        answer.ttl.unwrap_or_default()
    ));
    Ok(())
}

pub(crate) async fn each_ordinal_is_the_pod_of_that_name(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let pods = world.addresses().await?;
    let wanted: BTreeSet<u32> = (0..PODS).collect();
    let ordinals: BTreeSet<u32> = pods.keys().copied().collect();
    ensure!(ordinals == wanted, "the pods are {ordinals:?}");
    // What the servers say without us.
    for (&ordinal, &address) in &pods {
        let mut conn = direct(world, address).await?;
        let says: Option<(String, u32)> =
            conn.query_first("SELECT @@hostname, @@server_id").await?;
        let name = format!("{}-{ordinal}", world.service());
        ensure!(
            says == Some((name.clone(), ordinal + 1)),
            "{address} is to be {name} and says {says:?}"
        );
        conn.disconnect().await?;
    }
    // And where we go.
    let cluster = connect(world).await?;
    let primary = cluster.primary().conn().await?;
    let mut reached = BTreeMap::from([(0, primary.pod().address().ip())]);
    drop(primary);
    eventually(
        "a read on each replica",
        world.pace().patience,
        async || {
            let mut conn = cluster.replicas().conn().await?;
            let server: Option<u32> = conn.query_first("SELECT @@server_id").await?;
            let ordinal = server.unwrap_or_default().saturating_sub(1);
            reached.insert(ordinal, conn.pod().address().ip());
            Ok::<_, Failure>(reached.len() == pods.len())
        },
    )
    .await?;
    ensure!(
        reached == pods,
        "reached {reached:?}, the pods are {pods:?}"
    );
    report.say(list(&reached));
    Ok(())
}

fn list(pods: &BTreeMap<u32, IpAddr>) -> String {
    let pods: Vec<String> = pods
        .iter()
        .map(|(ordinal, address)| format!("{ordinal} is {address}"))
        .collect();
    pods.join(", ")
}

pub(crate) async fn writes_go_to_ordinal_0_and_reads_to_the_others(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    const TABLE: &str = "routes";
    const EACH: u64 = 200;
    let cluster = connect(world).await?;
    table(world, &cluster, TABLE).await?;
    let mut tx = cluster.begin().await?;
    let insert = format!("INSERT INTO {TABLE} VALUES (?, @@server_id)");
    tx.exec_drop(insert.as_str(), (0,)).await?;
    tx.commit().await?;
    for id in 1..EACH {
        cluster.primary().exec_drop(insert.clone(), (id,)).await?;
    }
    let by = format!("SELECT server, COUNT(*) FROM {TABLE} GROUP BY server");
    let writes: Vec<(u32, u64)> = cluster.primary().query(by).await?;
    ensure!(writes == [(1, EACH)], "writes by server: {writes:?}");

    let read = async || -> Result<u32, Failure> {
        let server: Option<u32> = cluster.replicas().query_first("SELECT @@server_id").await?;
        Ok(server.unwrap_or_default())
    };
    // A replica that is behind when it is met is read from once it has caught up.
    let replicas: BTreeSet<u32> = (2..=PODS).collect();
    let (mut met, begun) = (BTreeSet::new(), Instant::now());
    while !met.is_superset(&replicas) {
        let is_late = begun.elapsed() > Duration::from_secs(30);
        ensure!(!is_late, "read from {met:?} only");
        met.insert(read().await?);
    }
    let mut reads: BTreeMap<u32, u64> = BTreeMap::new();
    for _ in 0..EACH {
        *reads.entry(read().await?).or_default() += 1;
    }
    let servers: BTreeSet<u32> = reads.keys().copied().collect();
    ensure!(servers == replicas, "reads by server: {reads:?}");
    // Ties are broken at random: a quarter is more than six standard deviations off.
    ensure!(
        reads.values().all(|&count| count > EACH / 4),
        "reads by server: {reads:?}"
    );
    report.say(format!(
        "{EACH} writes on server 1, reads by server {reads:?}"
    ));

    // It is refused before it is sent; the replicas themselves would refuse the account.
    let write = cluster
        .replicas()
        .query_drop(format!("DELETE FROM {TABLE}"));
    let within = Duration::from_secs(5);
    match tokio::time::timeout(within, write).await? {
        Err(Error::OnlyReads { .. }) => {}
        other => return Err(format!("a write on the replicas' route: {other:?}").into()),
    }
    let pods = world.addresses().await?;
    for (ordinal, address) in pods.into_iter().filter(|(ordinal, _)| *ordinal > 0) {
        let mut conn = direct(world, address).await?;
        let write = conn.query_drop(format!("DELETE FROM {TABLE}")).await;
        ensure!(write.is_err(), "pod {ordinal} let the account write");
        conn.disconnect().await?;
    }
    Ok(())
}
