//! Tests of the parent module.

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(30);

fn start() -> Instant {
    Instant::now()
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn found(ordinal: Option<u32>, addresses: &[&str]) -> FoundPod {
    let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let host = ordinal.map_or("mysql".to_owned(), |n| format!("mysql-{n}.mysql"));
    FoundPod::new(ordinal.map(Ordinal::new), host, addresses, 3306)
}

fn answer(pods: &[(u32, &[&str])]) -> Answer {
    Answer::new(
        "mysql",
        pods.iter().map(|(n, at)| found(Some(*n), at)),
        None,
    )
}

/// The pods as `0: 10.0.0.1 (10.0.0.9)`, with absent addresses in parentheses.
fn shown(topology: &Topology) -> Vec<String> {
    let address = |address: &PodAddress| {
        let ip = address.socket.ip();
        if address.is_listed() {
            format!(" {ip}")
        } else {
            format!(" ({ip})")
        }
    };
    let pod = |pod: &Pod| {
        let ordinal = pod
            .ordinal
            .map_or("-".to_owned(), |ordinal| ordinal.to_string());
        ordinal + ":" + &pod.addresses.iter().map(address).collect::<String>()
    };
    topology.pods.iter().map(pod).collect()
}

fn words(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_answer_adds_its_pods_in_order() {
    let answer = answer(&[(2, &["10.0.0.3"]), (0, &["10.0.0.1"]), (10, &["10.0.0.9"])]);
    let (topology, changes) = merge(&Topology::default(), &answer, start(), GRACE);
    assert_eq!(
        shown(&topology),
        ["0: 10.0.0.1", "2: 10.0.0.3", "10: 10.0.0.9"]
    );
    assert_eq!(topology.version(), 1);
    assert_eq!(topology.service(), Some("mysql"));
    assert_eq!(words(&changes)[0], "mysql-0.mysql at 10.0.0.1:3306 added");
    assert_eq!(changes.len(), 3);
    assert_eq!(
        topology.pod(Ordinal::new(2)).unwrap().host(),
        "mysql-2.mysql"
    );
    assert!(topology.pod(Ordinal::new(1)).is_none());
}

#[test]
fn an_empty_answer_changes_nothing() {
    let (old, _) = merge(
        &Topology::default(),
        &answer(&[(0, &["10.0.0.1"])]),
        start(),
        GRACE,
    );
    for empty in [
        answer(&[]),
        answer(&[(0, &[])]),
        Answer::new("other", [], None),
    ] {
        let (new, changes) = merge(&old, &empty, after(start(), 99), GRACE);
        assert_eq!((new, changes), (old.clone(), vec![]));
    }
}

#[test]
fn a_missing_pod_is_absent_then_removed_and_may_return() {
    let t = start();
    let both = answer(&[(0, &["10.0.0.1"]), (1, &["10.0.0.2"])]);
    let one = answer(&[(0, &["10.0.0.1"])]);
    let (first, _) = merge(&Topology::default(), &both, t, GRACE);

    let (second, changes) = merge(&first, &one, after(t, 1), GRACE);
    assert_eq!(shown(&second), ["0: 10.0.0.1", "1: (10.0.0.2)"]);
    assert_eq!(words(&changes), ["mysql-1.mysql at 10.0.0.2:3306 absent"]);
    assert_eq!(second.next_expiry(GRACE), Some(after(t, 31)));

    let (third, changes) = merge(&second, &one, after(t, 30), GRACE);
    assert_eq!((&third, changes), (&second, vec![]));

    let (back, changes) = merge(&third, &both, after(t, 30), GRACE);
    assert_eq!(shown(&back), ["0: 10.0.0.1", "1: 10.0.0.2"]);
    assert_eq!(words(&changes), ["mysql-1.mysql at 10.0.0.2:3306 returned"]);

    let (gone, changes) = merge(&third, &one, after(t, 31), GRACE);
    assert_eq!(shown(&gone), ["0: 10.0.0.1"]);
    assert_eq!(words(&changes), ["mysql-1.mysql at 10.0.0.2:3306 removed"]);
    assert_eq!(gone.version(), third.version() + 1);
    assert_eq!(expire(&third, after(t, 31), GRACE), (gone, changes));
}

#[test]
fn the_primary_keeps_its_last_address_for_ever() {
    let t = start();
    let all = answer(&[(0, &["10.0.0.1", "10.0.0.9"]), (1, &["10.0.0.2"])]);
    let (topology, _) = merge(&Topology::default(), &all, t, GRACE);
    let (topology, _) = merge(
        &topology,
        &answer(&[(0, &["10.0.0.9"]), (1, &["10.0.0.2"])]),
        after(t, 1),
        GRACE,
    );
    let (topology, _) = merge(
        &topology,
        &answer(&[(1, &["10.0.0.2"])]),
        after(t, 2),
        GRACE,
    );
    assert_eq!(
        shown(&topology),
        ["0: (10.0.0.1) (10.0.0.9)", "1: 10.0.0.2"]
    );
    assert_eq!(topology.next_expiry(GRACE), Some(after(t, 31)));

    let (topology, _) = expire(&topology, after(t, 9_999), GRACE);
    assert_eq!(shown(&topology), ["0: (10.0.0.9)", "1: 10.0.0.2"]);
    assert_eq!(topology.next_expiry(GRACE), None);

    // The replacement of the primary ends this.
    let back = answer(&[(0, &["10.0.0.5"]), (1, &["10.0.0.2"])]);
    let (topology, changes) = merge(&topology, &back, after(t, 9_999), GRACE);
    assert_eq!(shown(&topology), ["0: 10.0.0.5", "1: 10.0.0.2"]);
    assert_eq!(changes.len(), 2);
}

#[test]
fn an_address_that_moves_leaves_its_old_pod_at_once() {
    let t = start();
    let old = answer(&[(0, &["10.0.0.1"]), (1, &["10.0.0.2"])]);
    let (topology, _) = merge(&Topology::default(), &old, t, GRACE);
    let swapped = answer(&[(1, &["10.0.0.1"]), (2, &["10.0.0.2"])]);
    let (topology, _) = merge(&topology, &swapped, t, GRACE);
    assert_eq!(shown(&topology), ["1: 10.0.0.1", "2: 10.0.0.2"]);
}

#[test]
fn a_pod_without_ordinal_is_its_address() {
    let t = start();
    let unnamed = Answer::new("mysql", [found(None, &["10.0.0.2", "10.0.0.1"])], None);
    let (topology, _) = merge(&Topology::default(), &unnamed, t, GRACE);
    assert_eq!(shown(&topology), ["-: 10.0.0.1", "-: 10.0.0.2"]);

    // One of them now has a name: it must not appear as two pods.
    let pods = [
        found(Some(1), &["10.0.0.1"]),
        found(None, &["10.0.0.1", "10.0.0.2"]),
    ];
    let (topology, _) = merge(&topology, &Answer::new("mysql", pods, None), t, GRACE);
    assert_eq!(shown(&topology), ["1: 10.0.0.1", "-: 10.0.0.2"]);
}

#[test]
fn ipv6_only_where_there_is_no_ipv4() {
    let t = start();
    let dual = answer(&[(0, &["10.0.0.1", "fd00::1"]), (1, &["fd00::2"])]);
    let (topology, _) = merge(&Topology::default(), &dual, t, GRACE);
    assert_eq!(shown(&topology), ["0: 10.0.0.1", "1: fd00::2"]);
    let unnamed = Answer::new("mysql", [found(None, &["fd00::1", "10.0.0.2"])], None);
    let (topology, _) = merge(&Topology::default(), &unnamed, t, GRACE);
    assert_eq!(shown(&topology), ["-: 10.0.0.2"]);
}

#[test]
fn another_name_of_service_or_pod_is_a_change() {
    let t = start();
    let (old, _) = merge(
        &Topology::default(),
        &answer(&[(0, &["10.0.0.1"])]),
        t,
        GRACE,
    );
    let renamed = Answer::new(
        "db",
        [FoundPod::new(
            Some(Ordinal::PRIMARY),
            "db-0.db",
            [[10, 0, 0, 1].into()],
            3306,
        )],
        None,
    );
    let (new, changes) = merge(&old, &renamed, t, GRACE);
    assert_eq!(
        words(&changes),
        [
            "db answers in place of mysql",
            "mysql-0.mysql is called db-0.db now"
        ]
    );
    assert_eq!((new.version(), new.service()), (2, Some("db")));
}

#[test]
fn an_answer_without_names_takes_no_ordinal_away() {
    let t = start();
    let named = answer(&[(0, &["10.0.0.1"]), (1, &["10.0.0.2"])]);
    let (old, _) = merge(&Topology::default(), &named, t, GRACE);
    let nameless = Answer::new(
        "mysql",
        [found(None, &["10.0.0.2", "10.0.0.1", "10.0.0.3"])],
        None,
    );
    let (new, changes) = merge(&old, &nameless, after(t, 5), GRACE);
    assert_eq!(shown(&new), ["0: 10.0.0.1", "1: 10.0.0.2", "-: 10.0.0.3"]);
    assert_eq!(changes.len(), 1, "{changes:?}");

    // A pod that is named at another address has moved there.
    let moved = Answer::new(
        "mysql",
        [found(Some(0), &["10.0.0.9"]), found(None, &["10.0.0.1"])],
        None,
    );
    let (new, _) = merge(&old, &moved, after(t, 5), GRACE);
    assert_eq!(shown(&new), ["0: 10.0.0.9", "1: (10.0.0.2)", "-: 10.0.0.1"]);
}

#[test]
fn an_answer_without_names_does_not_settle_whose_a_shared_address_is() {
    let t = start();
    let both = answer(&[(0, &["10.0.0.1"]), (1, &["10.0.0.1"])]);
    let (old, _) = merge(&Topology::default(), &both, t, GRACE);
    let nameless = Answer::new("mysql", [found(None, &["10.0.0.1"])], None);
    let (new, _) = merge(&old, &nameless, t, GRACE);
    assert_eq!(shown(&new), ["0: 10.0.0.1", "1: 10.0.0.1"]);
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let address = prop_oneof![
        (1..6u8).prop_map(|n| std::net::IpAddr::from([10, 0, 0, n])),
        (1..4u16).prop_map(|n| std::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
    ];
    let pod = (
        proptest::option::of(0..4u32),
        proptest::collection::vec(address, 0..3),
    );
    proptest::collection::vec(pod, 0..5).prop_map(|pods| {
        let pod = |(n, at): (Option<u32>, Vec<_>)| {
            FoundPod::new(n.map(Ordinal::new), format!("pod-{n:?}"), at, 3306)
        };
        Answer::new("mysql", pods.into_iter().map(pod), None)
    })
}

proptest! {
    #[test]
    fn merge_holds_its_promises(
        steps in proptest::collection::vec((any_answer(), 0..40u64), 1..12),
    ) {
        let mut topology = Topology::default();
        let mut now = start();
        let mut seen_primary = false;
        for (answer, seconds) in steps {
            now = after(now, seconds);
            let old = topology;
            let (expired, _) = expire(&old, now, GRACE);
            prop_assert_eq!(old.is_empty(), expired.is_empty());
            let (new, changes) = merge(&expired, &answer, now, GRACE);

            // Never empty after non-empty; versions count changes.
            prop_assert!(!new.is_empty() || expired.is_empty());
            prop_assert_eq!(new.version() - expired.version(), u64::from(!changes.is_empty()));
            prop_assert_eq!(changes.is_empty(), new.pods() == expired.pods());

            // The same answer again changes nothing.
            let (again, changes) = merge(&new, &answer, now, GRACE);
            prop_assert_eq!((&again, changes), (&new, vec![]));

            // Sorted, unique, no empty pods.
            let keys: Vec<_> = new.pods().iter().map(key).collect();
            prop_assert!(keys.is_sorted() && keys.windows(2).all(|two| two[0] != two[1]));
            prop_assert!(new.pods().iter().all(|pod| !pod.addresses().is_empty()));

            if !answer.is_empty() {
                for pod in new.pods() {
                    for address in pod.addresses() {
                        let of = |found: &&FoundPod| found.addresses.contains(&address.socket.ip());
                        let named: Vec<_> = answer.pods.iter().filter(of).map(|f| f.ordinal).collect();
                        let nowhere = answer.pods.iter().all(|f| f.ordinal != pod.ordinal);
                        let known = expired.pods().iter().any(|old| {
                            old.ordinal() == pod.ordinal() && old.addresses().iter().any(|a| a.socket == address.socket)
                        });
                        // The address is known under this ordinal, and the answer lacks the names.
                        let kept = nowhere && known && named.contains(&None);
                        // Listed only if the answer says so, and never under another ordinal.
                        prop_assert!(!address.is_listed() || kept || named.contains(&pod.ordinal));
                        prop_assert!(named.is_empty() || kept || named.contains(&pod.ordinal));
                    }
                }
                // Every pod in the answer is listed; with all its IPv4 addresses if it has any.
                for found in answer.pods.iter().filter(|pod| pod.ordinal.is_some()) {
                    let all = answer.pods.iter().filter(|pod| pod.ordinal == found.ordinal);
                    let all: BTreeSet<_> = all.flat_map(|pod| pod.addresses.clone()).collect();
                    let v4 = all.iter().any(std::net::IpAddr::is_ipv4);
                    let used: BTreeSet<_> = all.into_iter().filter(|ip| ip.is_ipv4() == v4).collect();
                    let pod = found.ordinal.and_then(|ordinal| new.pod(ordinal));
                    let listed: BTreeSet<_> = pod
                        .iter()
                        .flat_map(|pod| pod.listed())
                        .map(|address| address.socket.ip())
                        .collect();
                    prop_assert_eq!(listed, used);
                }
            }

            // Ordinal 0 stays known unless its address now belongs to another pod.
            seen_primary |= new.pod(Ordinal::PRIMARY).is_some();
            if seen_primary && new.pod(Ordinal::PRIMARY).is_none() {
                let old = expired.pod(Ordinal::PRIMARY).unwrap();
                let moved = |address: &PodAddress| answer
                    .pods
                    .iter()
                    .any(|pod| pod.addresses.contains(&address.socket.ip()));
                prop_assert!(old.addresses().iter().any(moved));
                seen_primary = false;
            }
            topology = new;
        }
    }
}

#[test]
fn an_incomplete_answer_takes_no_pod_away_and_still_adds_and_moves() {
    let start = start();
    let before = answer(&[(0, &["10.0.0.1"]), (1, &["10.0.0.2"]), (2, &["10.0.0.3"])]);
    let (old, _) = merge(&Topology::default(), &before, start, GRACE);

    let partial = answer(&[(0, &["10.0.0.9"]), (3, &["10.0.0.3"])]).partial();
    let (new, changes) = merge(&old, &partial, after(start, 60), GRACE);
    assert_eq!(
        shown(&new),
        ["0: (10.0.0.1) 10.0.0.9", "1: 10.0.0.2", "3: 10.0.0.3"]
    );
    let kinds: Vec<_> = changes.iter().map(Change::kind).collect();
    assert_eq!(kinds, ["absent", "added", "removed", "added"]);

    let whole = answer(&[(0, &["10.0.0.9"])]);
    let (new, _) = merge(&new, &whole, after(start, 61), GRACE);
    assert_eq!(shown(&new)[1..], ["1: (10.0.0.2)", "3: (10.0.0.3)"]);
}

/// Found by fuzzing: an IPv6 address that was absent for a long time was removed by the answer that
/// listed it, and the next answer added it to another pod.
#[test]
fn an_answer_that_has_lost_the_names_says_the_same_twice() {
    let start = start();
    let known = answer(&[(0, &["fd00::1"])]);
    let (topology, _) = merge(&Topology::default(), &known, start, GRACE);
    let (topology, _) = merge(&topology, &answer(&[(0, &["10.0.0.1"])]), start, GRACE);
    // Ordinal 0 is absent for a long time, but its last addresses are kept.
    let others = answer(&[(1, &["10.0.0.2"])]);
    let (topology, _) = merge(&topology, &others, start, GRACE);
    assert_eq!(shown(&topology), ["0: (10.0.0.1) (fd00::1)", "1: 10.0.0.2"]);

    let nameless = ["10.0.0.1", "fd00::1"].map(|at| found(None, &[at]));
    let nameless = Answer::new("mysql", nameless, None);
    let later = after(start, 300);
    let (topology, _) = merge(&topology, &nameless, later, GRACE);
    let expected = ["0: 10.0.0.1", "1: (10.0.0.2)"];
    assert_eq!(shown(&topology), expected);
    let (topology, changes) = merge(&topology, &nameless, later, GRACE);
    assert_eq!(shown(&topology), expected);
    assert_eq!(words(&changes), [] as [&str; 0]);
}
