//! Owns the options after the `?` of a connection URL: their names, their values' spelling, and
//! what to say to a mistyped one. It must never see the user information.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::decode;
use crate::config::{Choice, Config, ConfigError};

pub(super) type Apply = fn(&'static str, Config, &str) -> Result<Config, ConfigError>;

pub(super) const OPTIONS: &[(&str, Apply)] = &[
    ("statefulset", |_, config, value| {
        Ok(config.with_statefulset(value))
    }),
    ("connect_timeout", |name, config, value| {
        Ok(config.with_connect_timeout(duration(name, value, DURATION)?))
    }),
    ("checkout_timeout", |name, config, value| {
        Ok(config.with_checkout_timeout(duration(name, value, DURATION)?))
    }),
    ("statement_timeout", |name, config, value| {
        let limit = limit(name, value)?;
        Ok(config.with_statement_timeout(limit))
    }),
    ("max_connections", |name, config, value| {
        Ok(config.with_max_connections(number(name, value)?))
    }),
    ("replica_policy", |name, config, value| {
        Ok(config.with_replica_policy(choice(name, value)?))
    }),
    ("verify", |name, config, value| {
        Ok(config.with_verify(choice(name, value)?))
    }),
    ("reset", |name, config, value| {
        Ok(config.with_reset(choice(name, value)?))
    }),
    ("read_retry", |name, config, value| {
        Ok(config.with_read_retry(choice(name, value)?))
    }),
    ("port_name", |_, config, value| {
        Ok(config.with_port_name(value))
    }),
    ("allow_alias", |name, config, value| {
        Ok(config.with_allow_alias(choice(name, value)?))
    }),
    ("replica_service", |_, config, value| {
        Ok(config.with_replica_service(value))
    }),
    ("primary", |name, config, value| {
        Ok(config.with_primary(choice(name, value)?))
    }),
    ("two_primaries", |name, config, value| {
        Ok(config.with_two_primaries(choice(name, value)?))
    }),
    ("cold_start", |name, config, value| {
        Ok(config.with_cold_start(choice(name, value)?))
    }),
    ("kill_query", |name, config, value| {
        Ok(config.with_kill_query(choice(name, value)?))
    }),
    ("min_connections", |name, config, value| {
        Ok(config.with_min_connections(number(name, value)?))
    }),
    ("max_share", |name, config, value| {
        let percent = number(name, value)?.try_into();
        let percent = percent.map_err(|_| invalid(name, value, "use a number from 1 to 100"));
        Ok(config.with_max_share(percent?))
    }),
    ("max_lifetime", |name, config, value| {
        let limit = limit(name, value)?;
        Ok(config.with_max_lifetime(limit))
    }),
    ("statement_cache", |name, config, value| {
        Ok(config.with_statement_cache(number(name, value)?))
    }),
    ("pace", |name, config, value| {
        Ok(config.with_pace(choice(name, value)?))
    }),
    ("weights", |name, config, value| {
        let weights = weights(value);
        let weights = weights.ok_or_else(|| invalid(name, value, WEIGHTS));
        Ok(config.with_weights(weights?))
    }),
    ("password_file", |_, config, value| {
        Ok(config.with_password_file(value))
    }),
    ("sslmode", |name, config, value| {
        Ok(config.with_ssl_mode(choice(name, value)?))
    }),
    ("ssl_ca", |_, config, value| Ok(config.with_ssl_ca(value))),
    ("ssl_cert", |_, mut config, value| {
        config.tls.cert = Some(value.into());
        Ok(config)
    }),
    ("ssl_key", |_, mut config, value| {
        config.tls.key = Some(value.into());
        Ok(config)
    }),
    ("tls_name", |_, config, value| {
        Ok(config.with_tls_name(value))
    }),
];

/// Other spellings, as in the URLs of MySQL's own tools.
const ALIASES: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl_mode", "sslmode"),
    ("ssl-ca", "ssl_ca"),
    ("ssl-cert", "ssl_cert"),
    ("ssl-key", "ssl_key"),
];

/// The names, as errors list them.
static KNOWN: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
});
const DURATION: &str = "use a number and ms, s or m, such as 500ms";

/// Applies `name=value&name=value`.
pub(super) fn apply(mut config: Config, query: &str) -> Result<Config, ConfigError> {
    let mut seen = vec![false; OPTIONS.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode("name of an option", name)?;
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let wanted = alias.map_or(name.as_str(), |(_, meant)| *meant);
        let Some(index) = OPTIONS.iter().position(|(known, _)| *known == wanted) else {
            let nearest = nearest(&name);
            return Err(ConfigError::UnknownOption {
                name,
                nearest,
                known: &KNOWN,
            });
        };
        let (name, apply) = OPTIONS[index];
        if std::mem::replace(&mut seen[index], true) {
            return Err(ConfigError::DuplicateOption { name });
        }
        config = apply(name, config, &decode(name, value)?)?;
    }
    Ok(config)
}

fn duration(
    option: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<Duration, ConfigError> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = value.split_at(digits);
    let read = count.parse::<u64>().ok().and_then(|count| match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        _ => None,
    });
    read.ok_or_else(|| invalid(option, value, wanted))
}

fn limit(option: &'static str, value: &str) -> Result<Option<Duration>, ConfigError> {
    const WANTED: &str = "use a number and ms, s or m, or none";
    match value {
        "none" => Ok(None),
        value => duration(option, value, WANTED).map(Some),
    }
}

fn number(option: &'static str, value: &str) -> Result<usize, ConfigError> {
    value
        .parse()
        .map_err(|_| invalid(option, value, "use a whole number such as 16"))
}

const WEIGHTS: &str = "use one ordinal:weight for each pod, such as 1:2,2:1";

fn weights(value: &str) -> Option<BTreeMap<u32, u32>> {
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

fn choice<C: Choice>(option: &'static str, value: &str) -> Result<C, ConfigError> {
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

/// The known name that takes the fewest edits, if those are few enough to be a slip.
fn nearest(name: &str) -> Option<&'static str> {
    // Nothing this long is near, and the distance is quadratic.
    if name.len() > 40 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let edits = |known: &&'static str| distance(&name, known);
    let best = OPTIONS.iter().map(|(known, _)| *known).min_by_key(edits)?;
    (edits(&best) <= best.len() / 3).then_some(best)
}

/// Levenshtein's, over bytes: names of options are ASCII.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names between backquotes.
    fn names(text: &str) -> BTreeSet<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_tables_of_this_module_and_of_the_readme_have_each_option() {
        let options: BTreeSet<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
        let rows = include_str!("../url.rs").lines();
        let cells = rows.filter_map(|row| row.strip_prefix("//! | `")?.split('|').next());
        let known: Vec<String> = cells.map(|cell| format!("`{cell}")).collect();
        let known: BTreeSet<&str> = known.iter().flat_map(|cell| names(cell)).collect();
        assert_eq!(known, options);

        // There, an asterisk says that the URL takes it; some stand in front of the `?`.
        let readme = include_str!("../../README.md");
        let (_, rows) = readme.split_once("## Options").unwrap();
        let (rows, _) = rows.split_once("## Errors").unwrap();
        let cells = rows.lines().filter_map(|row| row.split('|').nth(1));
        let starred = cells.filter(|cell| cell.trim_end().ends_with('*'));
        let mut known: BTreeSet<&str> = starred.flat_map(names).collect();
        for part in ["service", "user", "password", "database", "port"] {
            assert!(known.remove(part), "{part}");
        }
        assert_eq!(known, options);
    }

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        assert_eq!(nearest("conect_timeout"), Some("connect_timeout"));
        assert_eq!(nearest("Statement-Timeout"), Some("statement_timeout"));
        assert_eq!(nearest("verfy"), Some("verify"));
        assert_eq!(nearest("password"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"é".repeat(1000)), None);
    }

    #[test]
    fn durations_need_a_unit_and_fit() {
        let ok = |value| duration("x", value, DURATION).unwrap();
        assert_eq!(ok("500ms"), Duration::from_millis(500));
        assert_eq!(ok("2s"), Duration::from_secs(2));
        assert_eq!(ok("1m"), Duration::from_secs(60));
        for bad in [
            "", "5", "s", "-1s", "+1s", "1.5s", "1 s", "1h", "1M", "é", "١s",
        ] {
            assert!(duration("x", bad, DURATION).is_err(), "{bad}");
        }
        assert!(duration("x", "18446744073709551615m", DURATION).is_err());
        assert!(duration("x", "18446744073709551616ms", DURATION).is_err());
    }
}
