//! The cost of a pick, compared with tower's own balancers, in one run.
//!
//! ```text
//! cargo bench --bench pick              # criterion, then a table, and the bars
//! cargo bench --bench pick -- --table   # the table and the bars only
//! cargo bench --bench pick -- --gate    # for CI: an error if allocations or ratios got worse
//! ```
//!
//! Every endpoint answers at once, so only the balancer is measured. One task runs on a
//! current-thread runtime, eight tasks run on two workers. The table comes from rounds in which the
//! subjects take turns. Compare ratios and allocations; nanoseconds depend on the machine and the
//! hour.
//!
//! The dev-dependencies enable tokio's `test-util`, which makes each reading of its clock more
//! expensive, for this crate and for tower alike.

mod rounds;
mod subjects;

use criterion::{BenchmarkId, Criterion};
use rounds::{Runtimes, SIZES, Variant, gate, print_bars, print_table, take_turns, variants};
use std::time::Duration;
use tower::BoxError;

/// The number of operations over which allocations are counted.
const COUNTED: u64 = 10_000;
/// The same for a run that only checks that the benchmark works.
const COUNTED_IN_TEST: u64 = 100;
/// The number of turns of each subject.
const ROUNDS: u32 = 31;

fn main() -> Result<(), BoxError> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_test = has("--test");
    let counted = if is_test { COUNTED_IN_TEST } else { COUNTED };
    let runtimes = Runtimes::new()?;
    let mut variants = variants(&runtimes, &SIZES, counted)?;
    if has("--gate") {
        take_turns(&mut variants, ROUNDS)?;
        return gate(&variants);
    }
    if !has("--table") {
        criterion(&mut variants)?;
    }
    if !is_test {
        take_turns(&mut variants, ROUNDS)?;
        print_table(&variants);
        print_bars(&variants);
    }
    Ok(())
}

fn criterion(variants: &mut [Variant<'_>]) -> Result<(), BoxError> {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let mut group = criterion.benchmark_group("balance");
    let mut failed = None;
    for variant in variants {
        let at = format!("{} endpoints, {} tasks", variant.endpoints, variant.tasks);
        group.bench_function(BenchmarkId::new(variant.subject, at), |bencher| {
            bencher.iter_custom(|n| {
                let took = (variant.run)(n);
                took.unwrap_or_else(|error| {
                    failed = Some(error);
                    Duration::ZERO
                })
            });
        });
    }
    group.finish();
    failed.map_or(Ok(()), Err)
}
