//! Locks and atomics of the files whose concurrency is model-checked.
//!
//! `tests/balance_models` compiles `counts`, `line` and `vitals` a second time, with the same names
//! from shuttle. These files must therefore import their locks and atomics from here.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
