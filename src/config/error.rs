//! The errors of a configuration or its URL.
//!
//! An error quotes the wrong part, and must never contain any part of a password. Code that builds
//! an error must ensure that the quoted text is outside of the URL's user information.

/// Why a configuration cannot be used: the wrong part, the given value, and what is allowed.
///
/// Neither `Display` nor `Debug` ever shows any part of the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not a URL. It is not quoted, because the position of a password in it is
    /// unknown.
    #[error("not a connection URL: {reason}; expected {GRAMMAR}")]
    #[non_exhaustive]
    NotAUrl {
        /// What is missing or wrong.
        reason: &'static str,
    },
    /// The scheme of the URL is not supported.
    #[error("unknown scheme {given:?}; expected `mysql://` (or its alias `mariadb://`)")]
    #[non_exhaustive]
    Scheme {
        /// The scheme found.
        given: String,
    },
    /// No user in front of the host.
    #[error("no user given; expected {GRAMMAR}")]
    MissingUser,
    /// No host after the user.
    #[error("no Service name given; expected {GRAMMAR}")]
    MissingHost,
    /// The text after the user is not a valid host name.
    #[error("{given:?} is not a host name ({reason}); expected the name of a headless Service")]
    #[non_exhaustive]
    Host {
        /// The host found.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL has a list of hosts. Give only the name of the Service.
    #[error("several hosts in {given:?}; give one name, that of the headless Service")]
    #[non_exhaustive]
    SeveralHosts {
        /// The list found.
        given: String,
    },
    /// The port is not a valid number.
    #[error("bad port {given:?}; expected a number from 1 to 65535")]
    #[non_exhaustive]
    Port {
        /// The port found.
        given: String,
    },
    /// The path has more than one segment.
    #[error("path {given:?} has several segments; expected one `/database` (`/` in it as %2F)")]
    #[non_exhaustive]
    Path {
        /// The path found.
        given: String,
    },
    /// The URL has a fragment (text after a `#`).
    #[error("unexpected fragment {given:?}; write `#` in a name as %23")]
    #[non_exhaustive]
    Fragment {
        /// The fragment found.
        given: String,
    },
    /// There is an `@` after the first `/`, `?` or `#`. Probably the user or the password contains
    /// a delimiter, so nothing is quoted.
    #[error(
        "an `@` stands after the first `/`, `?` or `#`: a delimiter in the user or the password \
         must be percent-encoded (`/` as %2F, `?` as %3F, `#` as %23, `@` as %40, `%` as %25)"
    )]
    Unescaped,
    /// A `%` is not followed by two hexadecimal digits, or the decoded text is not UTF-8.
    #[error(
        "bad percent-encoding in the {part}{}; write `%` itself as %25, other text as UTF-8",
        quoted(given.as_deref())
    )]
    #[non_exhaustive]
    PercentEncoding {
        /// The part of the URL.
        part: &'static str,
        /// The wrong text; `None` for the password.
        given: Option<String>,
    },
    /// The option does not exist. Its value is not quoted.
    #[error("unknown option {name:?}{}; known are {known}", suggestion(*nearest))]
    #[non_exhaustive]
    UnknownOption {
        /// The name found.
        name: String,
        /// The known option with the most similar name, if one is similar.
        nearest: Option<&'static str>,
        /// All known options.
        known: &'static str,
    },
    /// The option is given more than once.
    #[error("option `{name}` is given more than once; give it once")]
    #[non_exhaustive]
    DuplicateOption {
        /// The option's name.
        name: &'static str,
    },
    /// The value of an option cannot be used.
    #[error("`{option}` is {given:?}: {wanted}")]
    #[non_exhaustive]
    Value {
        /// The option's name.
        option: &'static str,
        /// The value found.
        given: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// The password cannot be sent to a server.
    #[error("`password` holds a NUL character: no server accepts one")]
    Password,
}

const GRAMMAR: &str = "mysql://user[:password]@service[:port][/database][?option=value&...]";

fn quoted(given: Option<&str>) -> String {
    given
        .map(|given| format!(", {given:?}"))
        .unwrap_or_default()
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest
        .map(|nearest| format!("; did you mean `{nearest}`?"))
        .unwrap_or_default()
}
