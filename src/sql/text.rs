//! The text of a statement that is about to be prepared and executed.
//!
//! [`SqlText`] gives the text of everything that the driver takes as a statement. For a
//! [`Statement`], the text is looked up among those that its connection has prepared.
//!
//! Owns this access to the text. It must never guess a text.
//!
//! The driver's own trait `StatementLike` does not show the text, so code that is generic over
//! `Queryable` costs a reset of the session on return. The methods of [`PodConn`] and [`Tx`] take
//! [`SqlText`] instead, which shows the text.
//!
//! [`PodConn`]: crate::conn::podconn::PodConn
//! [`Tx`]: crate::conn::tx::Tx

use mysql_async::Statement;
use mysql_async::prelude::StatementLike;
use std::borrow::Cow;
use std::sync::Arc;

/// The statement as the caller gave it.
#[derive(Debug)]
pub enum Given<'a> {
    /// A text. The library prepares it, unless it is already prepared.
    Text(&'a [u8]),
    /// A statement that the caller prepared.
    Ready(&'a Statement),
}

/// The statement after the look-up among the prepared ones.
#[derive(Debug)]
pub(crate) enum Recalled<'a> {
    Prepared(Statement),
    Text(&'a [u8]),
}

/// A statement whose text can be read: strings, bytes, and statements prepared with
/// [`prep`](mysql_async::prelude::Queryable::prep).
///
/// Sealed: implemented for the types that the driver takes as statements.
pub trait SqlText: StatementLike + sealed::Shown {}

impl<S: StatementLike + sealed::Shown> SqlText for S {}

pub(crate) mod sealed {
    use super::Given;

    pub trait Shown {
        #[doc(hidden)]
        fn given(&self) -> Given<'_>;
    }
}

macro_rules! shown_as_bytes {
    ($($type:ty),*) => {$(
        impl sealed::Shown for $type {
            fn given(&self) -> Given<'_> {
                Given::Text(self.as_ref())
            }
        }
    )*};
}

shown_as_bytes!(
    &str,
    String,
    Vec<u8>,
    &[u8],
    Box<[u8]>,
    Arc<[u8]>,
    Cow<'_, [u8]>
);

macro_rules! shown_as_str {
    ($($type:ty),*) => {$(
        impl sealed::Shown for $type {
            fn given(&self) -> Given<'_> {
                let text: &str = self.as_ref();
                Given::Text(text.as_bytes())
            }
        }
    )*};
}

shown_as_str!(Box<str>, Arc<str>, Cow<'_, str>);

impl sealed::Shown for Statement {
    fn given(&self) -> Given<'_> {
        Given::Ready(self)
    }
}

impl<T: sealed::Shown + Clone> sealed::Shown for &T {
    fn given(&self) -> Given<'_> {
        (**self).given()
    }
}
