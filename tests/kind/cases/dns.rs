//! Cluster DNS that is not there.

use super::report::{Report, brief};
use super::under_load::{SHARE, UnderLoad};
use super::world::{Failure, Outcome, World, eventually};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) async fn without_cluster_dns_nothing_fails(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    let pace = world.pace();
    let load = UnderLoad::begin(world, "without_dns").await?;
    load.reads.progress(SHARE, pace.patience).await?;

    world.set_dns(false).await?;
    let began = Instant::now();
    sleep(pace.outage).await;
    let age = load.cluster.status().last_answer.unwrap_or_default();
    let back = world.set_dns(true).await;
    let away = began.elapsed();
    back?;
    ensure!(
        age >= pace.outage / 10 * 9,
        "DNS answered {age:?} before the end of its outage"
    );
    let recovered = eventually("a good answer of DNS", pace.patience, async || {
        let age = load.cluster.status().last_answer;
        Ok::<_, Failure>(age.is_some_and(|age| age < Duration::from_secs(1)))
    })
    .await?;
    report.say(format!(
        "DNS was away for {}; the last answer was {} old; a new one {} after it was back",
        brief(away),
        brief(age),
        brief(recovered)
    ));
    load.reads.progress(SHARE, pace.patience).await?;
    load.writes.progress(SHARE, pace.patience).await?;

    let ended = load.end(report).await?;
    ended.flawless()?;
    ended.nothing_lost().await
}
