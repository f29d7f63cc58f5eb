//! The whole StatefulSet under load: another size, and a restart of all pods.

use super::report::{Report, brief};
use super::under_load::{SHARE, UnderLoad};
use super::world::{Outcome, PODS, World, eventually};
use tokio::time::Instant;

pub(crate) async fn scaling_to_five_and_to_two_costs_no_operation(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let patience = world.pace().patience;
    let load = UnderLoad::begin(world, "scaled").await?;
    load.reads.progress(SHARE, patience).await?;

    world.scale(5).await?;
    let listed = Instant::now();
    eventually("reads on pods 3 and 4", patience, async || {
        Ok(load.reads.served_by(3) > 0 && load.reads.served_by(4) > 0)
    })
    .await?;
    let after = brief(listed.elapsed());
    report.say(format!(
        "both new pods serve reads {after} after the last was listed"
    ));
    load.replicated(world).await?;
    load.reads.progress(SHARE, patience).await?;

    world.scale(2).await?;
    load.reads.progress(SHARE, patience).await?;
    load.reads.mark();
    load.reads.progress(SHARE, patience).await?;
    for ordinal in 2..5 {
        let served = load.reads.served_by(ordinal);
        ensure!(
            served == 0,
            "pod {ordinal} is gone and served {served} reads"
        );
    }
    load.writes.progress(SHARE, patience).await?;

    let ended = load.end(report).await?;
    world.scale(PODS).await?;
    ended.flawless()?;
    ended.nothing_lost().await?;
    ended.replicated(world).await
}

pub(crate) async fn a_rolling_restart_costs_no_read_and_no_acknowledged_write(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let patience = world.pace().patience;
    let before = world.addresses().await?;
    let load = UnderLoad::begin(world, "rolled").await?;
    load.reads.progress(SHARE, patience).await?;

    let began = Instant::now();
    world.rolling_restart().await?;
    report.say(format!("all pods restarted in {}", brief(began.elapsed())));
    let after = world.addresses().await?;
    let stayed = before
        .iter()
        .filter(|(ordinal, address)| after.get(ordinal) == Some(address))
        .count();
    ensure!(stayed == 0, "{stayed} pods are where they were");
    load.writes.progress(SHARE, patience).await?;
    load.reads.mark();
    eventually("reads on all replicas", patience, async || {
        Ok((1..PODS).all(|ordinal| load.reads.served_by(ordinal) > 0))
    })
    .await?;

    let ended = load.end(report).await?;
    ended.reads.flawless()?;
    ended.writes.only_lost_the_primary()?;
    ended.nothing_lost().await?;
    ended.replicated(world).await
}
