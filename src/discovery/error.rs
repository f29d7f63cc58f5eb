//! Why a look-up failed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Why one look-up found no pods. None of these errors removes a known pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// None of the names that were asked exists. Cluster DNS gives this answer both for a Service
    /// that does not exist and for a Service without a ready pod.
    #[error(
        "the Service {name} has no ready pod or does not exist; asked: {}",
        asked.join(", ")
    )]
    NotFound {
        /// The Service's name as configured.
        name: String,
        /// The absolute names that were asked.
        asked: Vec<String>,
    },
    /// The name exists, but has no address.
    #[error("{name} exists but has no address; is it a headless Service with ready pods?")]
    NoData {
        /// The absolute name that was asked.
        name: String,
    },
    /// The names that the Service's short name may stand for failed for different reasons.
    #[error("no pods found for {name}: {}", Each(tried))]
    Search {
        /// The Service's name as configured.
        name: String,
        /// The error for each name that was asked, in their order. After the last one, no other
        /// name could be asked.
        tried: Vec<ResolveError>,
    },
    /// The Service has pods, but none of them belongs to the wanted StatefulSet.
    #[error(
        "{name} lists no pod of {}; it lists {}",
        set(statefulset),
        some(found)
    )]
    NotOurs {
        /// The absolute name of the Service.
        name: String,
        /// The StatefulSet's name as configured. `None` if none was configured and the pods belong
        /// to several.
        statefulset: Option<String>,
        /// The host names of the pods that are listed.
        found: Vec<String>,
    },
    /// The name server could not or would not answer.
    #[error("name server{} answered {code} for {name}", At(*server))]
    ServerFailure {
        /// The absolute name that was asked.
        name: String,
        /// The response code, such as `Server Failure`.
        code: String,
        /// The name server, if known.
        server: Option<SocketAddr>,
    },
    /// No answer in time.
    #[error("no answer{} for {name} after {after:.1?}", By(*server))]
    Timeout {
        /// The name that was asked.
        name: String,
        /// How long the answer was waited for.
        after: Duration,
        /// The name server, if the timeout is due to one name server.
        server: Option<SocketAddr>,
    },
    /// The answer did not fit, even over TCP.
    #[error(
        "the answer{} for {name} was truncated; allow TCP to port 53, or ask for fewer pods",
        By(*server)
    )]
    Truncated {
        /// The absolute name that was asked.
        name: String,
        /// The name server, if known.
        server: Option<SocketAddr>,
    },
    /// The answer contains records of another name (an ExternalName Service, or a name server that
    /// continued to search elsewhere). They may belong to any host and are not used.
    #[error("the answer for {name} holds records of {owner}; not used")]
    Foreign {
        /// The absolute name that was asked.
        name: String,
        /// The name whose records came, or the target of the alias.
        owner: String,
    },
    /// The query could not be sent, or the answer could not be read.
    #[error("asking name server{} for {name}: {message}", At(*server))]
    Io {
        /// The absolute name that was asked.
        name: String,
        /// The name server, if known.
        server: Option<SocketAddr>,
        /// What went wrong.
        message: String,
    },
    /// No name server is configured.
    #[error("no name server to ask for {name}; /etc/resolv.conf has no `nameserver` line")]
    NoServer {
        /// The Service's name as configured.
        name: String,
    },
    /// The resolver's configuration cannot be used.
    #[error("resolver configuration for {name}: {message}")]
    Config {
        /// The Service's name as configured, or the file.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// Any other error, for your own implementations of [`Resolve`](super::Resolve).
    #[error("looking up {name}: {message}")]
    Other {
        /// What was looked up.
        name: String,
        /// What went wrong.
        message: String,
    },
}

impl ResolveError {
    /// Whether the answer was "there is nothing", and not a lack of a usable answer: the Service
    /// may not exist yet, or has no ready pod.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Search { tried, .. } => tried.iter().all(Self::is_absence),
            other => matches!(other, Self::NotFound { .. } | Self::NoData { .. }),
        }
    }

    /// Whether the name server failed, so that asking it less often may help.
    pub(crate) fn is_trouble(&self) -> bool {
        match self {
            Self::Search { tried, .. } => tried.iter().any(Self::is_trouble),
            Self::NotOurs { .. } => false,
            other => !other.is_absence(),
        }
    }

    /// Combines the errors of a name's candidates, one for each.
    pub(super) fn of_search(name: &str, mut tried: Vec<Self>) -> Self {
        let missing = |error: &Self| match error {
            Self::NotFound { asked, .. } => Some(asked.clone()),
            _ => None,
        };
        let asked: Option<Vec<_>> = tried.iter().map(missing).collect();
        match (asked, tried.len()) {
            (Some(asked), _) => Self::NotFound {
                name: name.to_owned(),
                asked: asked.concat(),
            },
            (None, 1) => tried.remove(0),
            (None, _) => Self::Search {
                name: name.to_owned(),
                tried,
            },
        }
    }

    /// The kind of failure as one word, for metrics and programs: `not_found`, `no_data`,
    /// `not_ours`, `server_failure`, `timeout`, `truncated`, `foreign`, `io`, `no_server`,
    /// `config`, `other`. For a search with several errors, it is the kind of the error that ended
    /// the search, or `no_data` if every name is absent.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::NoData { .. } => "no_data",
            Self::Search { .. } if self.is_absence() => "no_data",
            Self::Search { tried, .. } => tried.last().map_or("other", Self::kind),
            Self::NotOurs { .. } => "not_ours",
            Self::ServerFailure { .. } => "server_failure",
            Self::Timeout { .. } => "timeout",
            Self::Truncated { .. } => "truncated",
            Self::Foreign { .. } => "foreign",
            Self::Io { .. } => "io",
            Self::NoServer { .. } => "no_server",
            Self::Config { .. } => "config",
            Self::Other { .. } => "other",
        }
    }
}

/// A text for the StatefulSet to which no pod belongs.
fn set(name: &Option<String>) -> String {
    match name {
        Some(name) => format!("the StatefulSet `{name}`"),
        None => "a StatefulSet called like the Service".to_owned(),
    }
}

/// Only the first few host names, because a Service can have a thousand.
fn some(hosts: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = hosts[..hosts.len().min(SHOWN)].join(", ");
    match hosts.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

/// `no such name: a., b.; c. has no address; ...`: the missing names come first, in one list.
struct Each<'a>(&'a [ResolveError]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.0.iter().filter_map(|error| match error {
            ResolveError::NotFound { asked, .. } => Some(asked.join(", ")),
            _ => None,
        });
        let missing: Vec<String> = missing.collect();
        let mut between = "";
        if !missing.is_empty() {
            write!(f, "no such name: {}", missing.join(", "))?;
            between = "; ";
        }
        for error in self.0 {
            if !matches!(error, ResolveError::NotFound { .. }) {
                write!(f, "{between}{error}")?;
                between = "; ";
            }
        }
        Ok(())
    }
}

/// ` 10.96.0.10:53`, or nothing.
struct At(Option<SocketAddr>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |server| write!(f, " {server}"))
    }
}

/// ` from 10.96.0.10:53`, or nothing.
struct By(Option<SocketAddr>);

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |server| write!(f, " from {server}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_asked_and_where() {
        let name = "mysql.default.svc.cluster.local.".to_owned();
        let server = Some(SocketAddr::from(([10, 96, 0, 10], 53)));
        let after = Duration::from_secs(1);
        let failure = ResolveError::ServerFailure {
            name: name.clone(),
            code: "Refused".into(),
            server,
        };
        assert_eq!(
            failure.to_string(),
            "name server 10.96.0.10:53 answered Refused for mysql.default.svc.cluster.local."
        );
        let timeout = ResolveError::Timeout {
            name: name.clone(),
            after,
            server: None,
        };
        assert_eq!(
            timeout.to_string(),
            "no answer for mysql.default.svc.cluster.local. after 1.0s"
        );
        let timeout = ResolveError::Timeout {
            name: name.clone(),
            after,
            server,
        };
        assert_eq!(
            timeout.to_string(),
            "no answer from 10.96.0.10:53 for mysql.default.svc.cluster.local. after 1.0s"
        );
        let truncated = ResolveError::Truncated {
            name: name.clone(),
            server,
        };
        let expected = "the answer from 10.96.0.10:53 for mysql.default.svc.cluster.local. was";
        assert!(truncated.to_string().starts_with(expected), "{truncated}");
        let asked = vec![name, "mysql.".to_owned()];
        let missing = ResolveError::NotFound {
            name: "mysql".into(),
            asked,
        };
        assert!(
            missing
                .to_string()
                .ends_with("asked: mysql.default.svc.cluster.local., mysql.")
        );
        assert!(missing.is_absence() && !timeout.is_absence());
    }

    #[test]
    fn a_search_tells_what_was_said_of_each_name() {
        let missing = |name: &str| ResolveError::NotFound {
            name: name.to_owned(),
            asked: vec![name.to_owned()],
        };
        let refused = ResolveError::ServerFailure {
            name: "nosuch.".into(),
            code: "Refused".into(),
            server: None,
        };
        let tried = vec![missing("nosuch.a.svc.k8s."), missing("nosuch.b."), refused];
        let error = ResolveError::of_search("nosuch", tried);
        assert_eq!(
            error.to_string(),
            "no pods found for nosuch: no such name: nosuch.a.svc.k8s., nosuch.b.; \
             name server answered Refused for nosuch."
        );
        assert_eq!(
            (error.kind(), error.is_absence()),
            ("server_failure", false)
        );

        let name = "x.".to_owned();
        let empty = ResolveError::NoData { name };
        let error = ResolveError::of_search("x", vec![empty.clone(), missing("y.")]);
        assert_eq!((error.kind(), error.is_absence()), ("no_data", true));
        assert_eq!(ResolveError::of_search("x", vec![empty.clone()]), empty);
        match ResolveError::of_search("x", vec![missing("x.a."), missing("x.")]) {
            ResolveError::NotFound { name, asked } => {
                assert_eq!(
                    (&*name, asked),
                    ("x", vec!["x.a.".to_owned(), "x.".to_owned()])
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
