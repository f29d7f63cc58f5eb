//! What the driver is told about TLS, and what its errors about TLS mean.
//!
//! Owns the driver's `SslOpts` and the knowledge of the TLS library behind it. It must never make
//! a connection less safe than its mode says: a doubt is a refusal.

use super::credentials::Credentials;
use crate::config::SslMode;
use crate::error::TlsProblem;
use mysql_async::{DriverError, Error, IoError, SslOpts};

/// The name asked for with `verify-ca`.
///
/// The driver's switch that skips the check of the name does nothing with rustls: it looks for the
/// text `NotValidForName` in the error, and rustls prints the error otherwise. But rustls prints
/// the name that was asked for, and checks the name last, when the chain, the dates and the
/// purpose were found good; no other error quotes a name. So with this name the switch works: a
/// wrong name passes, and nothing else does. Should the driver mend its switch, or rustls its
/// words, then this name does no harm, or every certificate is refused; a test would show it.
const ANY_NAME: &str = "NotValidForName.invalid";

/// How to encrypt a connection to the pod whose certificate has `name`; `None` for not at all.
pub(super) fn options(mode: SslMode, name: &str, credentials: &Credentials) -> Option<SslOpts> {
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
    let options = match &credentials.ca {
        Some(ca) => options
            .with_disable_built_in_roots(true)
            .with_root_certs(vec![ca.clone().into()]),
        None => options,
    };
    Some(with_identity(options, credentials))
}

#[cfg(feature = "rustls-tls")]
fn with_identity(options: SslOpts, credentials: &Credentials) -> SslOpts {
    let identity = credentials.identity.clone();
    options.with_client_identity(
        identity.map(|(cert, key)| mysql_async::ClientIdentity::new(cert.into(), key.into())),
    )
}

/// Options with a client's certificate are refused before they come here.
#[cfg(not(feature = "rustls-tls"))]
fn with_identity(options: SslOpts, _: &Credentials) -> SslOpts {
    options
}

/// What an error says about TLS, if it is about TLS.
#[allow(
    unreachable_patterns,
    reason = "without TLS the driver knows one I/O error only"
)]
pub(super) fn problem(error: &Error) -> Option<(TlsProblem, String)> {
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
    // The driver may have wrapped it once more.
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
            // An authority of the same name, with another key.
            Cert::UnknownIssuer | Cert::BadSignature => TlsProblem::UnknownAuthority,
            _ => TlsProblem::BadCertificate,
        },
        Tls::NoCertificatesPresented => TlsProblem::BadCertificate,
        // What a server says of a client's certificate.
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

/// For the platform's TLS, whose errors are only words; these are OpenSSL's.
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

/// What is wrong with the content of PEM files, found out before any server is asked: `Err` is
/// whether the authorities, the certificate or the key, and the library's words.
#[cfg(feature = "rustls-tls")]
pub(super) fn inspect(
    ca: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<(), (&'static str, String)> {
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    use std::sync::Arc;

    // The driver takes the process's provider, and panics if there is none and the program was
    // built with more than one; rustls itself would install the only one in the same way.
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
pub(super) fn inspect(
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
        let credentials = Credentials {
            ca: Some(b"pem".to_vec()),
            ..Credentials::default()
        };
        let options = |mode| options(mode, "mysql-0.mysql", &credentials);
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
