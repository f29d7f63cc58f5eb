//! The first questions on a new connection.
//!
//! [`introduce`] gets [`Facts`] in one round trip, and in two more on a member of Group
//! Replication. The [dialler](super::dialler) judges them.
//!
//! Owns the order of the questions. Their text belongs to `questions`. It must never fail because a
//! privilege is missing.

use crate::server::closing_conn::ClosingConn;
use crate::server::facts::{Facts, Group};
use crate::server::questions;
use crate::server::session_kind::SessionKind;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, QueryResult, Row, TextProtocol};

/// "SELECT command denied to user … for table …"
const TABLE_DENIED: u16 = 1142;

/// Sets the session up and asks the server who it is.
pub(crate) async fn introduce(
    conn: &mut ClosingConn,
    kind: SessionKind,
) -> mysql_async::Result<Facts> {
    let text = format!("{}; {}", questions::set_up(kind), questions::question());
    let mut result = conn.get()?.query_iter(text).await?;
    let answer = last_row(&mut result).await?;
    // An error in a later result is reported here.
    result.drop_result().await?;
    let text = |name: &str| answer.as_ref()?.get_opt(name)?.ok();
    let mut facts =
        questions::read(text).map_err(|error| mysql_async::Error::Other(error.into()))?;
    if questions::has_group_plugin(text) {
        facts.group = group(conn.get()?).await?;
    }
    Ok(facts)
}

/// What a server with the plugin of Group Replication says about its group.
async fn group(conn: &mut Conn) -> mysql_async::Result<Option<Group>> {
    let name: Option<Option<String>> = conn.query_first(questions::GROUP_NAME).await?;
    let Some(name) = name.flatten().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let state: mysql_async::Result<Option<Option<String>>> =
        conn.query_first(questions::MEMBER_STATE).await;
    let state = match state {
        Ok(state) => Some(state.flatten().unwrap_or_else(|| "not a member".to_owned())),
        Err(mysql_async::Error::Server(error)) if error.code == TABLE_DENIED => None,
        Err(error) => return Err(error),
    };
    Ok(Some(Group { name, state }))
}

/// The first row of the last result set that has a row.
pub(crate) async fn last_row(
    result: &mut QueryResult<'_, '_, TextProtocol>,
) -> mysql_async::Result<Option<Row>> {
    let mut answer = None;
    while !result.is_empty() {
        let rows: Vec<Row> = result.collect().await?;
        answer = rows.into_iter().next().or(answer);
    }
    Ok(answer)
}
