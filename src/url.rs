//! Owns the grammar of the connection URL:
//!
//! ```text
//! mysql://user[:password]@service[:port][/database][?option=value&...]
//! ```
//!
//! `mariadb://` means the same. User, password and database are percent-decoded. Options:
//!
//! | option | value | see |
//! |---|---|---|
//! | `statefulset` | a name | [`Config::with_statefulset`] |
//! | `connect_timeout` | `500ms`, `2s`, `1m` | [`Config::with_connect_timeout`] |
//! | `checkout_timeout` | likewise | [`Config::with_checkout_timeout`] |
//! | `statement_timeout` | likewise, or `none` | [`Config::with_statement_timeout`] |
//! | `max_connections` | a number | [`Config::with_max_connections`] |
//! | `replica_policy` | `prefer-replica`, `replica-only`, `any` | [`Config::with_replica_policy`] |
//! | `verify` | `auto`, `strict`, `off` | [`Config::with_verify`] |
//! | `reset` | `auto`, `always`, `never` | [`Config::with_reset`] |
//! | `read_retry` | `true`, `false` | [`Config::with_read_retry`] |
//! | `port_name` | a name | [`Config::with_port_name`] |
//! | `allow_alias` | `true`, `false` | [`Config::with_allow_alias`] |
//! | `replica_service` | a Service, as the host | [`Config::with_replica_service`] |
//! | `primary` | `ordinal`, `detected` | [`Config::with_primary`] |
//! | `two_primaries` | `refuse`, `keep` | [`Config::with_two_primaries`] |
//! | `cold_start` | `compare`, `trust` | [`Config::with_cold_start`] |
//! | `password_file` | a path | [`Config::with_password_file`] |
//! | `sslmode` | `disabled`, `preferred`, `required`, `verify-ca`, `verify-identity` | [`Config::with_ssl_mode`] |
//! | `ssl_ca` | a path | [`Config::with_ssl_ca`] |
//! | `ssl_cert`, `ssl_key` | paths | [`Config::with_ssl_identity`] |
//! | `tls_name` | a name, also with `{host}`, `{pod}`, `{service}` | [`Config::with_tls_name`] |
//! | `kill_query` | `true`, `false` | [`Config::with_kill_query`] |
//! | `min_connections` | a number | [`Config::with_min_connections`] |
//! | `max_share` | a percentage | [`Config::with_max_share`] |
//! | `max_lifetime` | a duration, or `none` | [`Config::with_max_lifetime`] |
//! | `statement_cache` | a number | [`Config::with_statement_cache`] |
//! | `pace` | `true`, `false` | [`Config::with_pace`] |
//! | `weights` | `ordinal:weight`, separated by commas: `1:2,2:1` | [`Config::with_weights`] |
//!
//! MySQL's spellings `ssl-mode=VERIFY_CA`, `ssl-ca`, `ssl-cert` and `ssl-key` mean the same.
//!
//! This module must never quote a text in an error before it has proven that no password can be
//! part of it.

mod options;

use std::str::FromStr;

use ::url::Host;
use percent_encoding::percent_decode_str;

use crate::config::{Config, ConfigError};

/// Reads a connection URL. The result is validated.
///
/// A password may hold unescaped `:` and `@` (the last `@` in front of the host counts), but `/`,
/// `?`, `#` and `%` have to be written as `%2F`, `%3F`, `%23` and `%25`.
///
/// # Errors
///
/// What is wrong, quoting the offending part, but never any part of the password.
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
    // After the options: behind an unknown `password=` it would be the end of that password.
    if let Some(fragment) = parts.fragment {
        return Err(ConfigError::Fragment {
            given: format!("#{fragment}"),
        });
    }
    // Last, so that no earlier error can have seen it.
    if let Some(password) = parts.password {
        config = config.with_password(decode_password(password)?);
    }
    config.validate()?;
    Ok(config)
}

/// The raw parts of a URL. Every part but the password is known to hold nothing of it.
struct Parts<'a> {
    user: &'a str,
    password: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    query: &'a str,
    fragment: Option<&'a str>,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// The proof: the last `@` of the whole text ends the user information. It is found before
    /// anything but the scheme is quoted; if there is none, or if it stands where it cannot be
    /// told from one in a password, the error quotes nothing.
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
    // `app:pass://word@host` without its scheme: what stands before `://` is a password's.
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

/// `[::1]:3306` keeps its colons in the host.
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

/// Strict: the `percent-encoding` crate passes a malformed escape through.
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

/// The first `count` characters, or all.
fn prefix(text: &str, count: usize) -> &str {
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests;
