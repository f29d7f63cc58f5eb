//! The options that are a choice between named behaviours, with their spelling in a URL. This
//! module must never act on a choice.

/// Which pods `replicas()` may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReplicaPolicy {
    /// Replicas, and the primary only if no replica can serve the read. In a URL: `prefer-replica`.
    #[default]
    PreferReplica,
    /// Only replicas: without one, the read fails. For heavy reads that must never use the primary.
    /// In a URL: `replica-only`.
    ReplicaOnly,
    /// Replicas and the primary alike. For small sets whose primary has spare capacity. In a URL:
    /// `any`.
    Any,
    /// Only the primary. For sets whose other pods must not serve reads, and for reads that must
    /// see every write. In a URL: `primary-only`.
    PrimaryOnly,
}

/// Which pods may serve reads as replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReadFrom {
    /// Pods that are proven to replicate from the primary. In a URL: `proven`.
    #[default]
    Proven,
    /// Every pod of the Service, whatever data it holds, even if it was never set up as a replica.
    /// For replicas that cannot be proven, such as MariaDB replicas that are configured to apply
    /// changes an hour late. In a URL: `listed`.
    Listed,
}

/// How strictly a server must prove that it is the pod that was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Verify {
    /// Checks the host name that the server reports, but tolerates set-ups in which the host name
    /// is not the pod's name (such as `hostNetwork`). Once one pod of the StatefulSet has reported
    /// its own name, the others are checked as with `Strict`. In a URL: `auto`.
    #[default]
    Auto,
    /// Every server must report its pod's host name, or else it is not used. In a URL: `strict`.
    Strict,
    /// No host name check. Only for servers that report a made-up name. In a URL: `off`.
    Off,
}

/// Whether connections are encrypted, and what a server's certificate must prove. The names are
/// those of MySQL's `ssl-mode`.
///
/// Only the two modes that verify protect against an attacker who impersonates the server. With the
/// other modes, such an attacker can read and change everything, and may learn the password.
/// Without encryption, an eavesdropper can read statements and rows, but not the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SslMode {
    /// No encryption. In a URL: `disabled`.
    #[default]
    Disabled,
    /// Encrypted if the server supports encryption, unencrypted otherwise. Nothing is verified:
    /// this protects only against eavesdroppers. In a URL: `preferred`.
    Preferred,
    /// Always encrypted, but nothing is verified. In a URL: `required`.
    Required,
    /// Encrypted, and the certificate must be signed by an authority in `ssl_ca` and currently
    /// valid. Its name is not checked. In a URL: `verify-ca`.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must carry the pod's name (see
    /// [`Config::with_tls_name`](crate::Config::with_tls_name)). In a URL: `verify-identity`.
    VerifyIdentity,
}

/// When the session of a connection is reset before it goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Reset {
    /// Only if a statement may have changed the session. In a URL: `auto`.
    #[default]
    Auto,
    /// After every use, which costs a round trip. For applications whose views, triggers or stored
    /// functions change the session. In a URL: `always`.
    Always,
    /// Never: session state passes from one user of a connection to the next. Only for applications
    /// that set no session state. In a URL: `never`.
    Never,
}

/// How the pod that takes writes is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PrimaryBy {
    /// The pod with ordinal 0 (or [`first_ordinal`](crate::Config::with_first_ordinal)), if its
    /// server is writable. In a URL: `ordinal`.
    #[default]
    Ordinal,
    /// The only pod whose server is writable, whatever its ordinal. For sets in which an operator
    /// promotes a replica. Every pod is asked each second, on a separate connection. A pod that
    /// does not answer within a second counts as silent until it answers. In a URL: `detected`.
    Detected,
}

/// What happens to writes when several pods are writable, with [`PrimaryBy::Detected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TwoPrimaries {
    /// Writes wait until only one pod is writable, because no client can know which of them is the
    /// primary. In a URL: `refuse`.
    #[default]
    Refuse,
    /// Writes continue on the pod that was the only writable one before, or on the lowest ordinal
    /// if there was none. Use it only if several pods are writable on purpose. In a URL: `keep`.
    Keep,
}

/// How a process judges the history of the first primary that it connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ColdStart {
    /// The primary must hold all transactions of every reachable replica, except those that the
    /// replica executed itself. So a primary that was re-created empty takes no writes. The first
    /// write waits for the replicas' answers for at most 1 s; later answers count as well. In a
    /// URL: `compare`.
    #[default]
    Compare,
    /// Any history is accepted, and the replicas' transactions are ignored. For replicas that hold
    /// transactions of other servers on purpose. In a URL: `trust`.
    Trust,
}

/// The spellings of a choice, in the order in which an error lists them.
pub(crate) trait Choice: Sized + Copy + 'static {
    const SPELLINGS: &'static [(&'static str, Self)];
    /// The text of an error about what is allowed.
    const WANTED: &'static str;
}

impl SslMode {
    /// The spelling in a URL.
    pub(super) fn word(self) -> &'static str {
        let known = Self::SPELLINGS.iter().find(|(_, mode)| *mode == self);
        known.map_or("", |(word, _)| word)
    }
}

impl Choice for ReplicaPolicy {
    const SPELLINGS: &'static [(&'static str, Self)] = &[
        ("prefer-replica", Self::PreferReplica),
        ("replica-only", Self::ReplicaOnly),
        ("any", Self::Any),
        ("primary-only", Self::PrimaryOnly),
    ];
    const WANTED: &'static str = "use prefer-replica, replica-only, any or primary-only";
}

impl Choice for ReadFrom {
    const SPELLINGS: &'static [(&'static str, Self)] =
        &[("proven", Self::Proven), ("listed", Self::Listed)];
    const WANTED: &'static str = "use proven or listed";
}

impl Choice for Verify {
    const SPELLINGS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("strict", Self::Strict),
        ("off", Self::Off),
    ];
    const WANTED: &'static str = "use auto, strict or off";
}

impl Choice for SslMode {
    const SPELLINGS: &'static [(&'static str, Self)] = &[
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
        ("verify-ca", Self::VerifyCa),
        ("verify-identity", Self::VerifyIdentity),
        // The spellings of MySQL's own tools.
        ("DISABLED", Self::Disabled),
        ("PREFERRED", Self::Preferred),
        ("REQUIRED", Self::Required),
        ("VERIFY_CA", Self::VerifyCa),
        ("VERIFY_IDENTITY", Self::VerifyIdentity),
    ];
    const WANTED: &'static str = "use disabled, preferred, required, verify-ca or verify-identity";
}

impl Choice for Reset {
    const SPELLINGS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
    const WANTED: &'static str = "use auto, always or never";
}

impl Choice for PrimaryBy {
    const SPELLINGS: &'static [(&'static str, Self)] =
        &[("ordinal", Self::Ordinal), ("detected", Self::Detected)];
    const WANTED: &'static str = "use ordinal or detected";
}

impl Choice for TwoPrimaries {
    const SPELLINGS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("keep", Self::Keep)];
    const WANTED: &'static str = "use refuse or keep";
}

impl Choice for ColdStart {
    const SPELLINGS: &'static [(&'static str, Self)] =
        &[("compare", Self::Compare), ("trust", Self::Trust)];
    const WANTED: &'static str = "use compare or trust";
}

impl Choice for bool {
    const SPELLINGS: &'static [(&'static str, Self)] = &[("true", true), ("false", false)];
    const WANTED: &'static str = "use true or false";
}
