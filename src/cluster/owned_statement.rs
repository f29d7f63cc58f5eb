//! One statement of a route.
//!
//! Owns the statement, so that it can be repeated, and the classification of its text. It must
//! never decide about a repetition: that depends on how the statement ended, and the route decides
//! it.

use crate::conn::podconn::PodConn;
use crate::conn::rows::More;
use crate::sql::reading::Reading;
use futures_util::FutureExt;
use mysql_async::Params;
use mysql_async::prelude::{AsQuery, FromRow};

/// One statement, owned, so that it can be repeated.
pub(super) enum OwnedStatement {
    Text(Vec<u8>),
    Prepared(Vec<u8>, Params),
    Batch(Vec<u8>, Vec<Params>),
}

impl OwnedStatement {
    pub(super) fn text(sql: impl AsQuery) -> Self {
        Self::Text(sql.as_query().into_owned())
    }

    pub(super) fn prepared(sql: impl AsQuery, params: impl Into<Params>) -> Self {
        Self::Prepared(sql.as_query().into_owned(), params.into())
    }

    /// The classification of its text; `None` for a batch, because some of its rows may have been
    /// executed.
    pub(super) fn reading(&self) -> Option<Reading> {
        match self {
            Self::Text(sql) | Self::Prepared(sql, _) => Some(Reading::of(sql)),
            Self::Batch(..) => None,
        }
    }

    /// Runs the statement and passes the rows of the first result set to `each`.
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
                // Boxed, so that the future of the other, more frequent kinds stays small.
                conn.exec_batch(sql.as_slice(), params).boxed().await
            }
        }
    }
}
