//! One pod that goes, comes back elsewhere, or is not ready, under load.

use super::load::Load;
use super::report::{Report, brief};
use super::under_load::{SHARE, UnderLoad};
use super::world::{Failure, Outcome, Replaced, World, eventually};
use headless_mysql::Cluster;
use tokio::time::{Instant, sleep};

/// When the successor of a pod served its first operation, and says how long that took.
async fn first_use(
    world: &impl World,
    load: &Load,
    ordinal: u32,
    replaced: Replaced,
    report: &mut Report,
) -> Outcome {
    let what = format!("an operation on the new pod {ordinal}");
    eventually(&what, world.pace().patience, async || {
        Ok(load.first_of(ordinal).is_some())
    })
    .await?;
    let Some(first) = load.first_of(ordinal) else {
        return Err(what.into());
    };
    report.say(format!(
        "{}: listed at {} {} after it was deleted, first used {} after that",
        world.service().to_owned() + &format!("-{ordinal}"),
        replaced.address,
        brief(replaced.shown - replaced.ended),
        brief(first.saturating_duration_since(replaced.shown)),
    ));
    Ok(())
}

pub(crate) async fn a_deleted_replica_costs_no_read_and_serves_again_at_its_new_address(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let patience = world.pace().patience;
    let load = UnderLoad::begin(world, "replica_deleted").await?;
    load.reads.progress(SHARE, patience).await?;

    let replaced = world.delete_pod(1).await?;
    // Whatever its old connections served is over.
    load.reads.mark();
    first_use(world, &load.reads, 1, replaced, report).await?;
    load.reads.progress(SHARE, patience).await?;

    let ended = load.end(report).await?;
    ended.flawless()?;
    ended.nothing_lost().await?;
    ended.replicated(world).await
}

pub(crate) async fn a_deleted_primary_is_written_to_again_at_its_new_address(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let patience = world.pace().patience;
    let before = world.addresses().await?;
    let load = UnderLoad::begin(world, "primary_deleted").await?;
    load.writes.progress(SHARE, patience).await?;

    // The new server may be written to before we hear that DNS lists it.
    let replaced = {
        let deleted = world.delete_pod(0);
        let mut deleted = std::pin::pin!(deleted);
        loop {
            tokio::select! {
                biased;
                replaced = &mut deleted => break replaced?,
                () = sleep(std::time::Duration::from_millis(5)) => {
                    if !is_at(&load.cluster, before.get(&0).copied()) {
                        continue;
                    }
                    // As long as we know the old place only, what succeeds is there.
                    load.writes.mark();
                }
            }
        }
    };
    ensure!(
        Some(&replaced.address) != before.get(&0),
        "the new primary is at the old address {}",
        replaced.address
    );
    first_use(world, &load.writes, 0, replaced, report).await?;
    load.writes.progress(SHARE, patience).await?;

    let ended = load.end(report).await?;
    ended.reads.flawless()?;
    ended.writes.only_lost_the_primary()?;
    ended.nothing_lost().await?;
    ended.replicated(world).await
}

/// Whether the only place of the primary that the cluster knows is this one.
fn is_at(cluster: &Cluster, address: Option<std::net::IpAddr>) -> bool {
    let pods = cluster.status().pods;
    let mut primaries = pods
        .iter()
        .filter(|pod| pod.ordinal.is_some_and(|ordinal| ordinal.get() == 0));
    primaries.all(|pod| Some(pod.pod.address().ip()) == address)
}

/// Whether the cluster lists a pod.
fn lists(cluster: &Cluster, ordinal: u32) -> bool {
    let pods = cluster.status().pods;
    pods.iter()
        .any(|pod| pod.listed && pod.ordinal.is_some_and(|known| known.get() == ordinal))
}

pub(crate) async fn a_pod_that_is_not_ready_gets_no_reads_until_it_is(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let patience = world.pace().patience;
    let load = UnderLoad::begin(world, "not_ready").await?;
    load.reads.progress(SHARE, patience).await?;

    world.set_ready(2, false).await?;
    let changed = Instant::now();
    eventually("pod 2 is out of the cluster", patience, async || {
        Ok::<_, Failure>(!lists(&load.cluster, 2))
    })
    .await?;
    report.say(format!(
        "mysql-2 was left {} after DNS",
        brief(changed.elapsed())
    ));
    // What was picked before may still run.
    load.reads.progress(SHARE, patience).await?;
    load.reads.mark();
    load.reads.progress(SHARE, patience).await?;
    let stray = load.reads.served_by(2);
    ensure!(stray == 0, "{stray} reads went to a pod that is not ready");
    let others = load.reads.served_by(1);
    ensure!(others >= SHARE, "only {others} reads went to pod 1");

    world.set_ready(2, true).await?;
    let changed = Instant::now();
    load.reads.mark();
    eventually("a read on pod 2", patience, async || {
        Ok(load.reads.served_by(2) > 0)
    })
    .await?;
    report.say(format!(
        "mysql-2 was used again {} after DNS",
        brief(changed.elapsed())
    ));

    // Not to be ready is not to be dead, and writes have nowhere else to go.
    world.set_ready(0, false).await?;
    load.writes.progress(SHARE, patience).await?;
    world.set_ready(0, true).await?;
    load.writes.progress(SHARE, patience).await?;

    let ended = load.end(report).await?;
    ended.flawless()?;
    ended.nothing_lost().await
}
