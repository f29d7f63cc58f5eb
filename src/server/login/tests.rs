//! How often a wrong password is tried, and how soon a correct one.

use super::*;
use crate::error::PodId;

fn pod(n: u8) -> SocketAddr {
    ([127, 0, 0, n], 3306).into()
}

fn credentials(version: u64) -> Arc<Credentials> {
    Arc::new(Credentials {
        version,
        ..Credentials::default()
    })
}

fn denied(n: u8) -> ConnectError {
    ConnectError::AccessDenied {
        pod: PodId::new(&format!("mysql-{n}"), pod(n)),
        user: "app".to_owned(),
        code: 1045,
        message: "Access denied".to_owned(),
    }
}

/// A gate and its clock.
struct World {
    gate: Gate,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (gate, now) = (Gate::default(), Instant::now());
        Self { gate, now }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// The version of the credentials to be tried at a pod.
    fn admit(&mut self, newest: u64, n: u8) -> Option<u64> {
        let admitted = self.gate.admit(&credentials(newest), pod(n), self.now);
        admitted.ok().map(|credentials| credentials.version)
    }

    fn accept(&mut self, version: u64, n: u8) {
        self.gate.accepted(pod(n), &credentials(version));
    }

    fn refuse(&mut self, version: u64, n: u8) {
        let refused = credentials(version);
        self.gate.refused(pod(n), &refused, &denied(n), self.now);
    }
}

#[test]
fn a_password_that_never_worked_is_tried_once_per_pause_at_each_pod() {
    let mut world = World::new();
    let mut attempts = [0; 5];
    for second in 0..300u32 {
        for (n, attempts) in (0..).zip(&mut attempts) {
            if world.admit(0, n).is_some() {
                world.refuse(0, n);
                *attempts += 1;
                assert_eq!(second % 30, 0);
            }
        }
        world.wait(Duration::from_secs(1));
    }
    assert_eq!(attempts, [10; 5]);
}

#[test]
fn a_pod_that_lacks_the_account_keeps_nobody_out_of_the_others() {
    let mut world = World::new();
    assert_eq!(world.admit(0, 3), Some(0));
    world.refuse(0, 3);
    for n in 0..3 {
        assert_eq!(world.admit(0, n), Some(0));
        world.accept(0, n);
    }
    assert_eq!(world.admit(0, 3), None);
}

#[test]
fn an_attempt_that_ends_in_nothing_counts_as_well() {
    let mut world = World::new();
    assert_eq!(world.admit(0, 0), Some(0));
    world.refuse(0, 0);
    world.wait(PAUSE);
    assert_eq!(world.admit(0, 0), Some(0));
    // The pod did not answer this time.
    assert_eq!(world.admit(0, 0), None);
    world.wait(PAUSE);
    assert_eq!(world.admit(0, 0), Some(0));
}

#[test]
fn the_error_is_the_one_of_the_pod_that_refused() {
    let mut world = World::new();
    for n in [1, 3] {
        world.admit(0, n);
        world.refuse(0, n);
    }
    let error = world.gate.admit(&credentials(0), pod(3), world.now);
    assert!(error.unwrap_err().to_string().contains("mysql-3"));
}

#[test]
fn a_changed_password_is_tried_at_once() {
    let mut world = World::new();
    for n in [0, 1] {
        world.admit(0, n);
        world.refuse(0, n);
    }
    assert_eq!(world.admit(0, 1), None);
    assert_eq!(world.admit(1, 1), Some(1));
    world.accept(1, 1);
    for n in 0..3 {
        assert_eq!(world.admit(1, n), Some(1));
    }
}

#[test]
fn a_pod_that_refuses_what_another_accepts_is_left_alone_by_itself() {
    let mut world = World::new();
    world.admit(0, 0);
    world.accept(0, 0);
    world.admit(0, 1);
    world.refuse(0, 1);
    assert_eq!(world.admit(0, 1), None);
    assert_eq!(world.admit(0, 0), Some(0));
    assert_eq!(world.admit(0, 2), Some(0));
    world.wait(PAUSE);
    assert_eq!(world.admit(0, 1), Some(0));
    world.accept(0, 1);
    assert_eq!(world.admit(0, 1), Some(0));
}

#[test]
fn a_new_password_that_no_server_knows_yet_leaves_the_old_one_in_use() {
    let mut world = World::new();
    world.admit(0, 0);
    world.accept(0, 0);
    for n in 0..3 {
        assert_eq!(world.admit(1, n), Some(1));
        world.refuse(1, n);
        assert_eq!(world.admit(1, n), Some(0));
        world.accept(0, n);
    }
    // Now pod 1 knows the new password and refuses the old one: the new one is tried there at once.
    assert_eq!(world.admit(1, 1), Some(0));
    world.refuse(0, 1);
    assert_eq!(world.admit(1, 1), Some(1));
    world.accept(1, 1);
    // Pod 0 gets the new password later than pod 1.
    assert_eq!(world.admit(1, 0), Some(0));
    world.wait(PAUSE);
    assert_eq!(world.admit(1, 0), Some(1));
}

#[test]
fn two_wrong_passwords_are_tried_about_twice_per_pause_and_pod() {
    let mut world = World::new();
    world.admit(0, 0);
    world.accept(0, 0);
    let mut attempts = 0;
    for _ in 0..300 {
        for n in 0..3 {
            while let Some(version) = world.admit(1, n) {
                world.refuse(version, n);
                attempts += 1;
                assert!(attempts < 1000);
            }
        }
        world.wait(Duration::from_secs(1));
    }
    // If a pod refuses the old one after the new one, the new one is tried once more.
    assert!(attempts <= 3 * 3 * 10, "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn before_a_password_is_proven_logins_take_turns_but_not_behind_a_silent_pod() {
    let login = Login::new(&Config::new("mysql", "app").with_password("x"));
    let first = login.turn(pod(0), false).await.unwrap();
    let started = Instant::now();
    let second = login.turn(pod(1), false).await.unwrap();
    assert_eq!(started.elapsed(), PATIENCE);
    drop(second);
    login.accepted(pod(0), &first.credentials);
    let started = Instant::now();
    let third = login.turn(pod(2), false).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    drop((first, third));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_at_the_same_pod_hears_the_refusal_of_the_one_before() {
    let login = Arc::new(Login::new(&Config::new("mysql", "app").with_password("x")));
    let first = login.turn(pod(0), false).await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let login = Arc::clone(&login);
            tokio::spawn(async move { login.turn(pod(0), false).await.map(|_| ()) })
        })
        .collect();
    tokio::task::yield_now().await;
    login.refused(pod(0), &first.credentials, &denied(0));
    drop(first);
    for waiter in waiting {
        let refused = waiter.await.unwrap();
        assert!(matches!(refused, Err(ConnectError::AccessDenied { .. })));
    }
    assert!(!login.was_accepted());
}
