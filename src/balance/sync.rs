//! Locks and atomics of the files whose concurrency is model-checked.
//!
//! Owns nothing but names. `tests/balance_models` compiles `counts`, `line` and `vitals` once more,
//! with the same names out of shuttle; so these files must take their locks and atomics from here.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
