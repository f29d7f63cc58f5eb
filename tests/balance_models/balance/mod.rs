//! The balancer's own files, with shuttle's locks and atomics.

#[path = "../../../src/balance/chance.rs"]
pub(crate) mod chance;
#[path = "../../../src/balance/clock.rs"]
pub(crate) mod clock;
#[path = "../../../src/balance/counts.rs"]
pub(crate) mod counts;
#[path = "../../../src/balance/error.rs"]
pub(crate) mod error;
#[path = "../../../src/balance/guard.rs"]
pub(crate) mod guard;
#[path = "../../../src/balance/health.rs"]
pub(crate) mod health;
#[path = "../../../src/balance/line.rs"]
pub(crate) mod line;
#[path = "../../../src/balance/vitals.rs"]
pub(crate) mod vitals;

pub(crate) mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}
