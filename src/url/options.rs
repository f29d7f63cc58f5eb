//! Owns how options stand after the `?` of a connection URL, and what to say to a mistyped one;
//! their words are those of [`Config`]. It must never see the user information.

use std::sync::LazyLock;

use super::decode;
use crate::config::{Config, ConfigError};

/// Alternative spellings, from the URLs of MySQL's own tools.
const ALIASES: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl_mode", "sslmode"),
    ("ssl-ca", "ssl_ca"),
    ("ssl-cert", "ssl_cert"),
    ("ssl-key", "ssl_key"),
];

/// The list of names in errors.
static KNOWN: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = Config::WORDS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
});

/// Applies a query of the form `name=value&name=value`.
pub(super) fn apply(mut config: Config, query: &str) -> Result<Config, ConfigError> {
    let mut seen = vec![false; Config::WORDS.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode("name of an option", name)?;
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let wanted = alias.map_or(name.as_str(), |(_, meant)| *meant);
        let Some(index) = Config::WORDS.iter().position(|(known, _)| *known == wanted) else {
            let nearest = nearest(&name);
            return Err(ConfigError::UnknownOption {
                name,
                nearest,
                known: &KNOWN,
            });
        };
        let (name, apply) = Config::WORDS[index];
        if std::mem::replace(&mut seen[index], true) {
            return Err(ConfigError::DuplicateOption { name });
        }
        config = apply(name, config, &decode(name, value)?)?;
    }
    Ok(config)
}

/// The known name that takes the fewest edits, if those are few enough to be a slip.
fn nearest(name: &str) -> Option<&'static str> {
    // No known name is similar to one this long, and the distance takes quadratic time.
    if name.len() > 40 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let edits = |known: &&'static str| strsim::levenshtein(&name, known);
    let best = Config::WORDS
        .iter()
        .map(|(known, _)| *known)
        .min_by_key(edits)?;
    (edits(&best) <= best.len() / 3).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        assert_eq!(nearest("conect_timeout"), Some("connect_timeout"));
        assert_eq!(nearest("Statement-Timeout"), Some("statement_timeout"));
        assert_eq!(nearest("verfy"), Some("verify"));
        assert_eq!(nearest("password"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"é".repeat(1000)), None);
    }
}
