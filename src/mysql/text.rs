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

use super::lease::Trace;
use super::statements::Given;
use super::trace::leaves_trace;
use mysql_async::Statement;
use mysql_async::prelude::StatementLike;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Verdicts on the prepared statements of one connection, by their id. (An empty one costs nothing,
/// which each checkout has.)
pub(crate) type Verdicts = BTreeMap<u32, Trace>;

/// A statement whose text can be read: strings, bytes, and statements prepared with
/// [`prep`](mysql_async::prelude::Queryable::prep).
///
/// Sealed: implemented for the types the driver takes as statements.
pub trait SqlText: StatementLike + sealed::Judged {}

impl<S: StatementLike + sealed::Judged> SqlText for S {}

pub(crate) mod sealed {
    use super::{Given, Trace, Verdicts};

    /// What running it may leave in the session.
    pub trait Judged {
        #[doc(hidden)]
        fn trace(&self, verdicts: &mut Verdicts) -> Trace;

        #[doc(hidden)]
        fn given(&self) -> Given<'_>;
    }
}

/// What a statement may leave, as far as its text tells.
pub(super) fn trace_of(statement: &[u8]) -> Trace {
    if leaves_trace(statement) {
        Trace::Session
    } else if has_returning(statement) {
        Trace::Diagnostics
    } else {
        Trace::Nothing
    }
}

/// The answer to `INSERT … RETURNING` is rows, which do not carry the insert id. Wherever the word
/// stands: that it is only the name of a column costs a round trip and breaks nothing.
fn has_returning(statement: &[u8]) -> bool {
    const RETURNING: &[u8] = b"RETURNING";
    let mut places = statement.windows(RETURNING.len());
    places.any(|place| place.eq_ignore_ascii_case(RETURNING))
}

macro_rules! judged_by_bytes {
    ($($type:ty),*) => {$(
        impl sealed::Judged for $type {
            fn trace(&self, _: &mut Verdicts) -> Trace {
                let bytes: &[u8] = self.as_ref();
                trace_of(bytes)
            }

            fn given(&self) -> Given<'_> {
                Given::Text(self.as_ref())
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
            fn trace(&self, _: &mut Verdicts) -> Trace {
                let text: &str = self.as_ref();
                trace_of(text.as_bytes())
            }

            fn given(&self) -> Given<'_> {
                let text: &str = self.as_ref();
                Given::Text(text.as_bytes())
            }
        }
    )*};
}

judged_by_str!(Box<str>, Arc<str>, Cow<'_, str>);

impl sealed::Judged for Statement {
    fn trace(&self, verdicts: &mut Verdicts) -> Trace {
        let judge = || text_of(self).map_or(Trace::Session, |text| trace_of(&text));
        *verdicts.entry(self.id()).or_insert_with(judge)
    }

    fn given(&self) -> Given<'_> {
        Given::Ready(self)
    }
}

impl<T: sealed::Judged + Clone> sealed::Judged for &T {
    fn trace(&self, verdicts: &mut Verdicts) -> Trace {
        (**self).trace(verdicts)
    }

    fn given(&self) -> Given<'_> {
        (**self).given()
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
        for (text, leaves) in [
            ("SELECT 1", Trace::Nothing),
            ("INSERT INTO t VALUES (1) returning id", Trace::Diagnostics),
            ("SET @a = 1", Trace::Session),
        ] {
            assert_eq!(text.trace(verdicts), leaves);
            assert_eq!(text.to_owned().trace(verdicts), leaves);
            let owned = &text.to_owned();
            assert_eq!(owned.trace(verdicts), leaves);
            assert_eq!(text.as_bytes().trace(verdicts), leaves);
            assert_eq!(Box::<str>::from(text).trace(verdicts), leaves);
            assert_eq!(Cow::Borrowed(text).trace(verdicts), leaves);
        }
    }
}
