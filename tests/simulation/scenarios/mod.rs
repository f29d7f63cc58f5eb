//! The scenarios and their assertions.
//!
//! Another seed gives other numbers, so each bound has a margin for chance. A comment next to the
//! bound gives the margin.

mod faults;
mod herd;
mod scale;
mod shares;
mod slow;
