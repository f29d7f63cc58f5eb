//! One statement of a route.
//!
//! Owns the statement, so that it can be run again, and the judgement whether it may be. It must
//! never decide that it is: that depends on what happened to it, which the route knows.

use crate::mysql::{More, PodConn, leaves_trace};
use futures_util::FutureExt;
use mysql_async::Params;
use mysql_async::prelude::{AsQuery, FromRow};

/// One statement, owned, so that it can be run again.
pub(super) enum Work {
    Text(Vec<u8>),
    Prepared(Vec<u8>, Params),
    Batch(Vec<u8>, Vec<Params>),
}

impl Work {
    pub(super) fn text(sql: impl AsQuery) -> Self {
        Self::Text(sql.as_query().into_owned())
    }

    pub(super) fn prepared(sql: impl AsQuery, params: impl Into<Params>) -> Self {
        Self::Prepared(sql.as_query().into_owned(), params.into())
    }

    /// Whether it is one statement that does nothing but read or write rows: no CALL, SET, KILL or
    /// lock. In a session that cannot write, running it twice is then the same as running it once;
    /// and a server that refuses it as read-only has executed nothing of it.
    pub(super) fn is_plain(&self) -> bool {
        match self {
            Self::Text(sql) | Self::Prepared(sql, _) => !leaves_trace(sql),
            Self::Batch(..) => false,
        }
    }

    /// Gives the rows of the first result set to `each`.
    pub(super) async fn run<T: FromRow>(
        &self,
        conn: &mut PodConn,
        each: impl FnMut(T) -> More + Send,
    ) -> mysql_async::Result<()> {
        match self {
            Self::Text(sql) => conn.text(sql.as_slice(), each).await,
            Self::Prepared(sql, params) => conn.known(sql.as_slice(), params.clone(), each).await,
            Self::Batch(sql, params) => {
                let params = params.iter().cloned();
                // Boxed: the others are many, and need not be as large.
                conn.exec_batch(sql.as_slice(), params).boxed().await
            }
        }
    }
}
