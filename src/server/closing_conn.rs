//! One connection of the driver.
//!
//! Owns how the connection ends. It must never wait for the server when it is dropped.

use mysql_async::Conn;

/// A driver connection that is closed, not cleaned up, when dropped.
///
/// The driver's own drop reads the rest of a result in a detached task, for as long as that takes
/// (seen: 8 s). This drop sends a farewell if that is possible without waiting, and closes the
/// socket.
pub(crate) struct ClosingConn(Option<Conn>);

impl ClosingConn {
    pub(crate) fn new(conn: Conn) -> Self {
        Self(Some(conn))
    }

    /// The rest of a connection that was moved to another owner.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// The connection, or an error after [`ClosingConn::close`].
    pub(crate) fn get(&mut self) -> mysql_async::Result<&mut Conn> {
        let gone = mysql_async::Error::Driver(mysql_async::DriverError::ConnectionClosed);
        self.0.as_mut().ok_or(gone)
    }

    pub(crate) fn peek(&self) -> Option<&Conn> {
        self.0.as_ref()
    }

    /// Closes the connection at once, whatever state it is in.
    pub(crate) fn close(&mut self) {
        use futures_util::FutureExt;
        if let Some(conn) = self.0.take() {
            // The first poll marks the connection as closed, so that the driver's own drop does
            // nothing more.
            let _ = conn.disconnect().now_or_never();
        }
    }
}

impl Drop for ClosingConn {
    fn drop(&mut self) {
        self.close();
    }
}
