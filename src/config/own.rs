//! Options that are set or read in a way of their own; the others are rows of
//! [`options`](super::options).

use super::{Config, Secret, SslMode};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Config {
    /// Every option at its default, for `user` on the headless Service `service`.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        Self::default().with_service(service).with_user(user)
    }

    /// The account's password; none by default. An empty password means none.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Secret>) -> Self {
        let password = password.into();
        self.password = (!password.expose().is_empty()).then_some(password);
        self
    }

    /// See [`Config::with_password`].
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The bounds of the interval between look-ups, regardless of the answers' TTL; default 1 s to
    /// 5 s. Higher values put less load on the cluster's DNS, but new pods are noticed later.
    #[must_use]
    pub fn with_refresh(mut self, min: Duration, max: Duration) -> Self {
        self.refresh_min = min;
        self.refresh_max = max;
        self
    }

    /// See [`Config::with_refresh`]: the shortest interval, and the longest.
    pub fn refresh(&self) -> (Duration, Duration) {
        (self.refresh_min, self.refresh_max)
    }

    /// The name servers to use; by default (empty) those of the system's `resolv.conf`. For
    /// applications outside of the cluster, and for tests.
    #[must_use]
    pub fn with_name_servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.name_servers = servers.into_iter().collect();
        self
    }

    /// See [`Config::with_name_servers`].
    pub fn name_servers(&self) -> &[SocketAddr] {
        &self.name_servers
    }

    /// The search list that completes a short Service name; by default that of the system's
    /// `resolv.conf`. Needed if name servers are set and the Service name is not a full name.
    #[must_use]
    pub fn with_search<I>(mut self, domains: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.search = Some(domains.into_iter().map(Into::into).collect());
        self
    }

    /// See [`Config::with_search`].
    pub fn search(&self) -> Option<&[String]> {
        self.search.as_deref()
    }

    /// The share of the reads of each pod relative to the others, by ordinal. The default is 1, and
    /// the maximum is 100. Of two idle pods with the weights 1 and 2, the second is used; under
    /// load, it has twice as many checkouts in flight. Set it if pods differ in size. A pod that is
    /// slow for another reason is detected by [`Config::with_pace`], whose weight is multiplied
    /// with this one. With weight 0, a pod serves no reads, even if no other pod is left. Writes
    /// ignore the weights.
    #[must_use]
    pub fn with_weights(mut self, weights: impl IntoIterator<Item = (u32, u32)>) -> Self {
        self.weights = weights.into_iter().collect();
        self
    }

    /// See [`Config::with_weights`].
    pub fn weights(&self) -> impl Iterator<Item = (u32, u32)> {
        let weights = self.weights.iter();
        weights.map(|(ordinal, weight)| (*ordinal, *weight))
    }

    /// Whether connections are encrypted, and what a server's certificate must prove; default
    /// [`SslMode::Disabled`], or [`SslMode::VerifyCa`] when [`Config::with_ssl_ca`] is given.
    #[must_use]
    pub fn with_ssl_mode(mut self, mode: SslMode) -> Self {
        self.tls.mode = Some(mode);
        self
    }

    /// See [`Config::with_ssl_mode`]. If none was given, what the other options come to:
    /// `verify-ca` with an authority, for one.
    pub fn ssl_mode(&self) -> SslMode {
        self.tls.mode()
    }

    /// A PEM file with the certificates of the authorities that may sign server certificates; none
    /// by default. No other authority is trusted. Like the other files, it is read again for new
    /// connections after it has changed.
    #[must_use]
    pub fn with_ssl_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// See [`Config::with_ssl_ca`].
    pub fn ssl_ca(&self) -> Option<&Path> {
        self.tls.ca.as_deref()
    }

    /// PEM files with the client's certificate (followed by any intermediate certificates) and its
    /// private key; none by default. For accounts that `REQUIRE X509`.
    #[must_use]
    pub fn with_ssl_identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.cert = Some(cert.into());
        self.tls.key = Some(key.into());
        self
    }

    /// See [`Config::with_ssl_identity`].
    pub fn ssl_identity(&self) -> Option<(&Path, &Path)> {
        self.tls.cert.as_deref().zip(self.tls.key.as_deref())
    }

    /// The name that a pod's certificate must carry with [`SslMode::VerifyIdentity`]. The default
    /// is the pod's stable name, `{host}`, such as `mysql-0.mysql.default.svc.cluster.local`.
    /// `{pod}` stands for its first label, and `{service}` for the rest. Use `{service}` for one
    /// certificate for all pods, and a name such as `{pod}.db.example.com` for certificates with
    /// names from outside of the cluster.
    #[must_use]
    pub fn with_tls_name(mut self, template: impl Into<String>) -> Self {
        self.tls.name = Some(template.into());
        self
    }

    /// See [`Config::with_tls_name`].
    pub fn tls_name(&self) -> Option<&str> {
        self.tls.name.as_deref()
    }

    /// Whether the password may be sent in clear text, for accounts that log in by
    /// `mysql_clear_password` (PAM, LDAP); default `false`. Needs [`SslMode::VerifyCa`] or
    /// [`SslMode::VerifyIdentity`], so that only a verified server gets the password.
    #[must_use]
    pub fn with_cleartext_password(mut self, allowed: bool) -> Self {
        self.tls.cleartext_password = allowed;
        self
    }

    /// See [`Config::with_cleartext_password`].
    pub fn cleartext_password(&self) -> bool {
        self.tls.cleartext_password
    }

    /// How long a read may wait for a connection.
    pub(crate) fn longest_read_checkout(&self) -> Duration {
        self.read_checkout_timeout.min(self.checkout_timeout)
    }
}
