//! How a URL spells the values of options.
//!
//! Owns the spelling, and the words of an error that says what would be right.

use super::{Choice, ConfigError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const DURATION: &str = "use a number and ms, s or m, such as 500ms";
const NAME_SERVERS: &str = "use address:port, separated by commas, such as 10.96.0.10:53";

/// Any text.
pub(super) fn text(_: &'static str, value: &str) -> Result<String, ConfigError> {
    Ok(value.to_owned())
}

/// The number of a pod.
pub(super) fn small(option: &'static str, value: &str) -> Result<u32, ConfigError> {
    let number = number(option, value)?.try_into();
    number.map_err(|_| invalid(option, value, "use the first pod's number"))
}

/// A percentage.
pub(super) fn percent(option: &'static str, value: &str) -> Result<u8, ConfigError> {
    let number = number(option, value)?.try_into();
    number.map_err(|_| invalid(option, value, "use a number from 1 to 100"))
}

/// `ordinal:weight`, separated by commas.
pub(super) fn weights(
    option: &'static str,
    value: &str,
) -> Result<BTreeMap<u32, u32>, ConfigError> {
    read_weights(value).ok_or_else(|| invalid(option, value, WEIGHTS))
}

/// `address:port`, separated by commas.
pub(super) fn name_servers(
    option: &'static str,
    value: &str,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let servers: Result<_, _> = value.split(',').map(str::parse).collect();
    servers.map_err(|_| invalid(option, value, NAME_SERVERS))
}

/// Domains, separated by commas; none is an empty list.
pub(super) fn domains(_: &'static str, value: &str) -> Result<Vec<String>, ConfigError> {
    let domains = value.split(',').filter(|domain| !domain.is_empty());
    Ok(domains.map(str::to_owned).collect())
}

/// `500ms`, `2s`, `1m`.
pub(super) fn duration(option: &'static str, value: &str) -> Result<Duration, ConfigError> {
    read_duration(value).ok_or_else(|| invalid(option, value, DURATION))
}

fn read_duration(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = value.split_at(digits);
    let count = count.parse::<u64>().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        _ => None,
    }
}

/// A duration, or `none`.
pub(super) fn limit(option: &'static str, value: &str) -> Result<Option<Duration>, ConfigError> {
    const WANTED: &str = "use a number and ms, s or m, or none";
    if value == "none" {
        return Ok(None);
    }
    let limit = read_duration(value).ok_or_else(|| invalid(option, value, WANTED));
    limit.map(Some)
}

/// A whole number.
pub(super) fn number(option: &'static str, value: &str) -> Result<usize, ConfigError> {
    value
        .parse()
        .map_err(|_| invalid(option, value, "use a whole number such as 16"))
}

const WEIGHTS: &str = "use one ordinal:weight for each pod, such as 1:2,2:1";

fn read_weights(value: &str) -> Option<BTreeMap<u32, u32>> {
    let mut weights = BTreeMap::new();
    for pair in value.split(',') {
        let (ordinal, weight) = pair.split_once(':')?;
        let twice = weights.insert(ordinal.parse().ok()?, weight.parse().ok()?);
        if twice.is_some() {
            return None;
        }
    }
    Some(weights)
}

/// One of the words of a choice.
pub(super) fn choice<C: Choice>(option: &'static str, value: &str) -> Result<C, ConfigError> {
    let known = C::SPELLINGS.iter().find(|(spelling, _)| *spelling == value);
    known
        .map(|(_, choice)| *choice)
        .ok_or_else(|| invalid(option, value, C::WANTED))
}

fn invalid(option: &'static str, given: &str, wanted: &'static str) -> ConfigError {
    ConfigError::Value {
        option,
        given: given.to_owned(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_fit() {
        let ok = |value| duration("x", value).unwrap();
        assert_eq!(ok("500ms"), Duration::from_millis(500));
        assert_eq!(ok("2s"), Duration::from_secs(2));
        assert_eq!(ok("1m"), Duration::from_secs(60));
        for bad in [
            "", "5", "s", "-1s", "+1s", "1.5s", "1 s", "1h", "1M", "é", "١s",
        ] {
            assert!(duration("x", bad).is_err(), "{bad}");
        }
        assert!(duration("x", "18446744073709551615m").is_err());
        assert!(duration("x", "18446744073709551616ms").is_err());
    }
}
