//! The search list, and the rules that complete a short name with it.

use super::labels::{MAX_NAME, is_label, is_numbered, is_service, service_of_pod, without_dot};

/// The search domains of the resolver configuration, and its `ndots`.
///
/// `SearchList::system` reads the list of this host. It is in `discovery`, because it does I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchList {
    domains: Vec<String>,
    ndots: u8,
}

impl SearchList {
    /// A list of these domains in this order, with `ndots` 1. Invalid domain names (including the
    /// root, `.`) and duplicates are left out.
    pub fn new<D: AsRef<str>>(domains: impl IntoIterator<Item = D>) -> Self {
        let mut list = Self {
            domains: Vec::new(),
            ndots: 1,
        };
        list.set_domains(domains);
        list
    }

    /// Reads the text of a `resolv.conf`. The last `search` or `domain` line counts, and the last
    /// `options ndots:` value (at most 15). Lines that do not parse are skipped.
    pub fn parse(text: &str) -> Self {
        let mut list = Self::new([] as [&str; 0]);
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("search") => list.set_domains(words),
                Some("domain") => list.set_domains(words.take(1)),
                Some("options") => {
                    let given = words.filter_map(|word| word.strip_prefix("ndots:"));
                    if let Some(n) = given.filter_map(|n| n.parse::<u32>().ok()).next_back() {
                        list.ndots = u8::try_from(n.min(15)).unwrap_or(15);
                    }
                }
                _ => {}
            }
        }
        list
    }

    /// The same list with another `ndots`.
    #[must_use]
    pub fn with_ndots(mut self, ndots: u8) -> Self {
        self.ndots = ndots;
        self
    }

    /// The domains, in lower case and without trailing dots.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// A name with at least this many dots is asked as it is first, unless it has the form of a
    /// Kubernetes name.
    pub fn ndots(&self) -> u8 {
        self.ndots
    }

    fn set_domains<D: AsRef<str>>(&mut self, domains: impl IntoIterator<Item = D>) {
        self.domains.clear();
        for domain in domains {
            let domain = without_dot(domain.as_ref()).to_ascii_lowercase();
            let is_name = domain.len() <= MAX_NAME && domain.split('.').all(is_search_label);
            if is_name && !self.domains.contains(&domain) {
                self.domains.push(domain);
            }
        }
    }
}

/// Search domains are set by the host's own network, and some contain underscores.
fn is_search_label(label: &str) -> bool {
    is_label(&label.replace('_', "x"))
}

/// The kind of short name that a search domain completes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `<namespace>.svc.<zone>` completes `mysql`.
    Namespace,
    /// `svc.<zone>` completes `mysql.default`.
    Svc,
    /// `<zone>` completes `mysql.default.svc`.
    Zone,
}

fn shape(domain: &str, all: &[String]) -> Option<Shape> {
    let mut labels = domain.split('.');
    let (first, second, third) = (labels.next(), labels.next(), labels.next());
    if first == Some("svc") && second.is_some() {
        Some(Shape::Svc)
    } else if second == Some("svc") && third.is_some() {
        Some(Shape::Namespace)
    } else {
        let svc = |other: &String| other.strip_prefix("svc.") == Some(domain);
        all.iter().any(svc).then_some(Shape::Zone)
    }
}

/// The shape of the search domains that complete these labels to a full Service name.
fn completed_by(labels: &[&str]) -> Option<Shape> {
    match labels {
        [_] => Some(Shape::Namespace),
        [_, _, "svc"] => Some(Shape::Zone),
        [_, _] => Some(Shape::Svc),
        _ => None,
    }
}

/// The absolute names that a relative name may stand for, best first.
pub(super) fn expand(name: &str, search: &SearchList) -> Vec<String> {
    let labels: Vec<&str> = name.split('.').collect();
    let as_service = completed_by(&labels);
    let as_pod = match labels.split_first() {
        Some((pod, service)) if is_numbered(pod) => completed_by(service),
        _ => None,
    };
    // `mysql-0.mysql` names a pod; `db-1.prod` is more likely a Service in a namespace.
    let clearly_pod = as_pod.is_some() && (is_called_after(&labels) || as_pod == Some(Shape::Zone));
    let wanted = match clearly_pod {
        true => [as_pod, as_service],
        false => [as_service, as_pod],
    };
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for domain in &search.domains {
        let shape = shape(domain, &search.domains);
        match wanted.iter().position(|w| w.is_some() && *w == shape) {
            Some(rank) => fitting.push((rank, domain)),
            None => others.push(domain),
        }
    }
    fitting.sort_by_key(|(rank, _)| *rank);
    let fitting = fitting.into_iter().map(|(_, domain)| domain);

    let mut names = Vec::with_capacity(search.domains.len() + 1);
    let alone = format!("{name}.");
    if as_service.is_none() && !clearly_pod && labels.len() > usize::from(search.ndots) {
        names.push(alone.clone());
    }
    for domain in fitting.chain(others) {
        names.push(format!("{name}.{domain}."));
    }
    names.push(alone);
    unique(names)
}

/// The absolute names that a host name may stand for, in the order that other resolvers use. A name
/// in the full Kubernetes form is asked only as it is.
pub(crate) fn expand_host(name: &str, search: &SearchList) -> Vec<String> {
    let bare = without_dot(name).to_ascii_lowercase();
    let alone = format!("{bare}.");
    if name.ends_with('.') || is_service(&bare) || service_of_pod(&bare).is_some() {
        return vec![alone];
    }
    let joined = search
        .domains
        .iter()
        .map(|domain| format!("{bare}.{domain}."));
    let mut names: Vec<String> = joined.collect();
    if bare.split('.').count() > usize::from(search.ndots) {
        names.insert(0, alone);
    } else {
        names.push(alone);
    }
    unique(names)
}

/// Whether the pod's StatefulSet has the name of its Service, as in `mysql-0.mysql`.
fn is_called_after(labels: &[&str]) -> bool {
    let set = labels.first().and_then(|pod| pod.rsplit_once('-'));
    set.is_some_and(|(set, _)| labels.get(1) == Some(&set))
}

fn unique(names: Vec<String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if name.len() <= MAX_NAME + 1 && !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

#[cfg(test)]
mod tests;
