//! Sequences of answers through the merge.
#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use headless_mysql::discovery::{Answer, FoundPod};
use headless_mysql::name::Ordinal;
use headless_mysql::topology::{Topology, expire, merge};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;

const GRACE: Duration = Duration::from_secs(30);

/// Two bytes are a pod at an address, until one that ends the answer.
fn next_answer(data: &mut &[u8]) -> Option<(Answer, u64)> {
    let (first, rest) = data.split_first()?;
    *data = rest;
    let mut pods = Vec::new();
    while let Some(([who, at], rest)) = data.split_first_chunk::<2>() {
        *data = rest;
        if who & 0x80 != 0 {
            break;
        }
        let ordinal = (who % 6).checked_sub(1).map(|n| Ordinal::new(n.into()));
        let last = at % 8;
        let address = match at & 0x80 {
            0 => IpAddr::from([10, 0, 0, last]),
            _ => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()]),
        };
        let port = 3306 + u16::from(at & 0x40 != 0);
        let host = format!("pod-{}", who % 12);
        pods.push(FoundPod::new(ordinal, host, [address], port));
    }
    let service = if first & 0x40 == 0 { "mysql" } else { "other" };
    let answer = Answer::new(service, pods, None);
    let answer = if first & 0x80 == 0 {
        answer
    } else {
        answer.partial()
    };
    Some((answer, u64::from(first % 40)))
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut now = Instant::now();
    let mut topology = Topology::default();
    while let Some((answer, seconds)) = next_answer(&mut data) {
        now += Duration::from_secs(seconds);
        let (old, _) = expire(&topology, now, GRACE);
        assert_eq!(old.is_empty(), topology.is_empty());
        assert!(old.next_expiry(GRACE).is_none_or(|at| at > now));
        let (new, changes) = merge(&old, &answer, now, GRACE);
        assert!(old.is_empty() || !new.is_empty(), "empty after non-empty");
        assert_eq!(
            new.version() - old.version(),
            u64::from(!changes.is_empty())
        );
        assert_eq!(changes.is_empty(), new == old);
        let (again, changes) = merge(&new, &answer, now, GRACE);
        assert!(again == new && changes.is_empty());

        let ordinals: Vec<_> = new.pods().iter().map(|pod| pod.ordinal()).collect();
        let known = ordinals.iter().take_while(|ordinal| ordinal.is_some());
        let known: Vec<_> = known.collect();
        assert!(known.windows(2).all(|two| two[0] < two[1]));
        assert!(ordinals[known.len()..].iter().all(Option::is_none));
        for pod in new.pods() {
            let addresses: Vec<_> = pod.addresses().iter().map(|at| at.socket()).collect();
            assert!(!addresses.is_empty() && addresses.windows(2).all(|two| two[0] < two[1]));
        }
        // Whom the answer names is there.
        for found in answer.pods.iter().filter(|pod| pod.ordinal.is_some()) {
            let pod = found.ordinal.and_then(|ordinal| new.pod(ordinal));
            assert!(pod.is_some_and(|pod| pod.listed().next().is_some()));
        }
        topology = new;
    }
});
