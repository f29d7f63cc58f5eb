//! Cluster DNS that is not there.

use super::load::{Acknowledged, Load};
use super::report::{Report, brief};
use super::world::{Failure, Outcome, World, connect, eventually, table};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SHARE: u64 = 300;

pub(crate) async fn without_cluster_dns_nothing_fails(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    const TABLE: &str = "without_dns";
    let pace = world.pace();
    let cluster = connect(world).await?;
    table(world, &cluster, TABLE).await?;
    let acknowledged = Acknowledged::default();
    let reads = Load::reads(&cluster);
    let writes = Load::writes(&cluster, TABLE, &acknowledged);
    reads.progress(SHARE, pace.patience).await?;

    world.set_dns(false).await?;
    let began = Instant::now();
    sleep(pace.outage).await;
    let age = cluster.status().last_answer.unwrap_or_default();
    let back = world.set_dns(true).await;
    let away = began.elapsed();
    back?;
    ensure!(
        age >= pace.outage / 10 * 9,
        "DNS answered {age:?} before the end of its outage"
    );
    let recovered = eventually("a good answer of DNS", pace.patience, async || {
        let age = cluster.status().last_answer;
        Ok::<_, Failure>(age.is_some_and(|age| age < Duration::from_secs(1)))
    })
    .await?;
    report.say(format!(
        "DNS was away for {}; the last answer was {} old; a new one {} after it was back",
        brief(away),
        brief(age),
        brief(recovered)
    ));
    reads.progress(SHARE, pace.patience).await?;
    writes.progress(SHARE, pace.patience).await?;

    let (reads, writes) = (reads.stop().await?, writes.stop().await?);
    reads.say(report);
    writes.say(report);
    reads.flawless()?;
    writes.flawless()?;
    acknowledged.check(&cluster, TABLE).await
}
