//! Text statements of a checked-out connection.
//!
//! Owns their execution, each as one protected operation. It must never send a text that was not
//! checked.

use crate::conn::podconn::PodConn;
use crate::conn::rows::{Answer, More, read};
use futures_util::FutureExt;
use mysql_async::prelude::{AsQuery, FromRow, Queryable};
use mysql_async::{QueryResult, TextProtocol};
use std::pin::pin;

impl PodConn {
    /// Runs a text statement and reads all its rows.
    pub(crate) async fn text<Q, T>(
        &mut self,
        query: Q,
        mut each: impl FnMut(T) -> More + Send,
    ) -> mysql_async::Result<()>
    where
        Q: AsQuery,
        T: FromRow,
    {
        if !self.is_ready() {
            if self.may_ride(&query.as_query()) {
                let statement = query.as_query();
                // Boxed: it is rare, and would make every operation's future larger.
                if let Some(done) = Box::pin(self.ride(&statement, &mut each)).await {
                    return done;
                }
            }
            self.make_ready().await?;
        }
        self.admit(&query.as_query())?;
        if self.session_mut().must_precede(false) {
            // Boxed: it is rare, and would make every operation's future larger.
            self.precede(false).boxed().await?;
        }
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        // Pinned here: it is large, and each inner call would copy it.
        let operation = pin!(async {
            read(conn.query_iter(query).await?, each).await?;
            Ok(Answer::of(conn))
        });
        let answer = session.run(deadline, operation).await?;
        session.answered(deadline.sent);
        session.took(answer);
        Ok(())
    }

    /// Runs a text statement, and hands out its rows unread.
    pub(crate) async fn text_result<'a, Q: AsQuery + 'a>(
        &'a mut self,
        query: Q,
    ) -> mysql_async::Result<QueryResult<'a, 'static, TextProtocol>> {
        self.ready().await?;
        self.admit(&query.as_query())?;
        if self.session_mut().must_precede(true) {
            self.precede(true).await?;
        }
        let (conn, session) = self.split()?;
        session.will_stream();
        let deadline = session.deadline();
        session.run(deadline, conn.query_iter(query)).await
    }
}
