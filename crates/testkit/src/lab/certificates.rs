//! Certificates for the lab's servers and their clients.
//!
//! Creates keys and certificates, in memory. They must never be used outside of tests: keys are
//! neither protected nor revoked.

use std::fmt;
use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::error::LabError;

/// The domain of a pod's stable name, as the stage's DNS publishes it.
const DOMAIN: &str = "default.svc.cluster.local";

/// An authority that signs certificates. A party trusts it if it has its [`Authority::pem`].
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
#[non_exhaustive]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// The certificate that a server presents, and the authority of the clients that it accepts.
#[derive(Debug, Clone)]
pub(super) struct ServerTls {
    pub(super) identity: Identity,
    pub(super) clients: String,
}

impl fmt::Debug for Authority {
    /// Written by hand to leave out the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    /// Written by hand to leave out the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Creates an authority of this name, with its own key: two authorities of the same name do not
    /// trust each other's certificates.
    ///
    /// # Errors
    ///
    /// When the operating system provides no randomness.
    pub fn new(name: &str) -> Result<Self, LabError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().map_err(failed)?;
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, pem })
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for these DNS names, currently valid, for servers and clients alike.
    ///
    /// # Errors
    ///
    /// When a name is not a valid DNS name.
    pub fn issue<I>(&self, names: I) -> Result<Identity, LabError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.issue_between(names, [2019, 2100])
    }

    /// As [`Authority::issue`], but the certificate expired years ago.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue`].
    pub fn issue_expired<I>(&self, names: I) -> Result<Identity, LabError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.issue_between(names, [2019, 2020])
    }

    /// As [`Authority::issue`], but the certificate becomes valid only in some decades.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue`].
    pub fn issue_not_yet_valid<I>(&self, names: I) -> Result<Identity, LabError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.issue_between(names, [2099, 2100])
    }

    /// Issues the certificate of a pod, for its stable name in the namespace `default` and the
    /// short forms.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue`].
    pub fn issue_for_pod(&self, statefulset: &str, ordinal: u32) -> Result<Identity, LabError> {
        self.issue(pod_names(statefulset, ordinal))
    }

    /// Issues a certificate that is valid from the first day of one year to the first day of
    /// another.
    fn issue_between<I>(&self, names: I, years: [i32; 2]) -> Result<Identity, LabError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let common = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, common);
        let [from, to] = years.map(|year| date_time_ymd(year, 1, 1));
        (params.not_before, params.not_after) = (from, to);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        let key = key.serialize_pem();
        Ok(Identity { cert, key })
    }
}

impl ServerTls {
    /// Writes the files below `directory` and returns the server's options for them.
    pub(super) fn install(&self, directory: &Path) -> Result<[String; 3], LabError> {
        let folder = directory.join("tls");
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, content));
            written.map_err(LabError::io(format!("writing {}", path.display())))?;
            Ok(path.display().to_string())
        };
        Ok([
            format!("--ssl-ca={}", write("ca.pem", &self.clients)?),
            format!("--ssl-cert={}", write("cert.pem", &self.identity.cert)?),
            format!("--ssl-key={}", write("key.pem", &self.identity.key)?),
        ])
    }
}

fn pod_names(statefulset: &str, ordinal: u32) -> [String; 3] {
    let pod = format!("{statefulset}-{ordinal}");
    let in_service = format!("{pod}.{statefulset}");
    let full = format!("{in_service}.{DOMAIN}");
    [full, in_service, pod]
}

fn failed(error: rcgen::Error) -> LabError {
    LabError::Config(format!("no certificate could be made: {error}"))
}
