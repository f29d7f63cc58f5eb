//! The verdict on each set-up, from one answer of the pod and one of the primary.

use super::*;

#[test]
fn each_set_up_is_told_by_one_answer_of_each() {
    use Recognition::{Proven, Related, Unrelated};
    let table = [
        // MySQL
        ("a replica", mysql(2, "A:1-9"), mysql(1, "A:1-9"), Proven),
        (
            "its own transactions",
            mysql(2, "A:1-9,B:1-4"),
            mysql(1, "A:1-9"),
            Proven,
        ),
        (
            "another cluster",
            mysql(2, "B:1-9"),
            mysql(1, "A:1-9"),
            Unrelated(NothingInCommon),
        ),
        (
            "wiped",
            read_only(mysql(2, "")),
            mysql(1, "A:1-9"),
            Unrelated(NothingInCommon),
        ),
        (
            "new, all of it",
            read_only(mysql(2, "")),
            mysql(1, ""),
            Proven,
        ),
        (
            "new, no replication",
            mysql(2, ""),
            mysql(1, ""),
            Unrelated(Writable),
        ),
        (
            "behind",
            mysql(2, "A:1-8"),
            mysql(1, "A:1-9"),
            Related(Behind),
        ),
        (
            "lossy failover",
            mysql(2, "A:1-10"),
            mysql(1, "A:1-9"),
            Related(Ahead),
        ),
        (
            "no GTIDs",
            read_only(without_gtids(mysql(2, ""))),
            without_gtids(mysql(1, "")),
            Proven,
        ),
        (
            "of a tutorial",
            without_gtids(mysql(2, "")),
            without_gtids(mysql(1, "")),
            Unrelated(Writable),
        ),
        (
            "no GTIDs on the primary",
            mysql(2, "B:1-3"),
            without_gtids(mysql(1, "")),
            Unrelated(Writable),
        ),
        (
            "all with the same server_id",
            read_only(without_gtids(mysql(1, ""))),
            without_gtids(mysql(1, "")),
            Unrelated(SameServerId(1)),
        ),
        // MariaDB
        ("a replica", maria(2, "0-1-9"), maria(1, "0-1-9"), Proven),
        (
            "its own transactions",
            maria(2, "0-1-9,0-2-10"),
            maria(1, "0-1-9"),
            Proven,
        ),
        (
            "another domain",
            maria(2, "1-1-9"),
            maria(1, "0-1-9"),
            Unrelated(NothingInCommon),
        ),
        (
            "another server",
            maria(2, "0-2-9"),
            maria(1, "0-1-9"),
            Unrelated(NothingInCommon),
        ),
        (
            "another cluster, ahead",
            maria(2, "0-1-70"),
            maria(1, "0-1-9"),
            Related(Ahead),
        ),
        (
            "another cluster, behind",
            maria(2, "0-1-7"),
            maria(1, "0-1-9"),
            Related(Behind),
        ),
        (
            "wiped",
            read_only(maria(2, "")),
            maria(1, "0-1-9"),
            Unrelated(NothingInCommon),
        ),
        (
            "new, all of it",
            read_only(maria(2, "")),
            maria(1, ""),
            Proven,
        ),
        (
            "after a promotion",
            maria(3, "0-2-12"),
            maria(2, "0-1-9,0-2-12"),
            Proven,
        ),
        // Kinds
        (
            "two kinds",
            maria(2, "0-1-9"),
            mysql(1, "A:1-9"),
            Unrelated(OtherKind),
        ),
        (
            "Galera",
            in_galera("g", 4, maria(1, "")),
            in_galera("g", 4, maria(1, "")),
            Proven,
        ),
        (
            "a Galera donor",
            in_galera("g", 2, maria(1, "")),
            in_galera("g", 4, maria(1, "")),
            Unrelated(NotSynced),
        ),
        (
            "a replica of a Galera cluster",
            read_only(maria(2, "0-1-9")),
            in_galera("g", 4, maria(1, "")),
            Proven,
        ),
        (
            "two Galera clusters",
            in_galera("h", 4, maria(1, "0-1-9")),
            in_galera("g", 4, maria(1, "0-1-9")),
            Unrelated(OtherGalera),
        ),
        (
            "a group",
            in_group("g", Some("ONLINE"), mysql(2, "A:1-8")),
            in_group("g", Some("ONLINE"), mysql(1, "A:1-9")),
            Proven,
        ),
        (
            "two groups",
            in_group("h", Some("ONLINE"), mysql(2, "A:1-9")),
            in_group("g", Some("ONLINE"), mysql(1, "A:1-9")),
            Unrelated(OtherGroup),
        ),
        (
            "a member that has left",
            in_group("g", Some("OFFLINE"), mysql(2, "A:1-9")),
            in_group("g", Some("ONLINE"), mysql(1, "A:1-9")),
            Unrelated(NotOnline),
        ),
        (
            "a group that is not told of",
            in_group("g", None, mysql(2, "A:1-8")),
            in_group("g", None, mysql(1, "A:1-9")),
            Related(Behind),
        ),
    ];
    for (name, pod, primary, expected) in table {
        let kind = pod.kind;
        assert_eq!(compare(pod, primary), expected, "{name}, {kind:?}");
    }
    let primary = Facts {
        log_bin: Some(false),
        ..maria(1, "")
    };
    let found = compare(read_only(maria(2, "")), primary);
    assert_eq!(found, Unrelated(NoBinaryLog));
}
