//! Which server each statement goes to.

use crate::support::World;
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writes_all_land_on_ordinal_0() {
    let world = World::start(2).await;
    for id in 0..1000 {
        world.insert(id).await.unwrap();
    }
    let by = world.written_by().await;
    assert_eq!(by, BTreeMap::from([("1".to_owned(), 1000)]));
}

/// Runs `reads` reads in sequence in each of `tasks` tasks. Returns the number of answers per
/// server.
async fn spread(world: &World, tasks: u32, reads: u32) -> BTreeMap<u32, u32> {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let cluster = world.cluster.clone();
            tokio::spawn(async move {
                let mut by = BTreeMap::<u32, u32>::new();
                for _ in 0..reads {
                    let read = cluster.replicas().query_first("SELECT @@server_id");
                    let id: Option<u32> = read.await.unwrap();
                    *by.entry(id.unwrap()).or_default() += 1;
                }
                by
            })
        })
        .collect();
    let mut by = BTreeMap::<u32, u32>::new();
    for task in tasks {
        for (id, reads) in task.await.unwrap() {
            *by.entry(id).or_default() += reads;
        }
    }
    println!("{by:?}");
    by
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_reads_spread_evenly_over_two_replicas() {
    let world = World::unpaced(2).await;
    let by = spread(&world, 1, 10_000).await;
    assert_eq!(by.keys().copied().collect::<Vec<_>>(), [2, 3], "{by:?}");
    assert!(
        by.values().all(|reads| (4500..=5500).contains(reads)),
        "{by:?}"
    );
}

/// The faster replica gets more reads. Which one is faster depends on the machine, so the bounds
/// are wide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_eight_tasks_go_to_both_replicas() {
    let world = World::unpaced(2).await;
    let by = spread(&world, 8, 1250).await;
    assert_eq!(by.keys().copied().collect::<Vec<_>>(), [2, 3], "{by:?}");
    assert!(by.values().all(|reads| *reads > 3000), "{by:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_the_role_that_each_server_said_it_has() {
    let world = World::start(2).await;
    spread(&world, 1, 50).await;
    let pods = world.cluster.status().pods;
    let roles: Vec<_> = pods
        .iter()
        .map(|pod| (pod.pod.name().to_owned(), pod.read_only))
        .collect();
    let role = |name: &str, read_only| (name.to_owned(), Some(read_only));
    assert_eq!(
        roles,
        [
            role("mysql-0", false),
            role("mysql-1", true),
            role("mysql-2", true)
        ]
    );
}
