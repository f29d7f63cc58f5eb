//! One value of a row, a parameter or an expression.
//!
//! Owns conversion and comparison, as far as the supported statements need them. It must never lose
//! digits: an unsigned 64-bit number comes back unchanged.

use std::cmp::Ordering;

use mysql_async::Value;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    Null,
    /// Wide enough for signed and unsigned 64 bits.
    Int(i128),
    Float(f64),
    Text(Vec<u8>),
}

impl Datum {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into().into_bytes())
    }

    /// The value as a whole number. For text, the leading digits count.
    pub(super) fn int(&self) -> Option<i128> {
        match self {
            Self::Null => None,
            Self::Int(int) => Some(*int),
            // The conversion saturates; no test has numbers that large.
            Self::Float(float) => Some(float.round() as i128),
            Self::Text(_) => {
                let text = self.shown();
                let text = text.trim();
                let digits = text.trim_start_matches(['-', '+']);
                let end = digits.find(|c: char| !c.is_ascii_digit());
                let end = text.len() - digits.len() + end.unwrap_or(digits.len());
                Some(text[..end].parse().unwrap_or(0))
            }
        }
    }

    /// The value as a floating-point number.
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Null => None,
            Self::Int(int) => Some(*int as f64),
            Self::Float(float) => Some(*float),
            Self::Text(_) => Some(self.shown().trim().parse().unwrap_or(0.0)),
        }
    }

    /// Whether the value counts as true in a condition.
    pub(super) fn holds(&self) -> bool {
        self.float().is_some_and(|float| float != 0.0)
    }

    /// The value as the text protocol encodes it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Null => b"NULL".to_vec(),
            Self::Int(int) => int.to_string().into_bytes(),
            Self::Float(float) => float.to_string().into_bytes(),
            Self::Text(text) => text.clone(),
        }
    }

    /// The value as readable text.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Compares as the servers do by default: two texts without regard to case, other pairs as
    /// numbers. `None` if one of the two is NULL.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => {
                Some(a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase()))
            }
            _ => self.float()?.partial_cmp(&other.float()?),
        }
    }

    /// The order for sorting and grouping: as [`Datum::compare`], with NULL first.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            _ => self.compare(other).unwrap_or(Ordering::Equal),
        }
    }
}

impl From<bool> for Datum {
    fn from(holds: bool) -> Self {
        Self::Int(holds.into())
    }
}

impl From<Value> for Datum {
    /// Converts a parameter of a prepared statement. Dates are converted to text.
    fn from(value: Value) -> Self {
        match value {
            Value::NULL => Self::Null,
            Value::Bytes(bytes) => Self::Text(bytes),
            Value::Int(int) => Self::Int(int.into()),
            Value::UInt(int) => Self::Int(int.into()),
            Value::Float(float) => Self::Float(float.into()),
            Value::Double(float) => Self::Float(float),
            date => Self::text(date.as_sql(true).trim_matches('\'')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_as_a_number_as_far_as_it_is_one() {
        for (text, int) in [("12", 12), (" -3x", -3), ("x", 0), ("", 0), ("007 ", 7)] {
            assert_eq!(Datum::text(text).int(), Some(int), "{text:?}");
        }
        assert_eq!(Datum::Null.int(), None);
    }

    #[test]
    fn text_compares_without_regard_to_case_and_null_with_nothing() {
        assert_eq!(
            Datum::text("A").compare(&Datum::text("a")),
            Some(Ordering::Equal)
        );
        assert_eq!(
            Datum::Int(2).compare(&Datum::text("10")),
            Some(Ordering::Less)
        );
        assert_eq!(Datum::Null.compare(&Datum::Null), None);
        assert_eq!(Datum::Null.order(&Datum::Int(0)), Ordering::Less);
    }
}
