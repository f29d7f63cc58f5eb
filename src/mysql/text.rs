//! The text of what is about to be executed as a prepared statement.
//!
//! Owns the answer to "may this leave something in the session?" for everything the driver takes
//! as a statement. It must never guess: where the text is not known, the answer is yes.
//!
//! The driver's own trait `StatementLike` does not show the text, so code that is generic over
//! `Queryable` pays for a reset of the session on return. The methods of [`PodConn`] and [`Tx`]
//! take [`SqlText`] instead, which does.
//!
//! [`PodConn`]: super::PodConn
//! [`Tx`]: super::Tx

use super::trace::leaves_trace;
use mysql_async::Statement;
use mysql_async::prelude::StatementLike;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Verdicts on the prepared statements of one connection, by their id.
pub(crate) type Verdicts = HashMap<u32, bool>;

/// A statement whose text can be read: strings, bytes, and statements prepared with
/// [`prep`](mysql_async::prelude::Queryable::prep).
///
/// Sealed: implemented for the types the driver takes as statements.
pub trait SqlText: StatementLike + sealed::Judged {}

impl<S: StatementLike + sealed::Judged> SqlText for S {}

pub(crate) mod sealed {
    use super::Verdicts;

    /// Whether running it may leave a trace in the session.
    pub trait Judged {
        #[doc(hidden)]
        fn leaves_trace(&self, verdicts: &mut Verdicts) -> bool;
    }
}

macro_rules! judged_by_bytes {
    ($($type:ty),*) => {$(
        impl sealed::Judged for $type {
            fn leaves_trace(&self, _: &mut Verdicts) -> bool {
                let bytes: &[u8] = self.as_ref();
                leaves_trace(bytes)
            }
        }
    )*};
}

judged_by_bytes!(
    &str,
    String,
    Vec<u8>,
    &[u8],
    Box<[u8]>,
    Arc<[u8]>,
    Cow<'_, [u8]>
);

macro_rules! judged_by_str {
    ($($type:ty),*) => {$(
        impl sealed::Judged for $type {
            fn leaves_trace(&self, _: &mut Verdicts) -> bool {
                let text: &str = self.as_ref();
                leaves_trace(text.as_bytes())
            }
        }
    )*};
}

judged_by_str!(Box<str>, Arc<str>, Cow<'_, str>);

impl sealed::Judged for Statement {
    fn leaves_trace(&self, verdicts: &mut Verdicts) -> bool {
        let judge = || text_of(self).is_none_or(|text| leaves_trace(&text));
        *verdicts.entry(self.id()).or_insert_with(judge)
    }
}

impl<T: sealed::Judged + Clone> sealed::Judged for &T {
    fn leaves_trace(&self, verdicts: &mut Verdicts) -> bool {
        (**self).leaves_trace(verdicts)
    }
}

/// The driver keeps the text of a [`Statement`] to itself, but prints it. Should a later driver
/// print something else, nothing is found and the statement counts as one that leaves a trace:
/// that costs a reset and breaks nothing.
fn text_of(statement: &Statement) -> Option<Vec<u8>> {
    bytes_of(&format!("{statement:?}"))
}

/// Reads `raw_query: [83, 69, …]` out of a debug text.
fn bytes_of(debug: &str) -> Option<Vec<u8>> {
    let (_, rest) = debug.split_once("raw_query: [")?;
    let (list, _) = rest.split_once(']')?;
    list.split(',')
        .map(|number| number.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_from_the_drivers_debug_output() {
        let debug = "Statement { inner: StmtInner { raw_query: [83, 69, 84], columns: None } }";
        assert_eq!(bytes_of(debug).as_deref(), Some(&b"SET"[..]));
    }

    #[test]
    fn a_debug_output_of_another_form_gives_nothing() {
        assert_eq!(bytes_of("Statement { raw_query: \"SET\" }"), None);
        assert_eq!(bytes_of("raw_query: [83, 999]"), None);
        assert_eq!(bytes_of(""), None);
    }

    #[test]
    fn every_form_of_a_text_is_judged_alike() {
        use sealed::Judged;
        let verdicts = &mut Verdicts::new();
        for (text, leaves) in [("SELECT 1", false), ("SET @a = 1", true)] {
            assert_eq!(text.leaves_trace(verdicts), leaves);
            assert_eq!(text.to_owned().leaves_trace(verdicts), leaves);
            let owned = &text.to_owned();
            assert_eq!(owned.leaves_trace(verdicts), leaves);
            assert_eq!(text.as_bytes().leaves_trace(verdicts), leaves);
            assert_eq!(Box::<str>::from(text).leaves_trace(verdicts), leaves);
            assert_eq!(Cow::Borrowed(text).leaves_trace(verdicts), leaves);
        }
    }
}
