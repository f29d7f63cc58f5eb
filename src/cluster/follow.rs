//! The task that asks the pods for their roles.

use super::key::PodKey;
use super::monitors::{Kept, Monitors};
use super::reconcile::Pools;
use super::roles::{
    ANSWER_LIMIT, INTERVAL, LOGIN_STEP, LOGINS_AT_ONCE, Refusals, Sight, Warming, decide,
};
use crate::balance::Balance;
use crate::checkout::endpoint::PodPool;
use crate::config::PrimaryBy;
use crate::discovery::Finding;
use crate::error::ConnectError;
use crate::gtid::history::History;
use crate::pool::monitor::Report;
use crate::pool::state::Pool;
use crate::topology::Discovery;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest pause before a replica that has not answered yet is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Asks the pods until the cluster is gone. If the primary is set by ordinal, asks each replica
/// until it has answered once and a primary is known.
pub(super) async fn follow(
    warming: Warming,
    pools: Arc<Pools>,
    monitors: Arc<Monitors>,
    history: Arc<History>,
    balance: Balance<PodPool>,
    discovery: Discovery,
) {
    let roles = &warming.0;
    if roles.by == PrimaryBy::Ordinal && roles.is_warm() {
        return;
    }
    let mut kept = Kept::new();
    // No pod is known before the first answer of discovery.
    while pools.all().is_empty() {
        roles.poke.notified().await;
    }
    let mut heard = BTreeSet::new();
    let mut pause = INTERVAL;
    loop {
        let mut pods = pools.all();
        // Behind the Service's own address, each connection reaches a different pod.
        let service = discovery.findings().contains(&Finding::ServiceAddress);
        pods.retain(|(_, pool)| pool.is_listed() && !(service && pool.ordinal().is_none()));
        if roles.by == PrimaryBy::Ordinal {
            pods.retain(|(key, pool)| {
                pool.ordinal().is_some() && !pool.is_primary() && !heard.contains(key)
            });
        }
        // A newly listed replica may object to the primary that was accepted before.
        history.heard_all(pods.iter().all(|(key, _)| heard.contains(key)));
        let answers = ask_all(&monitors, &mut kept, &pods).await;
        for (key, answer) in &answers {
            let Ok(report) = answer else { continue };
            heard.insert(key.clone());
            if roles.by == PrimaryBy::Ordinal || !report.writable {
                history.expect(report.replicated.clone());
            }
        }
        let unheard = pods.iter().any(|(key, _)| !heard.contains(key));
        history.heard_all(!unheard);
        if !roles.is_warm() {
            history.opened();
            roles.warm.send_replace(true);
        }
        if roles.by == PrimaryBy::Ordinal {
            if history.is_settled() {
                return;
            }
            kept.retain(|key, _| !heard.contains(key));
            pause = match unheard {
                true => (pause * 2).min(LONGEST_PAUSE),
                false => LONGEST_PAUSE,
            };
            if tokio::time::timeout(pause, roles.poke.notified())
                .await
                .is_ok()
            {
                pause = INTERVAL;
            }
            continue;
        }
        let seen: Vec<(PodKey, Sight)> = answers
            .iter()
            .map(|(key, answer)| (key.clone(), answer.into()))
            .collect();
        roles.refusals.send_replace(Refusals::of(&answers));
        let leader = roles.leader().clone();
        let rivals: Vec<PodKey> = pods
            .iter()
            .filter(|(_, pool)| pool.disputes.rival().is_some())
            .map(|(key, _)| key.clone())
            .collect();
        let verdict = decide(leader.as_ref(), &rivals, &seen, roles.two_primaries);
        // All pools, because pods that are no longer listed lose their role as well.
        if roles.install(&verdict, &pools.all(), discovery.name()) {
            balance.wake();
        }
        roles.due().await;
    }
}

/// Asks each pod; the answers have the order of `pods`. Releases the connections to other pods.
async fn ask_all(
    monitors: &Monitors,
    kept: &mut Kept,
    pods: &[(PodKey, Arc<Pool>)],
) -> Vec<(PodKey, Result<Report, ConnectError>)> {
    let keep = |(key, _): &(PodKey, _)| (key.clone(), monitors.of(key));
    *kept = pods.iter().map(keep).collect();
    let begun = Instant::now();
    let mut logins = 0;
    let turns = pods.iter().map(|(key, pool)| {
        let monitor = monitors.of(key);
        let mut delay = Duration::ZERO;
        if monitor.begins_login() {
            delay = ANSWER_LIMIT.min(LOGIN_STEP * (logins / LOGINS_AT_ONCE));
            logins += 1;
        }
        async move {
            if !delay.is_zero() {
                tokio::time::sleep_until(begun + delay).await;
            }
            let report = monitor.ask(pool, begun + ANSWER_LIMIT).await;
            if let Err(error) = &report {
                tracing::debug!(pod = %key, %error, "a pod did not say who it is");
            }
            (key.clone(), report)
        }
    });
    join_all(turns).await
}
