//! What an application sees when one of two replicas dies, or freezes, for four seconds.

use crate::contenders::{Contender, REPLICAS};
use crate::haproxy::HaProxy;
use headless_mysql_testkit::stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const TASKS: usize = 8;
/// The deadline of every read, set by each contender's caller.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// The durations of the load before, during and after the outage.
const PHASES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(4),
];

#[derive(Clone, Copy)]
enum Outage {
    Killed,
    Frozen,
}

/// Runs the whole comparison, `speed` times faster.
pub(crate) async fn compare(stage: &Stage, speed: u32) {
    for outage in [Outage::Killed, Outage::Frozen] {
        let name = match outage {
            Outage::Killed => "killed (SIGKILL)",
            Outage::Frozen => "frozen (SIGSTOP)",
        };
        println!(
            "One of two replicas {name} for {:?}, {TASKS} tasks:\n",
            PHASES[1] / speed
        );
        println!("| | failed reads | reads/s before | during | after | longest read |");
        println!("|---|---:|---:|---:|---:|---:|");
        let proxy = HaProxy::start(stage).await;
        let contenders = [
            ("this crate", Contender::ours(stage, TASKS, true).await),
            (
                "this crate, reads not repeated",
                Contender::ours(stage, TASKS, false).await,
            ),
            (
                "random pools, reset",
                Contender::random_pools(stage, REPLICAS, TASKS, true),
            ),
            ("HAProxy", Contender::behind(&proxy, stage, TASKS)),
        ];
        for (name, contender) in contenders {
            let seen = suffer(stage, &contender, outage, speed).await;
            let rates = seen.rates(speed);
            println!(
                "| {name} | {} | {:.0} | {:.0} | {:.0} | {} ms |",
                seen.failed,
                rates[0],
                rates[1],
                rates[2],
                seen.longest.as_millis()
            );
            contender.end().await;
            // Restore the state for the next contender.
            stage
                .lab
                .wait_for_replication(Duration::from_secs(30))
                .await
                .unwrap();
            sleep(Duration::from_secs(3) / speed).await;
        }
        println!();
    }
}

#[derive(Default)]
struct Seen {
    failed: u64,
    /// The number of reads served, by phase.
    served: [u64; 3],
    longest: Duration,
}

impl Seen {
    fn rates(&self, speed: u32) -> [f64; 3] {
        [0, 1, 2].map(|n| self.served[n] as f64 / (PHASES[n] / speed).as_secs_f64())
    }
}

async fn suffer(stage: &Stage, contender: &Contender, outage: Outage, speed: u32) -> Seen {
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    let phases = PHASES.map(|phase| phase / speed);
    let began = Instant::now();
    for task in 0..TASKS {
        let (mut reader, stop) = (contender.reader(task).await, Arc::clone(&stop));
        running.spawn(async move {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                let at = Instant::now();
                let read = timeout(DEADLINE, reader.read_in_time()).await;
                let phase = match began.elapsed() {
                    early if early < phases[0] => 0,
                    middle if middle < phases[0] + phases[1] => 1,
                    _ => 2,
                };
                match read {
                    Ok(Ok(())) => seen.served[phase] += 1,
                    // Pause after an error, as an application would.
                    Ok(Err(_)) | Err(_) => {
                        seen.failed += 1;
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                seen.longest = seen.longest.max(at.elapsed());
            }
            seen
        });
    }
    sleep(phases[0]).await;
    match outage {
        Outage::Killed => stage.lab.kill(1).await.unwrap(),
        Outage::Frozen => stage.lab.freeze(1).await.unwrap(),
    }
    sleep(phases[1]).await;
    match outage {
        Outage::Killed => stage.lab.restart(1).await.unwrap(),
        Outage::Frozen => stage.lab.thaw(1).await.unwrap(),
    }
    sleep(phases[2]).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for seen in running.join_all().await {
        all.failed += seen.failed;
        for (sum, served) in all.served.iter_mut().zip(seen.served) {
            *sum += served;
        }
        all.longest = all.longest.max(seen.longest);
    }
    all
}
