//! What name servers may send: DNS messages to records to pods, and into a topology.
#![no_main]

use std::time::Duration;

use headless_mysql::discovery::fuzzing::{SERVICE, look_up};
use headless_mysql::topology::{Topology, merge};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;

fuzz_target!(|data: &[u8]| {
    let Some((first, messages)) = data.split_first() else {
        return;
    };
    let statefulset = [None, Some("mysql"), Some("db-1")][usize::from(first % 3)];
    let Some(result) = look_up(messages, statefulset) else {
        panic!("the look-up waits for something");
    };
    let Ok(answer) = result else { return };
    assert_eq!(answer.service, SERVICE);
    for pod in &answer.pods {
        let Some(ordinal) = pod.ordinal else { continue };
        let (label, parent) = pod.host.split_once('.').unwrap();
        assert_eq!(parent, SERVICE);
        let (set, number) = label.rsplit_once('-').unwrap();
        assert_eq!(number, ordinal.to_string());
        assert!(statefulset.is_none_or(|wanted| wanted == set));
    }
    let (now, grace) = (Instant::now(), Duration::from_secs(30));
    let (topology, _) = merge(&Topology::default(), &answer, now, grace);
    assert_eq!(topology.is_empty(), answer.is_empty());
    let (again, changes) = merge(&topology, &answer, now, grace);
    assert!(again == topology && changes.is_empty());
});
