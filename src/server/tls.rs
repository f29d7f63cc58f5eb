//! The driver's TLS options, and the meaning of its TLS errors.
//!
//! [`options`] makes the options, [`inspect`] checks files before use, and [`problem`] reads an
//! error.
//!
//! Owns the driver's `SslOpts` and the knowledge of the TLS library behind it. It must never make a
//! connection less safe than its mode says: in doubt it refuses.

use crate::config::SslMode;
use crate::error::TlsProblem;
use mysql_async::{DriverError, Error, IoError, SslOpts};

/// The host name to verify with `verify-ca`.
///
/// The driver's option to skip the check of the name has no effect with rustls: the driver looks
/// for the text `NotValidForName` in the error, but rustls words the error differently. However,
/// rustls prints the name to verify in this error and in no other. It checks the name last, after
/// the chain, the dates and the purpose. So with this name the option works: a wrong name passes,
/// and every other problem stays an error.
///
/// If the driver fixes its option, this name does no harm. If rustls changes its words, every
/// certificate is refused, and a test fails.
const ANY_NAME: &str = "NotValidForName.invalid";

/// The contents of the files that TLS needs.
#[derive(Clone, Copy)]
pub(crate) struct Pem<'a> {
    pub(crate) ca: Option<&'a [u8]>,
    /// Certificate and key.
    pub(crate) identity: Option<(&'a [u8], &'a [u8])>,
}

/// How to encrypt a connection to the pod whose certificate has `name`; `None` for no encryption.
pub(crate) fn options(mode: SslMode, name: &str, files: Pem<'_>) -> Option<SslOpts> {
    let options = match mode {
        SslMode::Disabled => return None,
        SslMode::Preferred | SslMode::Required => {
            SslOpts::default().with_danger_accept_invalid_certs(true)
        }
        SslMode::VerifyCa => SslOpts::default()
            .with_danger_skip_domain_validation(true)
            .with_danger_tls_hostname_override(Some(ANY_NAME)),
        SslMode::VerifyIdentity => {
            SslOpts::default().with_danger_tls_hostname_override(Some(name.to_owned()))
        }
    };
    let options = match files.ca {
        Some(ca) => options
            .with_disable_built_in_roots(true)
            .with_root_certs(vec![ca.to_vec().into()]),
        None => options,
    };
    Some(with_identity(options, files.identity))
}

#[cfg(feature = "rustls-tls")]
fn with_identity(options: SslOpts, identity: Option<(&[u8], &[u8])>) -> SslOpts {
    options.with_client_identity(identity.map(|(cert, key)| {
        mysql_async::ClientIdentity::new(cert.to_vec().into(), key.to_vec().into())
    }))
}

/// Does nothing: without `rustls-tls`, options with a client certificate are refused earlier.
#[cfg(not(feature = "rustls-tls"))]
fn with_identity(options: SslOpts, _: Option<(&[u8], &[u8])>) -> SslOpts {
    options
}

/// The TLS problem behind an error, or `None` if the error is not about TLS.
#[allow(
    unreachable_patterns,
    reason = "without TLS the driver knows one I/O error only"
)]
pub(crate) fn problem(error: &Error) -> Option<(TlsProblem, String)> {
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Some((TlsProblem::NotOffered, String::new()))
        }
        Error::Io(IoError::Io(error)) => in_io(error),
        Error::Io(error) => Some((by_words(&error.to_string()), error.to_string())),
        _ => None,
    }
}

#[cfg(feature = "rustls-tls")]
fn in_io(error: &std::io::Error) -> Option<(TlsProblem, String)> {
    // The driver may have wrapped the error once more.
    let mut next: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|inner| inner as _);
    while let Some(inner) = next {
        if let Some(rustls) = inner.downcast_ref::<rustls::Error>() {
            return Some((by_variant(rustls), rustls.to_string()));
        }
        next = match inner.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => inner.source(),
        };
    }
    None
}

#[cfg(not(feature = "rustls-tls"))]
fn in_io(_: &std::io::Error) -> Option<(TlsProblem, String)> {
    None
}

#[cfg(feature = "rustls-tls")]
fn by_variant(error: &rustls::Error) -> TlsProblem {
    use rustls::{AlertDescription as Alert, CertificateError as Cert, Error as Tls};
    match error {
        Tls::InvalidCertificate(cert) => match cert {
            Cert::NotValidForName | Cert::NotValidForNameContext { .. } => TlsProblem::WrongName,
            Cert::Expired | Cert::ExpiredContext { .. } => TlsProblem::Expired,
            Cert::NotValidYet | Cert::NotValidYetContext { .. } => TlsProblem::NotYetValid,
            // An authority of the same name but with another key.
            Cert::UnknownIssuer | Cert::BadSignature => TlsProblem::UnknownAuthority,
            _ => TlsProblem::BadCertificate,
        },
        Tls::NoCertificatesPresented => TlsProblem::BadCertificate,
        // The server's complaints about a client certificate.
        Tls::AlertReceived(
            Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => TlsProblem::ClientCertificate,
        _ => TlsProblem::Handshake,
    }
}

/// Judges the errors of the platform's TLS, which are only text. These texts are OpenSSL's.
fn by_words(words: &str) -> TlsProblem {
    let words = words.to_ascii_lowercase();
    let table = [
        ("hostname mismatch", TlsProblem::WrongName),
        ("has expired", TlsProblem::Expired),
        ("not yet valid", TlsProblem::NotYetValid),
        ("local issuer", TlsProblem::UnknownAuthority),
        ("self-signed", TlsProblem::UnknownAuthority),
        ("self signed", TlsProblem::UnknownAuthority),
        ("certificate verify failed", TlsProblem::BadCertificate),
        ("alert", TlsProblem::ClientCertificate),
    ];
    let found = table.iter().find(|(part, _)| words.contains(part));
    found.map_or(TlsProblem::Handshake, |(_, problem)| *problem)
}

/// Checks the content of PEM files before any server is asked. An error names the option (`ssl_ca`,
/// `ssl_cert` or `ssl_key`) and holds the library's words.
#[cfg(feature = "rustls-tls")]
pub(crate) fn inspect(
    ca: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<(), (&'static str, String)> {
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    use std::sync::Arc;

    // The driver uses the process's provider, and panics if none is installed and the program was
    // built with more than one. If there is only one, rustls itself would install it in the same
    // way.
    if CryptoProvider::get_default().is_none() {
        let _ = ring::default_provider().install_default();
    }
    let certificates = |pem: &[u8]| {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())
    };
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca) = ca {
        let in_ca = |words: String| ("ssl_ca", words);
        for certificate in certificates(ca).map_err(in_ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| in_ca(error.to_string()))?;
        }
    }
    if let Some((chain, key)) = identity {
        let chain = certificates(chain).map_err(|words| ("ssl_cert", words))?;
        let in_key = |words: String| ("ssl_key", words);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| in_key(error.to_string()))?;
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| in_key(error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| in_key(error.to_string()))?;
    }
    Ok(())
}

#[cfg(not(feature = "rustls-tls"))]
pub(crate) fn inspect(
    _: Option<&[u8]>,
    _: Option<(&[u8], &[u8])>,
) -> Result<(), (&'static str, String)> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_verified_or_everything_that_the_mode_says() {
        let files = Pem {
            ca: Some(b"pem"),
            identity: None,
        };
        let options = |mode| options(mode, "mysql-0.mysql", files);
        assert_eq!(options(SslMode::Disabled), None);
        for mode in [SslMode::VerifyCa, SslMode::VerifyIdentity] {
            let options = options(mode).unwrap();
            assert!(!options.accept_invalid_certs());
            assert!(options.disable_built_in_roots());
            assert_eq!(options.root_certs().len(), 1);
            assert_eq!(
                options.skip_domain_validation(),
                mode == SslMode::VerifyCa,
                "{mode:?}"
            );
        }
        let strict = options(SslMode::VerifyIdentity).unwrap();
        assert_eq!(strict.tls_hostname_override(), Some("mysql-0.mysql"));
    }

    #[test]
    fn the_words_of_openssl_are_understood() {
        for (words, problem) in [
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate \
                 verify failed:../ssl/statem/statem_clnt.c:1889: (unable to get local issuer \
                 certificate)",
                TlsProblem::UnknownAuthority,
            ),
            (
                "certificate verify failed: (certificate has expired)",
                TlsProblem::Expired,
            ),
            (
                "certificate verify failed: (Hostname mismatch)",
                TlsProblem::WrongName,
            ),
            ("unexpected EOF", TlsProblem::Handshake),
        ] {
            assert_eq!(by_words(words), problem, "{words}");
        }
    }
}
