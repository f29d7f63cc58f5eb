//! The options of encryption and of the files that hold secrets.
//!
//! Owns the rules for their combinations, and the name that a pod's certificate must carry. It must
//! never open a file.

use std::path::{Path, PathBuf};

use super::{ConfigError, SslMode};

/// The options of encryption, without their prefixes `ssl_` and `tls_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) mode: Option<SslMode>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) name: Option<String>,
    pub(crate) cleartext_password: bool,
}

/// Placeholder for a pod's full, stable name.
const HOST: &str = "{host}";
/// Placeholder for the first label of that name, such as `mysql-0`.
const POD: &str = "{pod}";
/// Placeholder for the part after the first label: the Service's full name.
const SERVICE: &str = "{service}";

const WITHOUT_TLS: &str = "this program was built without TLS: turn on the feature `rustls-tls`, \
                           or the driver's `native-tls-tls`";

impl Tls {
    /// The mode in effect. As with MySQL's own clients, `ssl_ca` implies `verify-ca`.
    pub(crate) fn mode(&self) -> SslMode {
        let implied = match self.ca {
            Some(_) => SslMode::VerifyCa,
            None => SslMode::default(),
        };
        self.mode.unwrap_or(implied)
    }

    /// The name that the certificate of the pod `host` must carry.
    pub(crate) fn name_of(&self, host: &str) -> String {
        let host = host.trim_end_matches('.');
        let (pod, service) = host.split_once('.').unwrap_or((host, ""));
        match &self.name {
            None => host.to_owned(),
            Some(template) => template
                .replace(HOST, host)
                .replace(POD, pod)
                .replace(SERVICE, service),
        }
    }

    pub(super) fn validate(&self, has_tls: bool) -> Result<(), ConfigError> {
        let mode = self.mode();
        let verifies = matches!(mode, SslMode::VerifyCa | SslMode::VerifyIdentity);
        if mode != SslMode::Disabled && !has_tls {
            return Err(value("sslmode", mode.word(), WITHOUT_TLS));
        }
        if self.cleartext_password && !verifies {
            let wanted =
                "only a server that is verified may see it: use verify-ca or verify-identity";
            return Err(value("cleartext_password", "true", wanted));
        }
        if verifies && self.ca.is_none() {
            let wanted = "give ssl_ca, the authorities that certificates are verified against";
            return Err(value("sslmode", mode.word(), wanted));
        }
        let files = [
            ("ssl_ca", &self.ca),
            ("ssl_cert", &self.cert),
            ("ssl_key", &self.key),
        ];
        for (option, path) in files {
            let Some(path) = path else { continue };
            file(option, path)?;
            if mode == SslMode::Disabled {
                let wanted = "sslmode is disabled: leave the file out, or choose another sslmode";
                return Err(value(option, shown(path), wanted));
            }
        }
        if let Some(ca) = self.ca.as_deref().filter(|_| !verifies) {
            // Accepting it would look as if certificates were verified.
            let wanted = "nothing is verified with this sslmode: use verify-ca or verify-identity";
            return Err(value("ssl_ca", shown(ca), wanted));
        }
        match (&self.cert, &self.key) {
            (Some(cert), None) => Err(value("ssl_cert", shown(cert), "give ssl_key as well")),
            (None, Some(key)) => Err(value("ssl_key", shown(key), "give ssl_cert as well")),
            (Some(cert), Some(_)) if !cfg!(feature = "rustls-tls") => {
                let wanted = "client certificates need the feature `rustls-tls`";
                Err(value("ssl_cert", shown(cert), wanted))
            }
            _ => self.validate_name(mode),
        }
    }

    fn validate_name(&self, mode: SslMode) -> Result<(), ConfigError> {
        let Some(template) = &self.name else {
            return Ok(());
        };
        if mode != SslMode::VerifyIdentity {
            let wanted = "names are only verified with sslmode=verify-identity";
            return Err(value("tls_name", template.as_str(), wanted));
        }
        let filled = self.name_of("pod-0.service");
        let labels = filled.split('.').all(|label| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(word)
        });
        if !labels {
            let wanted = "give a DNS name; {host}, {pod} and {service} stand for the pod's";
            return Err(value("tls_name", template.as_str(), wanted));
        }
        Ok(())
    }
}

/// Whether the driver was compiled with any TLS. The driver has no such query, but only with TLS
/// its options have a field for a client certificate.
pub(super) fn driver_has_tls() -> bool {
    let options = mysql_async::SslOpts::default();
    cfg!(feature = "rustls-tls") || format!("{options:?}").contains("client_identity")
}

/// Refuses paths that no file system accepts. Whether the file exists is checked later.
pub(super) fn file(option: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(value(option, shown(path), "give the path of a file"));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn value(option: &'static str, given: impl Into<String>, wanted: &'static str) -> ConfigError {
    ConfigError::Value {
        option,
        given: given.into(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config() -> Config {
        Config::new("mysql", "app")
    }

    fn refused(config: Config) -> (&'static str, String) {
        match config.validate().unwrap_err() {
            ConfigError::Value { option, wanted, .. } => (option, wanted.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bundle_of_authorities_alone_means_that_it_is_verified_against() {
        assert_eq!(config().tls.mode(), SslMode::Disabled);
        assert_eq!(config().with_ssl_ca("/ca").tls.mode(), SslMode::VerifyCa);
        let named = config()
            .with_ssl_ca("/ca")
            .with_ssl_mode(SslMode::VerifyIdentity);
        assert_eq!(named.tls.mode(), SslMode::VerifyIdentity);
    }

    #[test]
    fn the_certificates_name_is_the_pods_or_made_from_it() {
        let host = "mysql-1.mysql.shop.svc.cluster.local";
        let name = |template: &str| config().with_tls_name(template).tls.name_of(host);
        assert_eq!(config().tls.name_of(host), host);
        assert_eq!(config().tls.name_of(&format!("{host}.")), host);
        assert_eq!(name("{host}"), host);
        assert_eq!(name("{service}"), "mysql.shop.svc.cluster.local");
        assert_eq!(name("{pod}.db.example.com"), "mysql-1.db.example.com");
        assert_eq!(name("db.example.com"), "db.example.com");
    }

    #[cfg(feature = "rustls-tls")]
    #[test]
    fn options_that_would_do_nothing_or_pretend_to_are_refused() {
        use SslMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
        let ca = || config().with_ssl_ca("/ca");
        for (mode, fine) in [
            (Disabled, false),
            (Preferred, false),
            (Required, false),
            (VerifyCa, true),
            (VerifyIdentity, true),
        ] {
            assert_eq!(
                ca().with_ssl_mode(mode).validate().is_ok(),
                fine,
                "{mode:?}"
            );
            let bare = config().with_ssl_mode(mode);
            assert_eq!(bare.validate().is_ok(), !fine, "{mode:?}");
        }
        let disabled = config().with_ssl_identity("/c", "/k");
        assert_eq!(refused(disabled.clone()).0, "ssl_cert");
        assert!(disabled.with_ssl_mode(Required).validate().is_ok());
        assert_eq!(refused(config().with_ssl_ca("")).0, "ssl_ca");

        let identity = || ca().with_ssl_mode(VerifyIdentity);
        for good in ["{host}", "{pod}.{service}", "db.example.com", "*.x"] {
            let fine = identity().with_tls_name(good).validate().is_ok();
            assert_eq!(fine, good != "*.x", "{good}");
        }
        for bad in ["", "{ordinal}", "a b", "a..b", ".", "{pod}."] {
            assert_eq!(
                refused(identity().with_tls_name(bad)).0,
                "tls_name",
                "{bad}"
            );
        }
        assert_eq!(refused(ca().with_tls_name("db.example.com")).0, "tls_name");
    }

    #[test]
    fn a_password_is_sent_as_it_is_to_a_verified_server_only() {
        use SslMode::{Disabled, Preferred, Required};
        for mode in [Disabled, Preferred, Required] {
            let unsafe_one = config().with_ssl_mode(mode).with_cleartext_password(true);
            let tls = unsafe_one.tls;
            let error = tls.validate(true).unwrap_err().to_string();
            assert!(error.contains("cleartext_password"), "{error}");
        }
        let safe = config().with_ssl_ca("/ca").with_cleartext_password(true);
        assert_eq!(safe.tls.validate(true), Ok(()));
    }

    #[test]
    fn without_tls_in_the_build_asking_for_it_says_how_to_get_it() {
        for mode in [
            SslMode::Preferred,
            SslMode::Required,
            SslMode::VerifyCa,
            SslMode::VerifyIdentity,
        ] {
            let tls = config().with_ssl_mode(mode).tls;
            let error = tls.validate(false).unwrap_err().to_string();
            assert!(error.contains("rustls-tls"), "{error}");
        }
        assert_eq!(Tls::default().validate(false), Ok(()));
    }

    #[test]
    fn a_password_and_a_file_for_it_exclude_each_other() {
        let both = config().with_password("x").with_password_file("/p");
        assert_eq!(refused(both).0, "password_file");
        assert_eq!(refused(config().with_password_file("")).0, "password_file");
        assert_eq!(config().with_password_file("/p").validate(), Ok(()));
    }
}
