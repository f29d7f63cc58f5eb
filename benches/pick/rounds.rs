//! Rounds in which the subjects take turns, their table, and the gate.
//!
//! Owns the comparison. A burst of other load on a shared machine affects all subjects of a round,
//! so ratios are reliable where nanoseconds are not.

use crate::subjects::{Call, Locked, Pick, RoundRobin, Subject, ours, peak_ewma, pending_requests};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tower::BoxError;
use tower::buffer::Buffer;

pub(crate) const PICK: &str = "headless-mysql pick";
pub(crate) const CALL: &str = "headless-mysql call";
const PEAK: &str = "tower PeakEwma";
const BUFFER: &str = "tower Buffer<PeakEwma>";

/// The sizes of the set of endpoints.
pub(crate) const SIZES: [usize; 4] = [3, 8, 100, 1000];
pub(crate) const TASKS: [u64; 2] = [1, 8];

/// The runtimes of the subjects.
pub(crate) struct Runtimes {
    /// For one task, and for counting allocations, which are counted per thread.
    one: Runtime,
    /// For eight tasks: two workers.
    two: Runtime,
}

impl Runtimes {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let mut one = tokio::runtime::Builder::new_current_thread();
        let mut two = tokio::runtime::Builder::new_multi_thread();
        Ok(Self {
            one: one.enable_time().build()?,
            two: two.worker_threads(2).enable_time().build()?,
        })
    }

    fn of(&self, tasks: u64) -> &Runtime {
        if tasks == 1 { &self.one } else { &self.two }
    }
}

/// Runs an operation this many times and returns the time it took.
type Run<'a> = Box<dyn FnMut(u64) -> Result<Duration, BoxError> + 'a>;

/// One subject, at one size, with one number of tasks.
pub(crate) struct Variant<'a> {
    pub(crate) subject: &'static str,
    pub(crate) endpoints: usize,
    pub(crate) tasks: u64,
    pub(crate) run: Run<'a>,
    pub(crate) allocations: f64,
    /// Nanoseconds per operation, by round.
    rounds: Vec<f64>,
}

/// Runs the subject itself in one task.
fn alone<'a>(runtime: &'a Runtime, mut subject: impl Subject + 'a) -> Run<'a> {
    Box::new(move |n| {
        let began = Instant::now();
        runtime.block_on(subject.run(n))?;
        Ok(began.elapsed())
    })
}

/// Runs clones of the subject, one in each of several tasks.
fn together<'a, S>(runtime: &'a Runtime, tasks: u64, subject: S) -> Run<'a>
where
    S: Subject + Clone + 'static,
{
    Box::new(move |n| {
        let each = n.div_ceil(tasks);
        runtime.block_on(async {
            let began = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|_| {
                    let mut subject = subject.clone();
                    tokio::spawn(async move { subject.run(each).await })
                })
                .collect();
            for task in running {
                task.await??;
            }
            // The tasks ran a rounded-up number of operations, so scale the time to `n`.
            Ok(began.elapsed().mul_f64(n as f64 / (each * tasks) as f64))
        })
    })
}

/// All subjects at one size, with one number of tasks, on one runtime.
fn subjects<'a>(
    runtime: &'a Runtime,
    endpoints: usize,
    tasks: u64,
) -> Vec<(&'static str, Run<'a>)> {
    // Services, buffers and balancers spawn their own tasks.
    let _entered = runtime.enter();
    let balance = runtime.block_on(ours(endpoints));
    let buffer = Buffer::new(peak_ewma(endpoints), 1024);
    let next = Locked::new(RoundRobin::new(endpoints));
    if tasks == 1 {
        return vec![
            (PICK, alone(runtime, Pick(balance.clone()))),
            (CALL, alone(runtime, Call(balance))),
            ("mutex, round robin", alone(runtime, next)),
            (
                "tower PendingRequests",
                alone(runtime, Call(pending_requests(endpoints))),
            ),
            (PEAK, alone(runtime, Call(peak_ewma(endpoints)))),
            (BUFFER, alone(runtime, Call(buffer))),
        ];
    }
    let pending = Locked::new(pending_requests(endpoints));
    let peak = Locked::new(peak_ewma(endpoints));
    vec![
        (PICK, together(runtime, tasks, Pick(balance.clone()))),
        (CALL, together(runtime, tasks, Call(balance))),
        ("mutex, round robin", together(runtime, tasks, next)),
        ("tower PendingRequests", together(runtime, tasks, pending)),
        (PEAK, together(runtime, tasks, peak)),
        (BUFFER, together(runtime, tasks, Call(buffer))),
    ]
}

/// Creates every variant, and counts its allocations over `counted` operations.
pub(crate) fn variants<'a>(
    runtimes: &'a Runtimes,
    sizes: &[usize],
    counted: u64,
) -> Result<Vec<Variant<'a>>, BoxError> {
    let mut variants = Vec::new();
    for &endpoints in sizes {
        for tasks in TASKS {
            let counting = subjects(&runtimes.one, endpoints, tasks);
            let timing = subjects(runtimes.of(tasks), endpoints, tasks);
            for ((subject, mut count), (_, run)) in counting.into_iter().zip(timing) {
                variants.push(Variant {
                    subject,
                    endpoints,
                    tasks,
                    run,
                    allocations: allocations(&mut count, counted)?,
                    rounds: Vec::new(),
                });
            }
        }
    }
    Ok(variants)
}

/// Allocations per operation, without the dozen that starting the tasks needs.
fn allocations(run: &mut Run<'_>, counted: u64) -> Result<f64, BoxError> {
    // Warm up, so that pools and queues reach their final size.
    run(counted)?;
    let mut count = |n: u64| {
        let mut result = Ok(Duration::ZERO);
        let info = allocation_counter::measure(|| result = run(n));
        result.map(|_| info.count_total as f64)
    };
    let few = counted.div_ceil(16);
    let (less, more) = (count(few)?, count(few + counted)?);
    Ok((more - less) / counted as f64)
}

fn best_of_three(run: &mut Run<'_>, n: u64) -> Result<Duration, BoxError> {
    Ok(run(n)?.min(run(n)?).min(run(n)?))
}

/// Runs the variants in turn, for `rounds` rounds.
pub(crate) fn take_turns(variants: &mut [Variant<'_>], rounds: u32) -> Result<(), BoxError> {
    /// The duration of a turn.
    const TURN: Duration = Duration::from_millis(4);
    let mut sizes = Vec::new();
    for variant in variants.iter_mut() {
        let mut n = 1024;
        // Take the best of three: a single slow run would make the turns too short, and then the
        // time to start the tasks would count.
        while best_of_three(&mut variant.run, n)? < TURN / 2 {
            n *= 2;
        }
        sizes.push(n);
    }
    for _ in 0..rounds {
        for (variant, &n) in variants.iter_mut().zip(&sizes) {
            let took = (variant.run)(n)?;
            variant.rounds.push(took.as_secs_f64() * 1e9 / n as f64);
        }
    }
    Ok(())
}

impl Variant<'_> {
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn best(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

fn find<'v, 'a>(
    variants: &'v [Variant<'a>],
    subject: &str,
    endpoints: usize,
    tasks: u64,
) -> &'v Variant<'a> {
    let is_it =
        |v: &&Variant<'_>| v.subject == subject && v.endpoints == endpoints && v.tasks == tasks;
    let found = variants.iter().find(is_it);
    found.unwrap_or_else(|| unreachable!("every size has every subject"))
}

pub(crate) fn print_table(variants: &[Variant<'_>]) {
    println!(
        "{:>9} {:>5}  {:<23} {:>8} {:>8} {:>7} {:>7} {:>7}",
        "endpoints", "tasks", "subject", "median", "best ns", "allocs", "/pick", "/call"
    );
    for variant in variants {
        let of = |base: &str| {
            let base = find(variants, base, variant.endpoints, variant.tasks);
            // Compare within a round, because a disturbance affects both variants.
            let rounds = variant.rounds.iter().zip(&base.rounds);
            let mut ratios: Vec<f64> = rounds.map(|(it, base)| it / base).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        println!(
            "{:>9} {:>5}  {:<23} {:>8.1} {:>8.1} {:>7.2} {:>6.1}x {:>6.1}x",
            variant.endpoints,
            variant.tasks,
            variant.subject,
            variant.median(),
            variant.best(),
            variant.allocations,
            of(PICK),
            of(CALL),
        );
    }
}

/// One check of the gate.
struct Check {
    what: String,
    found: f64,
    bound: f64,
    at_most: bool,
}

impl Check {
    fn holds(&self) -> bool {
        if self.at_most {
            self.found <= self.bound
        } else {
            self.found >= self.bound
        }
    }
}

/// Prints the checks with their bounds. Returns the number of checks that do not hold.
fn judge(checks: &[Check]) -> usize {
    let mut failed = 0;
    for check in checks {
        let (sign, verdict) = match (check.at_most, check.holds()) {
            (true, true) => ("<=", "ok"),
            (false, true) => (">=", "ok"),
            (true, false) => ("<=", "MISSED"),
            (false, false) => (">=", "MISSED"),
        };
        failed += usize::from(!check.holds());
        let Check {
            what, found, bound, ..
        } = check;
        println!("{what:<60} {found:>8.2} {sign} {bound:<6.2} {verdict}");
    }
    failed
}

fn allocation_checks(variants: &[Variant<'_>]) -> Vec<Check> {
    let ours = variants
        .iter()
        .filter(|v| [PICK, CALL].contains(&v.subject));
    let check = |v: &Variant<'_>| Check {
        what: format!(
            "allocations, {}, {} endpoints, {} tasks",
            v.subject, v.endpoints, v.tasks
        ),
        found: v.allocations,
        bound: if v.subject == PICK {
            0.0
        } else {
            CALL_ALLOCATIONS
        },
        at_most: true,
    };
    ours.map(check).collect()
}

/// The allocations that a call may make if it is served at once.
const CALL_ALLOCATIONS: f64 = 0.0;

/// The required ratios to tower's cost, scaled by `part`. The best rounds are compared.
fn ratio_checks(variants: &[Variant<'_>], part: f64) -> Vec<Check> {
    let ratio = |subject: &str, ours: &str, tasks: u64, bar: f64| {
        let tower = find(variants, subject, 3, tasks).best();
        Check {
            what: format!("{subject} / {ours}, 3 endpoints, {tasks} tasks"),
            found: tower / find(variants, ours, 3, tasks).best(),
            bound: bar * part,
            at_most: false,
        }
    };
    let mut checks = Vec::new();
    for tasks in TASKS {
        checks.push(ratio(PEAK, PICK, tasks, 10.0));
        checks.push(ratio(BUFFER, PICK, tasks, 20.0));
        checks.push(ratio(PEAK, CALL, tasks, 5.0));
        checks.push(ratio(BUFFER, CALL, tasks, 8.0));
    }
    checks
}

/// The bounds in nanoseconds: shown, but never a failure.
fn time_checks(variants: &[Variant<'_>]) -> Vec<Check> {
    let bars = [(3, 1, 40.0), (3, 8, 80.0), (1000, 1, 100.0)];
    let check = |(endpoints, tasks, bound)| Check {
        what: format!("ns, {PICK}, {endpoints} endpoints, {tasks} tasks"),
        found: find(variants, PICK, endpoints, tasks).median(),
        bound,
        at_most: true,
    };
    bars.into_iter().map(check).collect()
}

/// Prints the bounds and the measured values.
pub(crate) fn print_bars(variants: &[Variant<'_>]) {
    println!("\nBars:");
    judge(&time_checks(variants));
    judge(&ratio_checks(variants, 1.0));
    judge(&allocation_checks(variants));
}

/// The checks that must hold on every machine: exact allocations, and scaled bounds of the ratios.
/// With several tasks, the cost of a buffer depends on how often its worker is woken: 490 to 840 ns
/// so far.
pub(crate) fn gate(variants: &[Variant<'_>]) -> Result<(), BoxError> {
    let mut checks = allocation_checks(variants);
    checks.extend(ratio_checks(variants, 0.5));
    // Two endpoints are drawn from a large set, so the cost must not depend on its size.
    checks.push(Check {
        what: format!("{PICK}, 1,000 endpoints / 8 endpoints"),
        found: find(variants, PICK, 1000, 1).best() / find(variants, PICK, 8, 1).best(),
        bound: 5.0,
        at_most: true,
    });
    match judge(&checks) {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} checks missed", checks.len()).into()),
    }
}
