//! The scenarios, and what is asserted of them.
//!
//! Our balancer draws from the thread's random generator, so each bound leaves room for chance:
//! beside it stands how much.

mod faults;
mod herd;
mod scale;
mod shares;
mod slow;
