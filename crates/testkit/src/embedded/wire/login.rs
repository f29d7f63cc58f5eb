//! The greeting and the password check.

use std::io;

use mysql_async::consts::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::HandshakeResponse;
use mysql_common::scramble::scramble_native;

use super::super::refusal::Refusal;
use super::super::server::Server;
use super::packet::Wire;
use super::reply::Status;
use crate::lab::{PASSWORD, USER};

const PLUGIN: &[u8] = b"mysql_native_password";

/// What an accepted client requested in its login.
#[derive(Debug)]
pub(in super::super) struct Login {
    pub(in super::super) database: Option<String>,
    pub(in super::super) found_rows: bool,
}

/// Greets a client and checks its login; `None` if the client was refused or left.
pub(in super::super) async fn login(
    wire: &mut Wire,
    server: &Server,
    id: u32,
) -> io::Result<Option<Login>> {
    // Printable characters only: a zero byte would end the salt early.
    let salt: [u8; 20] = std::array::from_fn(|_| rand::random_range(0x30..0x7f));
    wire.packet(&greeting(server.greeted_version(), id, &salt));
    wire.flush().await?;
    let Some(packet) = wire.read().await? else {
        return Ok(None);
    };
    let response: HandshakeResponse<'_> = ParseBuf(&packet).parse(())?;
    let capabilities = response.capabilities();
    if !capabilities.contains(CapabilityFlags::CLIENT_PROTOCOL_41) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    wire.deprecates_eof = capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
    let mut proof = response.scramble_buf().to_vec();
    let plugin = response.auth_plugin().map(|plugin| plugin.as_bytes());
    if plugin.is_some_and(|plugin| plugin != PLUGIN) {
        wire.packet(&[&[0xfe], PLUGIN, &[0], &salt[..], &[0]].concat());
        wire.flush().await?;
        match wire.read().await? {
            Some(packet) => proof = packet,
            None => return Ok(None),
        }
    }
    let user = String::from_utf8_lossy(response.user()).into_owned();
    let expected = scramble_native(&salt, PASSWORD.as_bytes());
    let is_right = user == USER && expected.is_some_and(|expected| proof == expected);
    let database = response.db_name().map(String::from_utf8_lossy);
    let database = database.filter(|name| !name.is_empty()).map(String::from);
    let outcome = if is_right {
        database
            .as_deref()
            .map_or(Ok(()), |name| server.check_database(name))
    } else {
        let used = if proof.is_empty() { "NO" } else { "YES" };
        Err(Refusal::new(
            1045,
            format!("Access denied for user '{user}'@'127.0.0.1' (using password: {used})"),
        ))
    };
    if let Err(refusal) = outcome {
        wire.error(&refusal);
        wire.flush().await?;
        return Ok(None);
    }
    wire.ok(0, 0, Status::fresh());
    wire.flush().await?;
    Ok(Some(Login {
        database,
        found_rows: capabilities.contains(CapabilityFlags::CLIENT_FOUND_ROWS),
    }))
}

fn greeting(version: &str, id: u32, salt: &[u8; 20]) -> Vec<u8> {
    // CLIENT_LONG_PASSWORD signals that MariaDB's own extensions are not supported.
    let capabilities = CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_FOUND_ROWS
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_MULTI_STATEMENTS
        | CapabilityFlags::CLIENT_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PS_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_CONNECT_ATTRS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_DEPRECATE_EOF;
    let [low_0, low_1, high_0, high_1] = capabilities.bits().to_le_bytes();
    let status = StatusFlags::SERVER_STATUS_AUTOCOMMIT.bits().to_le_bytes();
    let mut packet = vec![10];
    packet.extend(version.bytes());
    packet.push(0);
    packet.extend(id.to_le_bytes());
    packet.extend(&salt[..8]);
    packet.extend([0, low_0, low_1, super::reply::UTF8MB4]);
    packet.extend(status);
    packet.extend([high_0, high_1, 21]);
    packet.extend([0; 10]);
    packet.extend(&salt[8..]);
    packet.push(0);
    packet.extend(PLUGIN);
    packet.push(0);
    packet
}
