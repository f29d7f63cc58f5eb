//! Parses the connection URL into a [`Config`]:
//!
//! ```text
//! mysql://user[:password]@service[:port][/database][?option=value&...]
//! ```
//!
//! `mariadb://` means the same. User, password and database are percent-decoded. An option is
//! called as its getter: `connect_timeout=500ms` is [`Config::with_connect_timeout`]. Values:
//!
//! | kind | spelled |
//! |---|---|
//! | a length of time | `500ms`, `2s`, `1m`; `none` where there may be none |
//! | a number, a percentage | `16` |
//! | yes or no | `true`, `false` |
//! | a choice | as its type says: `replica_policy=prefer-replica` is [`ReplicaPolicy`] |
//! | several values | separated by commas: `weights=1:2,2:1`, `name_servers=10.96.0.10:53` |
//! | encryption | `sslmode=verify-ca`, with `ssl_ca`, `ssl_cert` and `ssl_key` as paths |
//!
//! The README lists all of them.
//!
//! [`ReplicaPolicy`]: crate::config::ReplicaPolicy
//!
//! MySQL's spellings `ssl-mode=VERIFY_CA`, `ssl-ca`, `ssl-cert` and `ssl-key` mean the same.
//!
//! An error must never quote a text before this module has proven that the text cannot contain any
//! part of a password.

mod options;

use std::str::FromStr;

use ::url::Host;
use percent_encoding::percent_decode_str;

use crate::config::{Config, ConfigError};

/// Reads a connection URL. The result is validated.
///
/// A password may contain unescaped `:` and `@` (it ends at the last `@` before the host), but `/`,
/// `?`, `#` and `%` must be written as `%2F`, `%3F`, `%23` and `%25`.
///
/// # Errors
///
/// If the URL is wrong. The error quotes the wrong part, but never any part of the password.
///
/// ```
/// let config = headless_mysql::url::parse("mysql://app:secret@mysql.default/shop?reset=always")?;
/// assert!(headless_mysql::url::parse("mysql://mysql.default/shop").is_err()); // no user
/// # Ok::<(), headless_mysql::ConfigError>(())
/// ```
pub fn parse(url: &str) -> Result<Config, ConfigError> {
    let parts = Parts::split(url)?;
    let host = parts.host;
    if let Err(error) = Host::parse_opaque(host) {
        return Err(ConfigError::Host {
            given: host.to_owned(),
            reason: error.to_string(),
        });
    }
    let mut config = Config::new(host, decode("user", parts.user)?);
    if let Some(port) = parts.port {
        config = config.with_port(read_port(port)?);
    }
    if let Some(database) = read_database(parts.path)? {
        config = config.with_database(database);
    }
    let mut config = options::apply(config, parts.query)?;
    // Checked after the options: after an unknown option `password=`, the fragment could be the end
    // of that password.
    if let Some(fragment) = parts.fragment {
        return Err(ConfigError::Fragment {
            given: format!("#{fragment}"),
        });
    }
    // Set last, so that no earlier error can contain it.
    if let Some(password) = parts.password {
        config = config.with_password(decode_password(password)?);
    }
    config.validate()?;
    Ok(config)
}

/// The raw parts of a URL. No part except `password` contains any part of the password.
struct Parts<'a> {
    user: &'a str,
    password: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    query: &'a str,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits a URL. The proof that no error quotes a password: the last `@` of the whole text ends
    /// the user information. That `@` is found before any part except the scheme is quoted. If
    /// there is no such `@`, or if it could be part of a password, the error quotes nothing.
    fn split(url: &'a str) -> Result<Self, ConfigError> {
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let reason = "it holds white space or control characters";
            return Err(ConfigError::NotAUrl { reason });
        }
        let rest = strip_scheme(url)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(ConfigError::Unescaped);
        }
        let Some((info, address)) = authority.rsplit_once('@') else {
            return Err(ConfigError::MissingUser);
        };
        let (user, password) = match info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (info, None),
        };
        if user.is_empty() {
            return Err(ConfigError::MissingUser);
        }
        if address.contains(',') {
            return Err(ConfigError::SeveralHosts {
                given: address.to_owned(),
            });
        }
        let (host, port) = split_port(address);
        if host.is_empty() {
            return Err(ConfigError::MissingHost);
        }
        let (tail, fragment) = match tail.split_once('#') {
            Some((tail, fragment)) => (tail, Some(fragment)),
            None => (tail, None),
        };
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        Ok(Self {
            user,
            password,
            host,
            port,
            path,
            query,
            fragment,
        })
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    /// The same as [`parse`].
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        parse(url)
    }
}

fn strip_scheme(url: &str) -> Result<&str, ConfigError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(ConfigError::NotAUrl {
            reason: "it has no `://`",
        });
    };
    if ["mysql", "mariadb"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Ok(rest);
    }
    // In `app:pass://word@host`, which lacks a scheme, the text before `://` contains a part of
    // the password.
    let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    Err(if well_formed {
        ConfigError::Scheme {
            given: scheme.to_owned(),
        }
    } else {
        ConfigError::NotAUrl {
            reason: "it does not start with a scheme",
        }
    })
}

/// Splits host and port. Colons in brackets, as in `[::1]:3306`, belong to the host.
fn split_port(address: &str) -> (&str, Option<&str>) {
    let host_end = if address.starts_with('[') {
        address.find(']').unwrap_or(0)
    } else {
        0
    };
    match address[host_end..].find(':') {
        Some(colon) => {
            let (host, port) = address.split_at(host_end + colon);
            (host, Some(&port[1..]))
        }
        None => (address, None),
    }
}

fn read_port(given: &str) -> Result<u16, ConfigError> {
    let digits = given.bytes().all(|byte| byte.is_ascii_digit());
    match given.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(ConfigError::Port {
            given: given.to_owned(),
        }),
    }
}

fn read_database(path: &str) -> Result<Option<String>, ConfigError> {
    let name = path.strip_prefix('/').unwrap_or(path);
    if name.contains('/') {
        return Err(ConfigError::Path {
            given: path.to_owned(),
        });
    }
    let name = decode("database", name)?;
    Ok((!name.is_empty()).then_some(name))
}

/// Decodes percent-encoding, and refuses malformed escapes, which the `percent-encoding` crate
/// would keep as they are.
fn decode(part: &'static str, raw: &str) -> Result<String, ConfigError> {
    let malformed = |given: &str| ConfigError::PercentEncoding {
        part,
        given: Some(given.to_owned()),
    };
    for (at, _) in raw.match_indices('%') {
        let escape: &str = prefix(&raw[at..], 3);
        let hex = escape.len() == 3 && escape.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Err(malformed(escape));
        }
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(malformed(raw)),
    }
}

fn decode_password(raw: &str) -> Result<String, ConfigError> {
    const PART: &str = "password";
    decode(PART, raw).map_err(|_| ConfigError::PercentEncoding {
        part: PART,
        given: None,
    })
}

/// The first `count` characters, or all of a shorter text.
fn prefix(text: &str, count: usize) -> &str {
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests;
