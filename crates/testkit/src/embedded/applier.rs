//! Replication to one replica: fetches what the primary committed and applies it after the lag.
//!
//! Owns the order and the delay. It must never apply a transaction that does not continue the
//! replica's log. If the replica is ahead of the primary, or has diverged from it, replication
//! stops, as with real servers.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::store::{Transaction, Volume};

/// Where the primary is and whether it answers.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) address: Ipv4Addr,
    pub(super) answers: bool,
    pub(super) volume: Arc<Volume>,
}

/// The replication settings of one replica, controlled by the test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knobs {
    pub(super) lag: Duration,
    pub(super) runs: bool,
    /// The primary's address as configured on this replica.
    pub(super) source: Ipv4Addr,
}

/// Replicates until the future is dropped.
pub(super) async fn replicate(
    volume: Arc<Volume>,
    mut source: watch::Receiver<Source>,
    mut knobs: watch::Receiver<Knobs>,
    mut frozen: watch::Receiver<bool>,
) {
    // Fetched but not yet applied. A restart drops it and fetches again.
    let mut relay: VecDeque<Arc<Transaction>> = VecDeque::new();
    loop {
        let now = source.borrow_and_update().clone();
        let set = *knobs.borrow_and_update();
        let runs = set.runs && !*frozen.borrow_and_update();
        // Subscribe before reading the log, so that no commit is missed between the two.
        let mut grown = now.volume.watch();
        if runs && now.answers && now.address == set.source {
            fetch(&volume, &now, &mut relay);
        }
        let due = relay.front().map(|next| next.at + set.lag);
        if runs && due.is_some_and(|due| due <= Instant::now()) {
            // On a writable replica, an open transaction blocks replication.
            let _writer = volume.writer.lock().await;
            if let Some(next) = relay.pop_front() {
                volume.replicate(next);
            }
            continue;
        }
        let wait = async {
            match due.filter(|_| runs) {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = source.changed() => {}
            Ok(()) = knobs.changed() => {}
            Ok(()) = frozen.changed() => {}
            Ok(_) = grown.changed() => {}
            () = wait => {}
            else => return,
        }
    }
}

/// Fetches the primary's transactions after those in the relay; none if the histories diverge.
fn fetch(volume: &Volume, source: &Source, relay: &mut VecDeque<Arc<Transaction>>) {
    let theirs = source.volume.lock();
    let ours = volume.lock();
    if !ours.shares_history(&theirs) || ours.log.len() > theirs.log.len() {
        return relay.clear();
    }
    let from = ours.log.len() + relay.len();
    // If the primary was wiped, transactions fetched before the wipe are not in its history.
    let fits = match relay.back() {
        Some(last) => theirs
            .log
            .get(from - 1)
            .is_some_and(|entry| Arc::ptr_eq(entry, last)),
        None => true,
    };
    if !fits {
        relay.clear();
    }
    let from = ours.log.len() + relay.len();
    relay.extend(theirs.log[from..].iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::super::store::Change;
    use super::*;

    fn commit(volume: &Volume) {
        let change = Change::Drop {
            table: "t".to_owned(),
        };
        volume.commit(1, vec![change], || Ok(())).unwrap();
    }

    async fn length(volume: &Volume, length: usize) {
        volume
            .watch()
            .wait_for(|grown| *grown == length)
            .await
            .unwrap();
    }

    struct Replica {
        primary: Arc<Volume>,
        replica: Arc<Volume>,
        source: watch::Sender<Source>,
        knobs: watch::Sender<Knobs>,
        task: tokio::task::JoinHandle<()>,
        _frozen: watch::Sender<bool>,
    }

    fn replica() -> Replica {
        let (primary, replica) = (Arc::new(Volume::empty()), Arc::new(Volume::empty()));
        let address = Ipv4Addr::LOCALHOST;
        let source = watch::Sender::new(Source {
            address,
            answers: true,
            volume: Arc::clone(&primary),
        });
        let knobs = watch::Sender::new(Knobs {
            lag: Duration::ZERO,
            runs: true,
            source: address,
        });
        let frozen = watch::Sender::new(false);
        let task = tokio::spawn(replicate(
            Arc::clone(&replica),
            source.subscribe(),
            knobs.subscribe(),
            frozen.subscribe(),
        ));
        Replica {
            primary,
            replica,
            source,
            knobs,
            task,
            _frozen: frozen,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_transaction_arrives_after_the_lag_and_in_order() {
        let r = replica();
        let lag = Duration::from_secs(3);
        r.knobs.send_modify(|knobs| knobs.lag = lag);
        let start = Instant::now();
        commit(&r.primary);
        tokio::time::sleep(Duration::from_secs(1)).await;
        commit(&r.primary);
        length(&r.replica, 1).await;
        assert!(start.elapsed() >= lag && start.elapsed() < lag + Duration::from_millis(100));
        length(&r.replica, 2).await;
        assert!(start.elapsed() >= lag + Duration::from_secs(1));
        assert!(r.replica.lock().shares_history(&r.primary.lock()));
        r.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_fetched_arrives_also_after_the_primary_is_gone() {
        let r = replica();
        r.knobs
            .send_modify(|knobs| knobs.lag = Duration::from_secs(3));
        commit(&r.primary);
        tokio::time::sleep(Duration::from_secs(1)).await;
        r.source.send_modify(|source| source.answers = false);
        commit(&r.primary);
        length(&r.replica, 1).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(r.replica.lock().log.len(), 1);
        r.source.send_modify(|source| source.answers = true);
        length(&r.replica, 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_beside_its_primary_stops() {
        let r = replica();
        commit(&r.primary);
        length(&r.replica, 1).await;
        commit(&r.replica);
        commit(&r.primary);
        commit(&r.primary);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(r.replica.lock().log.len(), 2);
    }
}
