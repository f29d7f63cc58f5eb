//! The whole StatefulSet under load: another size, and a restart of all pods.

use super::load::{Acknowledged, Load};
use super::report::{Report, brief};
use super::world::{Outcome, PODS, World, connect, eventually, replicated, table};
use tokio::time::Instant;

const SHARE: u64 = 300;

pub(crate) async fn scaling_to_five_and_to_two_costs_no_operation(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    const TABLE: &str = "scaled";
    let patience = world.pace().patience;
    let cluster = connect(world).await?;
    table(world, &cluster, TABLE).await?;
    let acknowledged = Acknowledged::default();
    let reads = Load::reads(&cluster);
    let writes = Load::writes(&cluster, TABLE, &acknowledged);
    reads.progress(SHARE, patience).await?;

    world.scale(5).await?;
    let listed = Instant::now();
    eventually("reads on pods 3 and 4", patience, async || {
        Ok(reads.served_by(3) > 0 && reads.served_by(4) > 0)
    })
    .await?;
    let after = brief(listed.elapsed());
    report.say(format!(
        "both new pods serve reads {after} after the last was listed"
    ));
    replicated(world, &cluster, TABLE).await?;
    reads.progress(SHARE, patience).await?;

    world.scale(2).await?;
    reads.progress(SHARE, patience).await?;
    reads.mark();
    reads.progress(SHARE, patience).await?;
    for ordinal in 2..5 {
        let served = reads.served_by(ordinal);
        ensure!(
            served == 0,
            "pod {ordinal} is gone and served {served} reads"
        );
    }
    writes.progress(SHARE, patience).await?;

    let (reads, writes) = (reads.stop().await?, writes.stop().await?);
    reads.say(report);
    writes.say(report);
    world.scale(PODS).await?;
    reads.flawless()?;
    writes.flawless()?;
    acknowledged.check(&cluster, TABLE).await?;
    replicated(world, &cluster, TABLE).await
}

pub(crate) async fn a_rolling_restart_costs_no_read_and_no_acknowledged_write(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    const TABLE: &str = "rolled";
    let patience = world.pace().patience;
    let before = world.addresses().await?;
    let cluster = connect(world).await?;
    table(world, &cluster, TABLE).await?;
    let acknowledged = Acknowledged::default();
    let reads = Load::reads(&cluster);
    let writes = Load::writes(&cluster, TABLE, &acknowledged);
    reads.progress(SHARE, patience).await?;

    let began = Instant::now();
    world.rolling_restart().await?;
    report.say(format!("all pods restarted in {}", brief(began.elapsed())));
    let after = world.addresses().await?;
    let stayed = before
        .iter()
        .filter(|(ordinal, address)| after.get(ordinal) == Some(address))
        .count();
    ensure!(stayed == 0, "{stayed} pods are where they were");
    writes.progress(SHARE, patience).await?;
    reads.mark();
    eventually("reads on all replicas", patience, async || {
        Ok((1..PODS).all(|ordinal| reads.served_by(ordinal) > 0))
    })
    .await?;

    let (reads, writes) = (reads.stop().await?, writes.stop().await?);
    reads.say(report);
    writes.say(report);
    reads.flawless()?;
    writes.only_lost_the_primary()?;
    acknowledged.check(&cluster, TABLE).await?;
    replicated(world, &cluster, TABLE).await
}
