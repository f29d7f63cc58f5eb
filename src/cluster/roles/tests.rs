//! Tests of the parent module.

use super::*;

fn key(n: u32) -> PodKey {
    PodKey::of(n, ([127, 0, 0, 1], 3306).into())
}

fn seen(sights: &[Sight]) -> Vec<(PodKey, Sight)> {
    (0..)
        .zip(sights)
        .map(|(n, sight)| (key(n), *sight))
        .collect()
}

#[test]
fn exactly_one_writable_pod_is_the_primary() {
    use Sight::{ReadOnly, Unseen, Writable};
    use TwoPrimaries::{Keep, Refuse};
    let (zero, one, two) = (key(0), key(1), key(2));
    let both = Verdict::Several(vec![key(0), key(1)]);
    let several = |all: &[u32]| Verdict::Several(all.iter().map(|n| key(*n)).collect());
    let table = [
        // At the start, and without changes.
        (
            None,
            [Writable, ReadOnly, ReadOnly],
            Refuse,
            Verdict::One(key(0)),
        ),
        (
            Some(&zero),
            [Writable, ReadOnly, ReadOnly],
            Refuse,
            Verdict::One(key(0)),
        ),
        (None, [ReadOnly, ReadOnly, Unseen], Refuse, Verdict::None),
        (None, [Unseen, Unseen, Unseen], Refuse, Verdict::None),
        // A primary that cannot be asked keeps its role; one that reports read-only loses it.
        (
            Some(&zero),
            [Unseen, ReadOnly, ReadOnly],
            Refuse,
            Verdict::One(key(0)),
        ),
        (
            Some(&zero),
            [ReadOnly, ReadOnly, ReadOnly],
            Refuse,
            Verdict::None,
        ),
        // A promoted replica, with the old primary down or demoted.
        (
            Some(&zero),
            [Unseen, ReadOnly, Writable],
            Refuse,
            Verdict::One(key(2)),
        ),
        (
            Some(&zero),
            [ReadOnly, Writable, ReadOnly],
            Refuse,
            Verdict::One(key(1)),
        ),
        // The old primary comes back writable.
        (
            Some(&one),
            [Writable, Writable, ReadOnly],
            Refuse,
            both.clone(),
        ),
        (
            Some(&one),
            [Writable, Writable, ReadOnly],
            Keep,
            Verdict::One(key(1)),
        ),
        (
            Some(&two),
            [Writable, Writable, Unseen],
            Keep,
            Verdict::One(key(0)),
        ),
        (
            None,
            [Writable, Writable, Writable],
            Refuse,
            several(&[0, 1, 2]),
        ),
        (
            None,
            [ReadOnly, Writable, Writable],
            Keep,
            Verdict::One(key(1)),
        ),
    ];
    for (leader, sights, two_primaries, expected) in table {
        let verdict = decide(leader, &[], &seen(&sights), two_primaries);
        assert_eq!(verdict, expected, "{leader:?} {sights:?} {two_primaries:?}");
    }
}

#[test]
fn a_primary_that_is_not_listed_keeps_its_office_until_another_pod_is_writable() {
    let gone = key(7);
    let verdict = |sights: &[Sight]| decide(Some(&gone), &[], &seen(sights), TwoPrimaries::Refuse);
    assert_eq!(verdict(&[Sight::ReadOnly]), Verdict::One(key(7)));
    assert_eq!(
        verdict(&[Sight::ReadOnly, Sight::Writable]),
        Verdict::One(key(1))
    );
}

#[test]
fn one_of_two_primaries_that_falls_silent_is_one_of_two_still() {
    use Sight::{ReadOnly, Silent, Unseen, Writable};
    let (zero, rivals) = (key(0), [key(0), key(1)]);
    let both = Verdict::Several(rivals.to_vec());
    let verdict = |sights: &[Sight]| {
        let seen = seen(sights);
        decide(Some(&zero), &rivals, &seen, TwoPrimaries::Refuse)
    };
    assert_eq!(verdict(&[Silent, Writable, ReadOnly]), both);
    assert_eq!(verdict(&[Writable, Silent, ReadOnly]), both);
    assert_eq!(verdict(&[Silent, Silent, ReadOnly]), both);
    // A pod that cannot be reached at all no longer counts.
    for one_left in [[Unseen, Writable, ReadOnly], [ReadOnly, Silent, ReadOnly]] {
        assert_eq!(verdict(&one_left), Verdict::One(key(1)), "{one_left:?}");
    }
    // A silent primary without a rival does not delay the decision.
    let silent = seen(&[Silent, Writable]);
    let verdict = decide(Some(&zero), &[], &silent, TwoPrimaries::Refuse);
    assert_eq!(verdict, Verdict::One(key(1)));
}
