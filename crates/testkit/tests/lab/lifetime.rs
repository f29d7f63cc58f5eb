//! Nothing of a lab outlives its owner, and labs share nothing.

use super::*;

/// Set for the process that `a_killed_process_leaves_no_server` kills.
const HOLDER: &str = "HEADLESS_MYSQL_TEST_HOLDS_A_LAB";

#[tokio::test]
async fn a_dropped_lab_leaves_no_process_and_no_directory() {
    let lab = start(2).await.unwrap();
    lab.freeze(1).await.unwrap();
    let (pids, directory) = (processes(&lab), lab.directory().to_owned());
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|&pid| exists(pid)) && directory.exists());
    let begin = Instant::now();
    drop(lab);
    println!("dropped in {:?}", begin.elapsed());
    assert!(!pids.into_iter().any(exists));
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_test_that_panics_leaves_no_process_and_no_directory() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let panicking = tokio::spawn(async move {
        let lab = start(0).await.unwrap();
        tell.send((processes(&lab), lab.directory().to_owned()))
            .unwrap();
        panic!("on purpose");
    });
    let (pids, directory) = told.await.unwrap();
    assert!(in_time(panicking).await.unwrap_err().is_panic());
    assert!(pids.len() == 1 && !pids.into_iter().any(exists));
    assert!(!directory.exists());
}

#[test]
fn a_killed_process_leaves_no_server() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "lifetime::holds_a_lab_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(HOLDER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        // The harness writes the test's name before it, without an end of line.
        .find_map(|line| line.split_once("LAB ").map(|(_, told)| told.to_owned()))
        .expect("the holder starts a lab");
    let mut words = told.split(' ');
    let directory = PathBuf::from(words.next().unwrap());
    let pids: Vec<u32> = words.map(|pid| pid.parse().unwrap()).collect();
    assert!(
        pids.len() == 3 && pids.iter().all(|&pid| exists(pid)),
        "{told}"
    );

    holder.kill().unwrap();
    holder.wait().unwrap();
    let gone = || !directory.exists() && !pids.iter().any(|&pid| exists(pid));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(in_time(async {
        while !gone() {
            sleep(Duration::from_millis(5)).await;
        }
    }));
}

#[tokio::test]
#[ignore = "run by a_killed_process_leaves_no_server"]
async fn holds_a_lab_until_it_is_killed() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let lab = start(2).await.unwrap();
    // The hard case: a frozen member of a process group that becomes an orphan.
    lab.freeze(2).await.unwrap();
    let pids: Vec<String> = processes(&lab).iter().map(u32::to_string).collect();
    println!("LAB {} {}", lab.directory().display(), pids.join(" "));
    std::future::pending().await
}

#[tokio::test]
async fn two_labs_at_once_share_no_address() {
    let (one, other) = tokio::join!(start(1), start(1));
    let (one, other) = (one.unwrap(), other.unwrap());
    let all = |lab: &Lab| {
        (0..2)
            .map(|ordinal| lab.address(ordinal))
            .collect::<HashSet<_>>()
    };
    assert!(all(&one).is_disjoint(&all(&other)));
    with_table(&one).await;
    with_table(&other).await;
    drop(one);
    insert(&mut other.connect(0).await.unwrap()).await;
    other.wait_for_replication(SOON).await.unwrap();
}
