//! Owns what can be wrong with a configuration or its URL, and how that is told. An error quotes
//! the offending part and must never hold any part of a password: whoever builds one has to know
//! that the text it quotes lies outside of the user information.

/// A configuration that cannot be used: which part, what was given, what would be right.
///
/// Neither `Display` nor `Debug` ever shows any part of the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not a URL at all. It is not quoted: without a structure there is no telling
    /// where a password would be.
    #[error("not a connection URL: {reason}; expected {GRAMMAR}")]
    #[non_exhaustive]
    NotAUrl {
        /// What is missing or in the way.
        reason: &'static str,
    },
    /// The URL is for something else.
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
    /// What follows the user cannot be a host name.
    #[error("{given:?} is not a host name ({reason}); expected the name of a headless Service")]
    #[non_exhaustive]
    Host {
        /// The host found.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A list of hosts. The pods are found by the name of their Service.
    #[error("several hosts in {given:?}; give one name, that of the headless Service")]
    #[non_exhaustive]
    SeveralHosts {
        /// The list found.
        given: String,
    },
    /// The port is not one.
    #[error("bad port {given:?}; expected a number from 1 to 65535")]
    #[non_exhaustive]
    Port {
        /// The port found.
        given: String,
    },
    /// The path is more than the name of one database.
    #[error("path {given:?} has several segments; expected one `/database` (`/` in it as %2F)")]
    #[non_exhaustive]
    Path {
        /// The path found.
        given: String,
    },
    /// Something follows a `#`.
    #[error("unexpected fragment {given:?}; write `#` in a name as %23")]
    #[non_exhaustive]
    Fragment {
        /// The fragment found.
        given: String,
    },
    /// An `@` stands behind the host. Most likely the user or the password holds a delimiter, so
    /// nothing is quoted.
    #[error(
        "an `@` stands after the first `/`, `?` or `#`: a delimiter in the user or the password \
         must be percent-encoded (`/` as %2F, `?` as %3F, `#` as %23, `@` as %40, `%` as %25)"
    )]
    Unescaped,
    /// A `%` that is not followed by two hexadecimal digits, or that decodes to broken UTF-8.
    #[error(
        "bad percent-encoding in the {part}{}; write `%` itself as %25, other text as UTF-8",
        quoted(given.as_deref())
    )]
    #[non_exhaustive]
    PercentEncoding {
        /// Which part of the URL.
        part: &'static str,
        /// The offending text; none for the password.
        given: Option<String>,
    },
    /// An option that does not exist. Its value is not quoted.
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
    /// An option given twice.
    #[error("option `{name}` is given more than once; give it once")]
    #[non_exhaustive]
    DuplicateOption {
        /// Its name.
        name: &'static str,
    },
    /// An option whose value cannot be used.
    #[error("`{option}` is {given:?}: {wanted}")]
    #[non_exhaustive]
    Value {
        /// The option's name.
        option: &'static str,
        /// The value found.
        given: String,
        /// What would be right.
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
