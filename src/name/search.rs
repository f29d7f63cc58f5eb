//! The search list, and how a short name is completed with it.

use super::service::is_numbered;
use super::{MAX_NAME, is_label, without_dot};

/// The search domains of the resolver configuration, and its `ndots`.
///
/// `SearchList::system` reads those of this host; it lives with the I/O, in `discovery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchList {
    domains: Vec<String>,
    ndots: u8,
}

// === impl SearchList ===

impl SearchList {
    /// A list of these domains in this order, with `ndots` 1. What is no domain name (also the
    /// root, `.`) is left out, as is what appears twice.
    pub fn new<D: AsRef<str>>(domains: impl IntoIterator<Item = D>) -> Self {
        let mut list = Self {
            domains: Vec::new(),
            ndots: 1,
        };
        list.set_domains(domains);
        list
    }

    /// Reads the text of a `resolv.conf`: of `search` and `domain` the last line counts, of
    /// `options ndots:` the last (at most 15). Lines that do not parse are skipped.
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

    /// The domains, lower case, without trailing dots.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// A name with at least this many dots is first asked alone, unless it has the shape of a
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

/// Search domains come from the host's own network; some have underscores.
fn is_search_label(label: &str) -> bool {
    is_label(&label.replace('_', "x"))
}

/// What a search domain completes.
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

/// The shape of the search domains that make a full Service name of these labels.
fn completed_by(labels: &[&str]) -> Option<Shape> {
    match labels {
        [_] => Some(Shape::Namespace),
        [_, _, "svc"] => Some(Shape::Zone),
        [_, _] => Some(Shape::Svc),
        _ => None,
    }
}

/// The absolute names a name that is not absolute may stand for, best first.
pub(super) fn expand(name: &str, search: &SearchList) -> Vec<String> {
    let labels: Vec<&str> = name.split('.').collect();
    let as_service = completed_by(&labels);
    let as_pod = match labels.split_first() {
        Some((pod, service)) if is_numbered(pod) => completed_by(service),
        _ => None,
    };
    // Who writes `mysql-0.mysql` means the pod; `db-1.prod` is rather in a namespace.
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

/// The absolute names a host name may stand for, in the order of other resolvers; a host of
/// Kubernetes' form is asked alone.
pub(crate) fn expand_host(name: &str, search: &SearchList) -> Vec<String> {
    let bare = without_dot(name).to_ascii_lowercase();
    let alone = format!("{bare}.");
    if name.ends_with('.')
        || super::service::is_service(&bare)
        || super::service::service_of_pod(&bare).is_some()
    {
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

/// `mysql-0.mysql`: the pod's StatefulSet is called like its Service.
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
mod tests {
    use proptest::prelude::*;

    use super::super::ServiceName;
    use super::*;

    const POD: &str = "\
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local corp.example
options ndots:5
";

    fn candidates(name: &str, search: &SearchList) -> Vec<String> {
        name.parse::<ServiceName>().unwrap().candidates(search)
    }

    #[test]
    fn a_domain_that_is_too_long_is_left_out() {
        let long = ["a"; 127].join(".");
        assert_eq!(SearchList::new([&*long]).domains(), [&*long]);
        let longer = format!("{long}.a");
        assert!(SearchList::new([&*longer]).domains().is_empty());
    }

    #[test]
    fn reads_the_last_search_or_domain_line() {
        let list = SearchList::parse(POD);
        let domains = [
            "default.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
        ];
        assert_eq!(list.domains()[..3], domains);
        assert_eq!(list.ndots(), 5);

        let list =
            SearchList::parse("search a.b c.d\ndomain E.F. x.y ; no\noptions ndots:99 rotate");
        assert_eq!(list.domains(), ["e.f"]);
        assert_eq!(list.ndots(), 15);

        let list =
            SearchList::parse("domain e.f\n search a.b a.b . ..  c_d.e # f\noptions ndots:x");
        assert_eq!(list.domains(), ["a.b", "c_d.e"]);
        assert_eq!(list.ndots(), 1);

        assert_eq!(SearchList::parse("").domains(), [] as [&str; 0]);
    }

    #[test]
    fn the_first_candidate_is_the_service() {
        let list = SearchList::parse(POD);
        let full = "mysql.default.svc.cluster.local.";
        for name in ["mysql", "mysql.default", "mysql.default.svc"] {
            let found = candidates(name, &list);
            assert_eq!(found[0], full, "{name}");
            assert_eq!(found.len(), 5, "{name}");
            assert_eq!(found[4], format!("{name}."));
        }
        assert_eq!(
            candidates("MySQL.prod", &list),
            [
                "mysql.prod.svc.cluster.local.",
                "mysql.prod.default.svc.cluster.local.",
                "mysql.prod.cluster.local.",
                "mysql.prod.corp.example.",
                "mysql.prod.",
            ]
        );
    }

    #[test]
    fn an_absolute_name_has_one_candidate() {
        let list = SearchList::parse(POD);
        for name in [
            "mysql.default.svc.cluster.local",
            "mysql.default.svc.k8s",
            "mysql.",
        ] {
            let dotted = format!("{}.", without_dot(name));
            assert_eq!(candidates(name, &list), [dotted], "{name}");
        }
    }

    #[test]
    fn order_of_the_search_list_does_not_matter_to_the_first() {
        let list = SearchList::new([
            "corp.example",
            "cluster.local",
            "svc.cluster.local",
            "prod.svc.cluster.local",
        ]);
        assert_eq!(
            candidates("mysql", &list)[0],
            "mysql.prod.svc.cluster.local."
        );
        assert_eq!(
            candidates("mysql.a", &list)[0],
            "mysql.a.svc.cluster.local."
        );
        assert_eq!(
            candidates("mysql.a.svc", &list)[0],
            "mysql.a.svc.cluster.local."
        );
    }

    #[test]
    fn without_a_kubernetes_shape_ndots_decides() {
        let list = SearchList::new(["corp.example"]);
        let found = candidates("mysql.prod.example", &list);
        assert_eq!(
            found,
            ["mysql.prod.example.", "mysql.prod.example.corp.example."]
        );
        let found = candidates("mysql.prod.example", &list.with_ndots(5));
        assert_eq!(
            found,
            ["mysql.prod.example.corp.example.", "mysql.prod.example."]
        );
        assert_eq!(candidates("mysql", &SearchList::new([""])), ["mysql."]);
    }

    #[test]
    fn a_pod_called_like_its_service_is_asked_for_first() {
        let list = SearchList::parse(POD);
        let pod = "mysql-0.mysql.default.svc.cluster.local.";
        for name in [
            "mysql-0.mysql",
            "mysql-0.mysql.default",
            "mysql-0.mysql.default.svc",
            "mysql-0.mysql.default.svc.cluster.local",
        ] {
            assert_eq!(candidates(name, &list)[0], pod, "{name}");
        }
        let found = candidates("mysql-0.mysql", &list);
        assert_eq!(found[1], "mysql-0.mysql.svc.cluster.local.");
        // A Service in a namespace, or a pod of a Service in this one: in that order.
        let found = candidates("db-1.prod", &list);
        assert_eq!(
            found[..2],
            [
                "db-1.prod.svc.cluster.local.",
                "db-1.prod.default.svc.cluster.local."
            ]
        );
        let found = candidates("db-0.mysql.prod", &list);
        assert_eq!(found[0], "db-0.mysql.prod.svc.cluster.local.");
        let found = candidates("db-0.mysql.prod.svc", &list.with_ndots(1));
        assert_eq!(found[0], "db-0.mysql.prod.svc.cluster.local.");
    }

    #[test]
    fn hosts_are_searched_as_other_resolvers_do() {
        let list = SearchList::new(["default.svc.k8s", "corp.example"]).with_ndots(2);
        for (name, expected) in [
            ("DB.corp.", &["db.corp."][..]),
            (
                "mysql-0.mysql.prod.svc.k8s",
                &["mysql-0.mysql.prod.svc.k8s."],
            ),
            (
                "mysql-0.mysql",
                &[
                    "mysql-0.mysql.default.svc.k8s.",
                    "mysql-0.mysql.corp.example.",
                    "mysql-0.mysql.",
                ],
            ),
            (
                "db.eu.example",
                &[
                    "db.eu.example.",
                    "db.eu.example.default.svc.k8s.",
                    "db.eu.example.corp.example.",
                ],
            ),
        ] {
            assert_eq!(expand_host(name, &list), expected, "{name}");
        }
    }

    #[test]
    fn too_long_candidates_are_left_out() {
        let list = SearchList::new([vec!["a".repeat(60); 4].join(".")]);
        assert_eq!(
            candidates("mysql-of-the-team", &list),
            ["mysql-of-the-team."]
        );
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "(search|domain|options|nameserver|[ .a-z0-9:\n])*|.*") {
            let list = SearchList::parse(&text);
            prop_assert!(list.ndots() <= 15);
        }

        #[test]
        fn candidates_are_absolute_lower_case_and_unique(
            name in "[a-zA-Z]{1,5}(\\.[a-zA-Z]{1,5}){0,4}",
            domains in proptest::collection::vec("[a-zA-Z]{1,4}(\\.[a-z]{1,4}|\\.svc){0,3}", 0..5),
        ) {
            let found = candidates(&name, &SearchList::new(&domains));
            prop_assert!(!found.is_empty());
            for (i, one) in found.iter().enumerate() {
                prop_assert!(one.ends_with('.') && !one.ends_with(".."));
                prop_assert_eq!(one, &one.to_ascii_lowercase());
                prop_assert!(one.starts_with(&name.to_ascii_lowercase()));
                prop_assert!(!found[i + 1..].contains(one));
            }
        }
    }
}
