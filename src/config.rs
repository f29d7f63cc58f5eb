//! The options of a cluster.
//!
//! [`Config::new`] sets the defaults, the `with_*` methods change them, and [`Config::validate`]
//! checks them. This module owns the defaults and the meaning of the options. It must never use
//! the network: a valid [`Config`] may name a Service that does not exist.
//!
//! # Every wait on the network and its limit
//!
//! | wait | default | the setting, or why the limit is fixed |
//! |---|---|---|
//! | first DNS answer in `connect` | 10 s | [`Config::with_connect_wait`]: the Service may be younger than the application |
//! | one look-up by DNS | 5 s | the old pods stay in use meanwhile |
//! | one look-up by your own [`Resolve`](crate::discovery::Resolve) | 10 s | the default of [`RefreshConfig`](crate::topology::RefreshConfig); a resolver should have its own limit |
//! | connect: TCP, greeting, login and first questions together | 2 s | [`Config::with_connect_timeout`]: covers one lost SYN packet |
//! | checkout of the primary: queueing, checking and connecting, all attempts together | 30 s | [`Config::with_checkout_timeout`], [`Route::deadline`](crate::Route::deadline): a primary that Kubernetes restarts is unavailable for 6 to 21 s |
//! | checkout for a read: the same parts | 5 s | [`Config::with_read_checkout_timeout`], [`Route::deadline`](crate::Route::deadline): another pod serves the read at once, so a longer wait means that no pod can |
//! | an operation with all its rows; BEGIN, COMMIT, ROLLBACK, a ping or PREPARE | 30 s | [`Config::with_statement_timeout`], [`Route::deadline`](crate::Route::deadline), [`PodConn::set_statement_timeout`](crate::PodConn::set_statement_timeout): longer than any statement of an interactive application should take |
//! | each row of `*_iter` and `*_stream` | none | these are the driver's own types; the caller must limit them |
//! | questions to pods about their state: to the replicas before the first write; to every pod each second with [`PrimaryBy::Detected`] | 1 s for all pods together | a silent pod must not delay a write for longer; a login that takes longer continues, up to the connect timeout, and its answer counts the next time |
//! | an operation without an answer, until its pod is asked whether it is alive | a third of its time, 200 ms to 1 s; the same time for the answer (or twice the last login, if that is longer) | a read on a dead pod needs time left for another pod |
//! | ping, or the questions on an idle connection before its use | 200 ms (or twice the last login, if that is longer); then an inquiry on another connection, with the same limit | a round trip is expected to take less than 100 ms |
//! | reading the rest of an unread result | 1 s, within the deadline of the operation that finds it | reading for longer costs more than another connection |
//! | cleaning a connection that came back: reset, ROLLBACK | 2 s | no call waits for it, but its slot stays taken |
//! | side connection that stops a statement | 1 s to connect (twice the last login, if that took longer than 500 ms; the connect timeout at most), 1 s for each question | it is the probe of a suspect pod as well; the slot stays taken until the statement's thread is gone |
//! | opening or checking a connection that is kept warm | as for any other | no call waits for it |
//! | a probe of an ejected pod | the checkout's timeout | in a task of its own |
//! | close of a connection | none | there is no wait: the quit message is sent only if the socket accepts it at once |
//! | `shutdown` | the deadline given | [`Cluster::shutdown`](crate::Cluster::shutdown) |

mod choice;
mod error;
mod options;
mod own;
mod secret;
mod spelling;
mod tls;
mod validate;

pub(crate) use self::{choice::Choice, tls::Tls};
pub use self::{
    choice::{ColdStart, PrimaryBy, ReadFrom, ReplicaPolicy, Reset, SslMode, TwoPrimaries, Verify},
    error::ConfigError,
    options::Config,
    secret::Secret,
};
