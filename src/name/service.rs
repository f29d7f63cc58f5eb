//! The Service's name, in every spelling that a user may write.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::labels::{MAX_LABEL, MAX_NAME, is_label, is_service, service_of_pod, without_dot};
use super::search::{self, SearchList};

/// The name of a headless Service, or of one of its pods, as short or as long as the user wrote it.
///
/// Every spelling parses: `mysql`, `mysql.default`, `mysql.default.svc`,
/// `mysql.default.svc.cluster.local`, each with or without a trailing dot, in any case. Each may
/// have a pod in front, such as `mysql-0.mysql`; the name then means only that pod. `Display`
/// writes lower case, with the trailing dot only if it was given.
///
/// `mysql-0.mysql` could also be the Service `mysql-0` in the namespace `mysql`; DNS decides. The
/// pod is asked for first if its StatefulSet has the name of its Service. Otherwise (`db-1.prod`)
/// the Service is asked for first.
///
/// ```
/// use headless_mysql::name::ServiceName;
///
/// let name: ServiceName = "MySQL.default".parse()?;
/// assert_eq!(name.to_string(), "mysql.default");
/// # Ok::<(), headless_mysql::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// Lower case, without the trailing dot.
    name: String,
    /// Whether a trailing dot was given, which makes the name absolute.
    dot: bool,
}

/// Why a text is not a Service name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the Service name is empty; write for example `mysql` or `mysql.default`")]
    Empty,
    /// The name is longer than DNS allows.
    #[error("the Service name has {length} characters; DNS allows at most {MAX_NAME}")]
    #[non_exhaustive]
    TooLong {
        /// Characters of the name.
        length: usize,
    },
    /// Two dots in a row, or a dot at the start.
    #[error("`{name}` has an empty part between two dots or before the first")]
    #[non_exhaustive]
    EmptyLabel {
        /// The whole name.
        name: String,
    },
    /// One part between the dots is too long.
    #[error("`{label}` has {length} characters; one part of a DNS name has at most {MAX_LABEL}")]
    #[non_exhaustive]
    LabelTooLong {
        /// The part.
        label: String,
        /// Its characters.
        length: usize,
    },
    /// One part between the dots has a character that is not allowed.
    #[error(
        "`{label}` is no part of a Service name; use letters, digits and inner dashes, \
         for example `mysql-read`"
    )]
    #[non_exhaustive]
    BadLabel {
        /// The part.
        label: String,
    },
    /// An IP address was given instead of a name, with or without a port. For servers without a
    /// Service, see [`Builder::resolver`](crate::cluster::Builder::resolver).
    #[error(
        "`{address}` is an IP address: a headless Service has a name, such as `mysql`; {LISTED}"
    )]
    #[non_exhaustive]
    Address {
        /// The address.
        address: String,
    },
    /// `localhost` was given instead of a name. `localhost` is this machine, so asking cluster DNS
    /// for it would be in vain. (A Service with this name must be given with its namespace.) For
    /// servers without a Service, see [`Builder::resolver`](crate::cluster::Builder::resolver).
    #[error("`localhost` is this machine and no headless Service; {LISTED}")]
    Localhost,
}

const LISTED: &str = "for servers that you can list give a `discovery::HostList` to \
                      `Cluster::builder(...).resolver(...)`";

impl ServiceName {
    /// The absolute names to ask DNS for, best first, in lower case, each with a trailing dot,
    /// without duplicates.
    ///
    /// A name with a trailing dot, or of the form `<service>.<namespace>.svc.<zone>` (with or
    /// without a pod in front), is absolute and gives exactly one candidate.
    ///
    /// A shorter name is joined with the search domains. The domains that make it a full Service
    /// name come first, so that usually the first query succeeds. The other domains follow in their
    /// order, and the name as it is comes last. A name without a Kubernetes form comes first as it
    /// is if it has at least [`SearchList::ndots`] dots, as with other resolvers.
    pub fn candidates(&self, search: &SearchList) -> Vec<String> {
        if self.is_absolute() {
            return vec![format!("{}.", self.name)];
        }
        search::expand(&self.name, search)
    }

    /// Whether the name is asked as it is, without a search list.
    pub fn is_absolute(&self) -> bool {
        self.dot || is_service(&self.name) || service_of_pod(&self.name).is_some()
    }

    /// The first part of the name: the Service's name within its namespace.
    pub fn first_label(&self) -> &str {
        self.labels().next().unwrap_or_default()
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.name.split('.')
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let dot = text.ends_with('.');
        let given = without_dot(text);
        if given.is_empty() {
            return Err(NameError::Empty);
        }
        if is_address(given) {
            return Err(NameError::Address {
                address: given.to_owned(),
            });
        }
        let length = given.chars().count();
        if length > MAX_NAME {
            return Err(NameError::TooLong { length });
        }
        let name = given.to_ascii_lowercase();
        if name == "localhost" {
            return Err(NameError::Localhost);
        }
        for label in name.split('.') {
            check_label(label, given)?;
        }
        Ok(Self { name, dot })
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.dot { f.write_str(".") } else { Ok(()) }
    }
}

/// Accepts an address with a port too, and `[::1]` as in URLs.
fn is_address(text: &str) -> bool {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(text).parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

fn check_label(label: &str, name: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel {
            name: name.to_owned(),
        });
    }
    let length = label.chars().count();
    if length > MAX_LABEL {
        return Err(NameError::LabelTooLong {
            label: label.to_owned(),
            length,
        });
    }
    if !is_label(label) {
        return Err(NameError::BadLabel {
            label: label.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, NameError> {
        text.parse::<ServiceName>().map(|name| name.to_string())
    }

    #[test]
    fn every_spelling_parses() {
        for (text, shown) in [
            ("mysql", "mysql"),
            ("MySQL.Default", "mysql.default"),
            ("mysql.default.svc", "mysql.default.svc"),
            (
                "mysql.default.svc.cluster.local",
                "mysql.default.svc.cluster.local",
            ),
            (
                "mysql.default.svc.cluster.local.",
                "mysql.default.svc.cluster.local.",
            ),
            ("mysql-0", "mysql-0"),
            ("db-1.prod", "db-1.prod"),
            ("3db", "3db"),
            ("mysql-0.mysql", "mysql-0.mysql"),
            (
                "mysql-0.mysql.default.svc.cluster.local",
                "mysql-0.mysql.default.svc.cluster.local",
            ),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn errors_quote_the_offending_part() {
        let shown = |text: &str| match parse(text) {
            Err(error) => error.to_string(),
            Ok(name) => panic!("{name} should not parse"),
        };
        for (text, quoted) in [
            ("", "empty"),
            (".", "empty"),
            ("mysql..default", "`mysql..default`"),
            (".mysql", "`.mysql`"),
            ("mysql..", "`mysql.`"),
            ("my_sql.default", "`my_sql`"),
            ("_mysql._tcp.mysql.default", "`_mysql`"),
            ("-mysql", "`-mysql`"),
            ("mysql-.default", "`mysql-`"),
            ("mysql default", "`mysql default`"),
            ("mysql:3306", "`mysql:3306`"),
            ("müsql", "`müsql`"),
            ("10.244.1.5", "`10.244.1.5`"),
            ("fd00::1", "`fd00::1`"),
            ("[fd00::1]", "`[fd00::1]`"),
            ("10.244.1.5:3306", "`10.244.1.5:3306`"),
            ("[::1]:3306", "`[::1]:3306`"),
            ("localhost", "`localhost`"),
            ("LocalHost.", "`localhost`"),
        ] {
            assert!(shown(text).contains(quoted), "{text}: {}", shown(text));
        }
        let long = "a".repeat(64);
        assert_eq!(
            parse(&long),
            Err(NameError::LabelTooLong {
                label: long,
                length: 64
            })
        );
        let name = vec!["a".repeat(62); 5].join(".");
        assert_eq!(parse(&name), Err(NameError::TooLong { length: 314 }));
    }

    #[test]
    fn servers_without_a_service_are_told_where_they_can_be_listed() {
        for text in ["10.244.1.5", "127.0.0.1.", "[::1]", "10.244.1.5:3306"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, NameError::Address { .. }), "{text}");
            assert!(error.to_string().contains("HostList"), "{error}");
        }
        let error = parse("localhost").unwrap_err();
        assert_eq!(error, NameError::Localhost);
        assert!(error.to_string().contains("HostList"), "{error}");
        // These have the form of a Service name, whatever they lead to.
        for text in ["localhost.shop", "localhost-0", "127"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_pod_is_told_from_a_service() {
        for (name, service) in [
            (
                "mysql-0.mysql.default.svc.cluster.local.",
                Some("mysql.default.svc.cluster.local"),
            ),
            ("db-1-12.mysql.prod.svc.k8s", Some("mysql.prod.svc.k8s")),
            ("mysql.default.svc.cluster.local", None),
            ("mysql-0.default.svc.cluster.local", None),
            // The Service `mysql-0` in the namespace `svc`, of a zone that begins with `svc`.
            ("mysql-0.svc.svc.svc.k8s", None),
            ("mysql.mysql.default.svc.cluster.local", None),
            ("mysql-.mysql.default.svc.cluster.local", None),
            ("mysql-0.mysql.default.svc", None),
            ("mysql-0.mysql", None),
        ] {
            assert_eq!(service_of_pod(name), service, "{name}");
            if service.is_some() {
                assert!(name.parse::<ServiceName>().unwrap().is_absolute(), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            if let Ok(name) = text.parse::<ServiceName>() {
                prop_assert_eq!(name.to_string(), text.to_ascii_lowercase());
            }
        }

        #[test]
        fn display_and_parse_are_inverse(
            labels in proptest::collection::vec("[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z])?", 1..6),
            dot in proptest::bool::ANY,
        ) {
            let text = labels.join(".") + if dot { "." } else { "" };
            // A text of digits and dots could be an address.
            prop_assume!(text.parse::<std::net::IpAddr>().is_err());
            prop_assume!(without_dot(&text).parse::<std::net::IpAddr>().is_err());
            let name: ServiceName = text.parse().unwrap();
            prop_assert_eq!(name.to_string().parse::<ServiceName>().unwrap(), name.clone());
            prop_assert_eq!(name.to_string(), text.to_ascii_lowercase());
        }
    }
}
