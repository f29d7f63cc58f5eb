//! The task that determines which pods are replicas.
//!
//! It asks the primary when a handshake with another pod needs the primary's answer, and asks
//! unproven pods until they are proven to be replicas. Once all are proven, it asks once a minute,
//! and only pods in use.
//!
//! Owns its set of monitor connections; the pools judge the answers. It must never take a pod out
//! of use because the pod could not be asked.

use super::key::PodKey;
use super::monitors::{Kept, Monitors};
use super::reconcile::Pools;
use super::roles::{ANSWER_LIMIT, Roles};
use crate::balance::Balance;
use crate::checkout::endpoint::PodPool;
use crate::gtid::history::History;
use crate::pool::evidence::{Evidence, PrimaryAnswer};
use crate::pool::recognise::PrimaryVerdict;
use crate::pool::state::Pool;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// First pause before an unproven pod is asked again; the pause doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause while a pod may be proven soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long unproven pods are asked every [`LONGEST_PAUSE`]; after this, every [`LATE_PAUSE`].
const PROOF_TIME: Duration = Duration::from_secs(70);
/// How soon a pod is noticed that becomes a replica late.
const LATE_PAUSE: Duration = Duration::from_secs(15);
/// How long connections are kept when no open question is left.
const KEPT: Duration = Duration::from_secs(1);
/// Interval at which proven pods in use are asked.
const CALM_PAUSE: Duration = Duration::from_secs(60);

/// Runs until the cluster is gone.
pub(super) async fn find_replicas(
    pools: Arc<Pools>,
    monitors: Arc<Monitors>,
    evidence: Arc<Evidence>,
    history: Arc<History>,
    roles: Arc<Roles>,
    balance: Balance<PodPool>,
) {
    if !evidence.judges() {
        return;
    }
    let mut kept = Kept::new();
    let mut pause = FIRST_PAUSE;
    let mut restless = Instant::now();
    let mut is_calm_round = false;
    let mut excluded = Excluded::default();
    loop {
        let pods = listed(&pools);
        let addresses: Vec<_> = pods.iter().map(|(_, pool)| pool.pod().address()).collect();
        evidence.keep(&addresses);
        // A single primary is compared with no pod, but it may have come back as another server.
        if pods
            .iter()
            .any(|(_, pool)| !pool.is_primary() || pool.is_unsettled())
        {
            let asked = |pool: &Pool| {
                pool.is_unsettled()
                    || is_calm_round && pool.has_connections()
                    || excluded.any() && pool.is_unheard()
            };
            let said = ask_all(&monitors, &mut kept, &pods, asked, &evidence, &history).await;
            if said == Said::TooEarly {
                match roles.is_warm() {
                    true => tokio::time::sleep(FIRST_PAUSE).await,
                    false => roles.warmed().await,
                }
                continue;
            }
        }
        let judge = || {
            let others = pods.iter().filter(|(_, pool)| !pool.is_primary());
            let judged = others.map(|(_, pool)| pool.recognise());
            judged.fold((false, false), |(new, open), one| {
                (new | one.is_new, open | one.is_open)
            })
        };
        let (mut changed, is_open) = judge();
        if is_open {
            // Pods that answered after the primary may hold more than the primary reported.
            let mut of_primary = kept.clone();
            ask_all(
                &monitors,
                &mut of_primary,
                &pods,
                |_| false,
                &evidence,
                &history,
            )
            .await;
            changed |= judge().0;
        }
        excluded.take_in(&pods);
        if changed {
            balance.wake();
            (pause, restless) = (FIRST_PAUSE, Instant::now());
        }
        is_calm_round = false;
        if pods.iter().any(|(_, pool)| pool.is_unsettled()) {
            pause = (2 * pause).min(LONGEST_PAUSE);
            let mut next = pause;
            if restless.elapsed() > PROOF_TIME {
                // Many processes may wait for the same pod, for days, so keep no connections.
                kept.clear();
                next = LATE_PAUSE.mul_f64(rand::random_range(0.8..1.2));
            }
            let _ = timeout(next, woken(&pools, &evidence, &pods)).await;
            continue;
        }
        (pause, restless) = (FIRST_PAUSE, Instant::now());
        if timeout(KEPT, woken(&pools, &evidence, &pods))
            .await
            .is_err()
        {
            kept.clear();
            let woken = timeout(CALM_PAUSE, woken(&pools, &evidence, &pods)).await;
            is_calm_round = woken.is_err();
        }
    }
}

/// The pods that are excluded from reads, for one warning that names all of them. Once one is
/// found, the others are asked before the warning is logged.
#[derive(Default)]
struct Excluded {
    found: BTreeMap<PodKey, String>,
    warned: BTreeMap<PodKey, String>,
}

impl Excluded {
    fn any(&self) -> bool {
        !self.found.is_empty()
    }

    fn take_in(&mut self, pods: &[(PodKey, Arc<Pool>)]) {
        let reasons = pods.iter().map(|(key, pool)| (key, pool.exclusion()));
        let found: BTreeMap<_, _> = reasons
            .filter_map(|(key, reason)| Some((key.clone(), reason?)))
            .collect();
        let are_all_asked = self.any();
        self.warned.retain(|key, _| found.contains_key(key));
        if are_all_asked
            && found
                .iter()
                .any(|(key, reason)| self.warned.get(key) != Some(reason))
        {
            let pods: Vec<_> = found
                .iter()
                .map(|(key, why)| format!("{key}: {why}"))
                .collect();
            tracing::warn!(
                "pods that are not shown to replicate from the primary are not read from: {}",
                pods.join("; ")
            );
            self.warned.clone_from(&found);
        }
        self.found = found;
    }
}

/// Returns when a handshake needs the primary's answer, or the set of pods changed.
async fn woken(pools: &Pools, evidence: &Evidence, pods: &[(PodKey, Arc<Pool>)]) {
    let keys = |pods: &[(PodKey, Arc<Pool>)]| -> Vec<PodKey> {
        pods.iter().map(|(key, _)| key.clone()).collect()
    };
    loop {
        tokio::select! {
            () = evidence.wanted() => return,
            () = evidence.changed() => {
                if keys(&listed(pools)) != keys(pods) {
                    return;
                }
            }
        }
    }
}

fn listed(pools: &Pools) -> Vec<(PodKey, Arc<Pool>)> {
    let mut pods = pools.all();
    pods.retain(|(_, pool)| pool.takes_calls());
    pods
}

/// The result of asking the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A primary is accepted, or there is none.
    Something,
    /// The replicas are still being asked which transactions they hold.
    TooEarly,
}

/// Asks the primary, and the other pods for which `asked` is true. The primary's answer is
/// published at once.
async fn ask_all(
    monitors: &Monitors,
    kept: &mut Kept,
    pods: &[(PodKey, Arc<Pool>)],
    asked: impl Fn(&Pool) -> bool,
    evidence: &Evidence,
    history: &History,
) -> Said {
    let until = Instant::now() + ANSWER_LIMIT;
    let asked: Vec<_> = pods
        .iter()
        .filter(|(_, pool)| pool.is_primary() || asked(pool))
        .map(|(key, pool)| (key, pool, monitors.of(key)))
        .collect();
    *kept = asked
        .iter()
        .map(|(key, _, monitor)| ((*key).clone(), Arc::clone(monitor)))
        .collect();
    let turns = asked.iter().map(|(_, pool, monitor)| async move {
        if !pool.is_primary() {
            let _ = monitor.ask(pool, until).await;
            return None;
        }
        let verdict = monitor.ask_primary(pool, history, until).await.ok();
        if let Some(PrimaryVerdict::Accepted(sample)) = &verdict {
            evidence.publish(PrimaryAnswer::Given(Arc::clone(sample)));
        }
        verdict
    });
    let answers = join_all(turns).await;
    let verdicts: Vec<PrimaryVerdict> = answers.into_iter().flatten().collect();
    let any = |wanted: fn(&PrimaryVerdict) -> bool| verdicts.iter().any(wanted);
    if any(|verdict| matches!(verdict, PrimaryVerdict::Accepted(_))) {
        return Said::Something;
    }
    if any(|verdict| matches!(verdict, PrimaryVerdict::Provisional)) {
        return Said::TooEarly;
    }
    evidence.publish(PrimaryAnswer::None);
    Said::Something
}
