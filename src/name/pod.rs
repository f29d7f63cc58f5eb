//! Pods: a pod's ordinal, and the stable host name that follows from it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::labels::{MAX_LABEL, is_label, without_dot};

/// The number of a pod within its StatefulSet. It identifies the pod, whatever the pod's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(u32);

impl Ordinal {
    /// The ordinal of the pod that is the primary, unless configured otherwise.
    pub const PRIMARY: Self = Self(0);

    /// The ordinal `n`.
    pub const fn new(n: u32) -> Self {
        Self(n)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the ordinal and the pod name out of an SRV target, or `None` if the target does not name a
/// pod.
///
/// Only `<statefulset>-<n>` directly under `service_fqdn` counts, without regard to case. Both
/// names may end in a dot. `n` must not have leading zeros. The pod name is returned in lower case.
///
/// With `statefulset` as `None`, any StatefulSet name is accepted, except a label that reads as a
/// dashed IP address. Cluster DNS gives a pod without a host name the name `10-244-1-5`, and that 5
/// is not an ordinal.
///
/// ```
/// use headless_mysql::name::{Ordinal, ordinal_of};
///
/// let service = "mysql.default.svc.cluster.local";
/// let found = ordinal_of("mysql-2.mysql.default.svc.cluster.local.", service, None);
/// assert_eq!(found, Some((Ordinal::new(2), "mysql-2".to_owned())));
/// assert_eq!(ordinal_of("10-244-1-5.mysql.default.svc.cluster.local.", service, None), None);
/// ```
pub fn ordinal_of(
    target: &str,
    service_fqdn: &str,
    statefulset: Option<&str>,
) -> Option<(Ordinal, String)> {
    let (label, parent) = without_dot(target).split_once('.')?;
    if !parent.eq_ignore_ascii_case(without_dot(service_fqdn)) {
        return None;
    }
    let label = label.to_ascii_lowercase();
    if !is_label(&label) {
        return None;
    }
    let (set, number) = label.rsplit_once('-')?;
    let ordinal = parse_number(number)?;
    let known = match statefulset {
        Some(wanted) => set.eq_ignore_ascii_case(wanted),
        None => is_label(set) && !is_dashed_address(&label),
    };
    known.then_some((ordinal, label))
}

/// The stable host name of a pod: `<statefulset>-<ordinal>.<service>`, in lower case, without a
/// trailing dot.
pub fn pod_host(statefulset: &str, ordinal: Ordinal, service_fqdn: &str) -> String {
    let mut host = format!("{statefulset}-{ordinal}.{}", without_dot(service_fqdn));
    host.make_ascii_lowercase();
    host
}

/// Parses a decimal number without a sign and without leading zeros.
fn parse_number(text: &str) -> Option<Ordinal> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if !digits || text.len() > MAX_LABEL || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().map(Ordinal)
}

/// CoreDNS writes an address as a label: dots and colons become dashes, and a label that would end
/// in a dash gets a `0` appended.
fn is_dashed_address(label: &str) -> bool {
    label.replace('-', ".").parse::<Ipv4Addr>().is_ok()
        || label.replace('-', ":").parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVICE: &str = "mysql.default.svc.cluster.local";

    fn ordinal(label: &str, statefulset: Option<&str>) -> Option<u32> {
        ordinal_of(&format!("{label}.{SERVICE}."), SERVICE, statefulset).map(|(o, _)| o.get())
    }

    #[test]
    fn takes_the_number_after_the_last_dash() {
        assert_eq!(ordinal("mysql-0", None), Some(0));
        assert_eq!(ordinal("mysql-12", Some("mysql")), Some(12));
        assert_eq!(ordinal("db-1-0", None), Some(0));
        assert_eq!(ordinal("db-1-7", Some("db-1")), Some(7));
        assert_eq!(ordinal("MYSQL-3", Some("mysql")), Some(3));
        assert_eq!(ordinal("mysql-3", Some("MySQL")), Some(3));
        assert_eq!(ordinal("a-4294967295", None), Some(u32::MAX));
    }

    #[test]
    fn refuses_what_is_not_a_pod_of_the_statefulset() {
        for label in [
            "mysql",
            "mysql-",
            "-0",
            "mysql-x",
            "mysql-00",
            "mysql-01",
            "mysql-+1",
            "0",
            "mysql--0",
            "a-4294967296",
            "6333656336343065",
            "my_sql-0",
            "",
        ] {
            assert_eq!(ordinal(label, None), None, "{label}");
        }
        assert_eq!(ordinal("other-0", Some("mysql")), None);
        assert_eq!(ordinal("db-1-0", Some("db")), None);
        assert_eq!(ordinal("mysql-1-0", Some("mysql")), None);
    }

    #[test]
    fn refuses_dashed_addresses() {
        for label in [
            "10-244-1-5",
            "5678-abcd--1",
            "fd00--0",
            "2001-db8-0-0-0-0-0-1",
        ] {
            assert_eq!(ordinal(label, None), None, "{label}");
            assert_eq!(ordinal(label, Some("mysql")), None, "{label}");
        }
        // Not addresses: five groups, or a group above 255.
        assert_eq!(ordinal("10-244-1-5-2", None), Some(2));
        assert_eq!(ordinal("10-244-1-500", None), Some(500));
        // Unusual, but a valid name for a StatefulSet.
        assert_eq!(ordinal("10-244-1-5", Some("10-244-1")), Some(5));
    }

    #[test]
    fn wants_the_exact_service_above_the_pod() {
        for target in [
            "mysql-0",
            "mysql-0.",
            "mysql-0.mysql.other.svc.cluster.local.",
            "mysql-0.x.mysql.default.svc.cluster.local.",
            "mysql-0.xmysql.default.svc.cluster.local.",
            "mysql.default.svc.cluster.local.",
            "",
            ".",
        ] {
            assert_eq!(ordinal_of(target, SERVICE, None), None, "{target}");
        }
        let dotted = format!("{SERVICE}.");
        let upper = "MySQL-1.MYSQL.default.SVC.cluster.local";
        let found = ordinal_of(upper, &dotted, None);
        assert_eq!(found, Some((Ordinal::new(1), "mysql-1".to_owned())));
    }

    proptest! {
        #[test]
        fn never_panics(target in ".*", service in ".*", set in proptest::option::of(".*")) {
            let _ = ordinal_of(&target, &service, set.as_deref());
        }

        #[test]
        fn host_and_ordinal_are_inverse(set in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", n in any::<u32>()) {
            let host = pod_host(&set, Ordinal::new(n), SERVICE);
            let name = format!("{set}-{n}");
            prop_assert_eq!(
                ordinal_of(&host, SERVICE, Some(&set)),
                Some((Ordinal::new(n), name))
            );
        }
    }
}
