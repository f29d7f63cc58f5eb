use super::*;
use crate::pool::testing;
use crate::server::facts::Origin;

const SECOND: Duration = Duration::from_secs(1);

fn given_up() -> GivenUp {
    GivenUp {
        id: 7,
        stop: true,
        alive: Instant::now(),
        origin: Arc::new(Origin::default()),
        suspicion: None,
        hold: Arc::default(),
        flow_lost: false,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_about_a_session_follows_from_what_the_server_shows() {
    use Action::{Release, Wait};
    use Activity::{Gone, Idle, Running, Unknown};
    use Process::{Another, Same, Unsure};
    let stop = Action::Kill(Kill::Statement);
    for (process, activity, first) in [
        (Same, Running, stop),
        (Same, Idle, Wait),
        (Same, Gone, Release),
        (Same, Unknown, Release),
        (Unsure, Running, Wait),
        (Unsure, Idle, Release),
        (Unsure, Gone, Release),
        (Unsure, Unknown, Release),
        (Another, Running, Release),
        (Another, Unknown, Release),
    ] {
        let mut one = Unended::new(given_up());
        let action = one.action(process, activity, true, Instant::now());
        assert_eq!(action, first, "{process:?} {activity:?}");
    }
    // Nothing is killed with `kill_query=false`, and a COMMIT is never killed.
    for (stop, may_kill) in [(true, false), (false, true)] {
        let mut one = Unended::new(GivenUp { stop, ..given_up() });
        let mut action = |activity| one.action(Same, activity, may_kill, Instant::now());
        assert_eq!(action(Running), Wait);
        assert_eq!(action(Unknown), Release);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_stays_idle_after_its_connection_was_closed_is_ended() {
    let mut one = Unended::new(given_up());
    let held = Arc::clone(&one.given_up.hold);
    let now = Instant::now();
    let mut look = |at, may_kill| one.action(Process::Same, Activity::Idle, may_kill, at);
    assert_eq!(look(now, true), Action::Wait);
    assert_eq!(look(now, true), Action::Release, "its user keeps the slot");
    drop(held);
    assert_eq!(look(now + SECOND / 2, true), Action::Wait);
    assert_eq!(look(now + SECOND, true), Action::Kill(Kill::Session));
    assert_eq!(look(now + SECOND, false), Action::Release);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_served_by_one_task_at_a_time_and_by_another_one_after_it() {
    let (pool, _) = testing::pool(&testing::config(), tokio::runtime::Handle::current());
    let side = &pool.side;
    let comes = || {
        let mut queue = side.queue();
        queue.given_up.push(given_up());
        !std::mem::replace(&mut queue.served, true)
    };
    assert!(comes());
    let mut first = KillTask::new(Arc::clone(&pool));
    assert!(!comes());
    assert!(first.goes_on() && first.unended.len() == 2);
    first.unended.clear();
    assert!(!comes(), "being served is not over");
    assert!(first.goes_on() && first.unended.len() == 1);
    first.unended.clear();
    assert!(!first.goes_on());
    assert!(comes(), "the first one has ended");
    drop(first);
    let mut second = KillTask::new(Arc::clone(&pool));
    assert!(second.goes_on());
    assert_eq!(second.unended.len(), 1, "the first one took nothing along");
    assert!(!comes());
    drop(second);
    assert!(
        side.take().0.is_empty() && comes(),
        "cut short, it releases"
    );
}

#[test]
fn what_is_given_up_after_the_end_of_the_runtime_is_released() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let (pool, _) = testing::pool(&testing::config(), runtime.handle().clone());
    drop(runtime);
    let given_up = given_up();
    let hold = Arc::downgrade(&given_up.hold);
    pool.stop(given_up);
    assert_eq!(hold.strong_count(), 0);
    assert!(!pool.side.queue().served);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn outcomes_are_counted_once_for_each_statement_that_was_to_be_stopped() {
    let recorder = crate::observe::testing::Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (pool, _) = testing::pool(&testing::config(), tokio::runtime::Handle::current());
    pool.retire();
    let mut task = KillTask::new(Arc::clone(&pool));
    let commit = GivenUp {
        stop: false,
        ..given_up()
    };
    task.unended = [given_up(), commit].map(Unended::new).into();
    let dead = Failed::Dead("no answer".to_owned());
    task.unreachable(&dead).await;
    assert!(task.unended.is_empty(), "the pool is retired");

    let pod = "pod=mysql-0.mysql.default.svc.cluster.local";
    let metric = observe::STATEMENTS_STOPPED;
    let key = format!("{metric}{{{pod},outcome=unreachable}}");
    assert_eq!(recorder.counters(), [(key, 1)].into());
}
