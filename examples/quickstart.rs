//! The tour: real servers, a cluster DNS, and an application that keeps working through restarts.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! Requires the programs of a MariaDB server on this machine (`apt-get install mariadb-server`),
//! but no root, no Docker and no Kubernetes. Everything it starts ends with it.
//!
//! The first part is an application as you would write it. The second part provides its
//! environment: one primary and two replicas, as in a StatefulSet, and a DNS server that answers as
//! CoreDNS does for a headless Service.

// === The application ===

use headless_mysql::{Cluster, Error};

/// Statements that belong together: a transaction, on the primary.
async fn place_order(cluster: &Cluster, sku: &str, pieces: u32) -> Result<u64, Error> {
    let mut tx = cluster.begin().await?;
    let order = "INSERT INTO orders (sku, pieces) VALUES (?, ?)";
    tx.exec_drop(order, (sku, pieces)).await?;
    let id = tx.last_insert_id().unwrap_or_default();
    let event = "INSERT INTO events (order_id, what) VALUES (?, 'placed')";
    tx.exec_drop(event, (id,)).await?;
    tx.commit().await?;
    Ok(id)
}

/// One statement: a connection for just that, to the primary.
async fn note(cluster: &Cluster, order: u64, what: &str) -> Result<(), Error> {
    let event = "INSERT INTO events (order_id, what) VALUES (?, ?)";
    cluster.primary().exec_drop(event, (order, what)).await
}

/// A read: on the least busy replica.
async fn events_of(cluster: &Cluster, order: u64) -> Result<Vec<String>, Error> {
    let events = "SELECT what FROM events WHERE order_id = ? ORDER BY id";
    cluster.replicas().exec(events, (order,)).await
}

// === The stage ===

use headless_mysql_testkit::stage::Stage;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Every row contains the id of the server that took it.
const TABLES: [&str; 2] = [
    "CREATE TABLE orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, sku VARCHAR(32), \
     pieces INT UNSIGNED, taken_by INT DEFAULT (@@server_id))",
    "CREATE TABLE events (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, order_id BIGINT UNSIGNED, \
     what VARCHAR(32), taken_by INT DEFAULT (@@server_id), KEY (order_id))",
];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let stage = Stage::start(2).await?;
    println!("{}", stage.lab.server_version());

    // In a pod this would be
    // `Cluster::connect("mysql://app:secret@mysql.default.svc.cluster.local/shop")`.
    let cluster = Cluster::connect(&stage.url()).await?;
    for table in TABLES {
        cluster.primary().query_drop(table).await?;
    }
    stage
        .lab
        .wait_for_replication(Duration::from_secs(10))
        .await?;

    show_pods(&cluster).await?;
    write(&cluster).await?;
    stage
        .lab
        .wait_for_replication(Duration::from_secs(10))
        .await?;
    read(&cluster).await?;
    restart_the_primary(&stage, &cluster).await?;
    cluster.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}

/// Shows what discovery found, and the roles that the servers reported.
async fn show_pods(cluster: &Cluster) -> Result<(), Failure> {
    // The client learns a server's role when it connects. Two parallel reads go to two pods.
    tokio::try_join!(
        cluster.replicas().query_drop("DO 0"),
        cluster.replicas().query_drop("DO 0"),
    )?;
    let status = cluster.status();
    println!("\n1. Pods of {}", status.service.unwrap_or_default());
    for pod in status.pods {
        let ordinal = pod.ordinal.map_or("?".to_owned(), |n| n.get().to_string());
        let role = match pod.read_only {
            Some(false) => "writable",
            Some(true) => "read-only",
            None => "not connected to yet",
        };
        let (name, address) = (pod.pod.name(), pod.pod.address());
        println!("   ordinal {ordinal}  {name}  {address}  {role}");
    }
    Ok(())
}

/// Writes a hundred rows. Each one contains the id of the server that took it.
async fn write(cluster: &Cluster) -> Result<(), Failure> {
    for n in 0..25 {
        let order = place_order(cluster, "A-1", n).await?;
        note(cluster, order, "paid").await?;
        note(cluster, order, "sent").await?;
    }
    let rows: Vec<(u32, u64)> = cluster
        .primary()
        .query(
            "SELECT taken_by, COUNT(*) FROM \
             (SELECT taken_by FROM orders UNION ALL SELECT taken_by FROM events) AS all_rows \
             GROUP BY taken_by",
        )
        .await?;
    println!("\n2. 100 rows written, 50 of them in 25 transactions");
    for (server, count) in &rows {
        println!("   on {}: {count} rows", pod_of(*server));
    }
    match rows[..] {
        [(server, 100)] if pod_of(server) == "mysql-0" => Ok(()),
        _ => Err("a write did not land on ordinal 0".into()),
    }
}

/// Runs a thousand reads in eight tasks. Each answer names its server.
async fn read(cluster: &Cluster) -> Result<(), Failure> {
    let tasks = (0..8).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut servers = Vec::new();
            for _ in 0..125 {
                let server = cluster.replicas().query_first::<u32>("SELECT @@server_id");
                servers.extend(server.await?);
            }
            Ok::<Vec<u32>, Error>(servers)
        })
    });
    let mut spread = BTreeMap::<u32, u32>::new();
    for task in tasks.collect::<Vec<_>>() {
        for server in task.await?? {
            *spread.entry(server).or_default() += 1;
        }
    }
    println!("\n3. 1,000 reads by 8 tasks");
    for (server, count) in spread {
        println!("   from {}: {count} reads", pod_of(server));
    }
    let events = events_of(cluster, 1).await?;
    println!("   events of order 1: {}", events.join(", "));
    Ok(())
}

/// Kills the primary and starts it with its data at another address, as a pod does. Writers and
/// readers continue meanwhile.
async fn restart_the_primary(stage: &Stage, cluster: &Cluster) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(keep_writing(cluster.clone(), Arc::clone(&stop), n)))
        .collect();
    let reader = tokio::spawn(keep_reading(cluster.clone(), Arc::clone(&stop)));
    sleep(Duration::from_millis(500)).await;

    let old = stage.lab.address(0);
    let killed = Instant::now();
    stage.lab.kill(0).await?;
    let new = stage.lab.fresh_address()?;
    stage.lab.start_at(0, new).await?;
    let accepts = killed.elapsed();
    // DNS is updated later, because kubelet, endpoints and caches take time.
    sleep(Duration::from_millis(500)).await;
    stage.publish_at(0, new)?;
    let published = Instant::now();

    sleep(Duration::from_millis(1500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut writes = Writes::default();
    for writer in writers {
        writes.add(writer.await??);
    }
    let reads = reader.await??;

    let kept: Vec<u64> = cluster
        .primary()
        .query("SELECT order_id FROM events WHERE what = 'tick'")
        .await?;
    let kept: HashSet<u64> = kept.into_iter().collect();
    let lost = writes.acknowledged.iter().filter(|w| !kept.contains(&w.id));
    let lost = lost.count();
    let first = writes.acknowledged.iter().map(|w| w.ended);
    let first = first.filter(|ended| *ended > published).min();
    let first = first.ok_or("no write after the restart")? - published;
    let longest = writes.acknowledged.iter().map(|w| w.ended - w.begun).max();

    println!("\n4. mysql-0 killed under load, restarted on another address");
    println!("   {old} -> {new}, accepting connections after {accepts:.0?}, in DNS 500ms later");
    println!("   first write acknowledged {first:.0?} after DNS showed the address");
    println!(
        "   longest wait of a writer: {:.0?}",
        longest.unwrap_or_default()
    );
    println!(
        "   writes: {} acknowledged, {lost} of them lost, {} cut off with an unknown outcome, \
         {} refused",
        writes.acknowledged.len(),
        writes.unknown,
        writes.refused,
    );
    println!("   reads meanwhile: {reads}, none failed");
    match lost {
        0 => Ok(()),
        lost => Err(format!("{lost} acknowledged writes are lost").into()),
    }
}

/// An acknowledged write.
struct Write {
    id: u64,
    begun: Instant,
    ended: Instant,
}

#[derive(Default)]
struct Writes {
    acknowledged: Vec<Write>,
    /// Executed or not: the connection broke before the answer.
    unknown: u32,
    /// Certainly not executed.
    refused: u32,
}

impl Writes {
    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown += other.unknown;
        self.refused += other.refused;
    }
}

async fn keep_writing(
    cluster: Cluster,
    stop: Arc<AtomicBool>,
    writer: u64,
) -> Result<Writes, Failure> {
    let mut writes = Writes::default();
    // This writer's own range of ids, above the ids of the orders.
    for id in (writer + 1) * 1_000_000.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        match note(&cluster, id, "tick").await {
            Ok(()) => writes.acknowledged.push(Write {
                id,
                begun,
                ended: Instant::now(),
            }),
            // Nothing was executed, so the same call may be made again.
            Err(error) if error.is_retryable() => writes.refused += 1,
            // The server may have executed the statement. Only the data can tell.
            Err(Error::ConnectionLost { .. } | Error::Timeout { .. }) => writes.unknown += 1,
            Err(error) => return Err(error.into()),
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(writes)
}

async fn keep_reading(cluster: Cluster, stop: Arc<AtomicBool>) -> Result<u32, Failure> {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        events_of(&cluster, 1).await?;
        reads += 1;
        sleep(Duration::from_millis(1)).await;
    }
    Ok(reads)
}

/// Server ids on the stage start at 1.
fn pod_of(server_id: u32) -> String {
    format!("mysql-{}", server_id.saturating_sub(1))
}
