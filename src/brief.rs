//! Owns how a length of time reads in a text for people. It must never be used where a machine, or
//! somebody who compares, needs the exact figure: the fields of an error have that.

use std::fmt;
use std::time::Duration;

/// `250ms`, `1.3s`, `30s`: whole milliseconds, from a second on seconds with one digit at most. What
/// is not nothing is not told as nothing.
pub(crate) struct Brief(pub(crate) Duration);

// === impl Brief ===

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = |unit: u128| (self.0.as_nanos() + unit / 2) / unit;
        let ms = rounded(1_000_000).max(u128::from(!self.0.is_zero()));
        if ms < 1_000 {
            return write!(f, "{ms}ms");
        }
        let tenths = rounded(100_000_000);
        match (tenths / 10, tenths % 10) {
            (seconds, 0) => write!(f, "{seconds}s"),
            (seconds, tenth) => write!(f, "{seconds}.{tenth}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_without_digits_that_say_nothing() {
        for (nanos, told) in [
            (0, "0ms"),
            (1, "1ms"),
            (1_499_999, "1ms"),
            (1_500_000, "2ms"),
            (83_427_311, "83ms"),
            (250_000_000, "250ms"),
            (999_499_999, "999ms"),
            (999_500_000, "1s"),
            (1_049_999_999, "1s"),
            (1_050_000_000, "1.1s"),
            (1_500_000_000, "1.5s"),
            (5_002_346_426, "5s"),
            (9_950_000_000, "10s"),
            (300_000_000_000, "300s"),
        ] {
            assert_eq!(Brief(Duration::from_nanos(nanos)).to_string(), told);
        }
        let longest = Brief(Duration::MAX).to_string();
        assert_eq!(longest, "18446744073709551616s");
    }
}
