//! Owns the options that are a choice between named behaviours, and their spelling in a URL.
//! It must never act on a choice.

/// Which pods `replicas()` may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReplicaPolicy {
    /// Replicas; the primary only if no replica exists or none can be had. In a URL:
    /// `prefer-replica`.
    #[default]
    PreferReplica,
    /// Replicas and nothing else: without one the read fails. For heavy reads that must never
    /// touch the primary. In a URL: `replica-only`.
    ReplicaOnly,
    /// Replicas and the primary alike. For small sets whose primary has room to spare. In a URL:
    /// `any`.
    Any,
}

/// How strictly a connection must prove that it reached the pod it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Verify {
    /// Checks what the server reports, and tolerates a set-up in which its host name says nothing
    /// about the pod (such as `hostNetwork`). In a URL: `auto`.
    #[default]
    Auto,
    /// Every server must report its pod's host name, else it is not used. In a URL: `strict`.
    Strict,
    /// No host name check. Only for servers that report a made-up name. In a URL: `off`.
    Off,
}

/// Whether connections are encrypted, and what a server's certificate must prove: MySQL's words.
///
/// Only the two that verify keep out somebody who poses as the server: with the others such a one
/// can read and change everything, and may learn the password. Without encryption the password is
/// not readable for who only listens, but statements and rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SslMode {
    /// No encryption. In a URL: `disabled`.
    #[default]
    Disabled,
    /// Encrypted if the server can, and without encryption if it cannot. Nothing is verified: this
    /// keeps out who only listens, and nobody else. In a URL: `preferred`.
    Preferred,
    /// Encrypted or not at all. Nothing is verified. In a URL: `required`.
    Required,
    /// Encrypted, and the certificate must be signed by an authority in `ssl_ca` and valid now,
    /// for whatever name. In a URL: `verify-ca`.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must carry the pod's name (see
    /// [`Config::with_tls_name`](crate::Config::with_tls_name)). In a URL: `verify-identity`.
    VerifyIdentity,
}

/// When a connection's session is reset on its way back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Reset {
    /// When a statement was not proven to leave the session clean. In a URL: `auto`.
    #[default]
    Auto,
    /// After every use: one more round trip each. For applications whose views, triggers or stored
    /// functions change the session. In a URL: `always`.
    Always,
    /// Never: session state passes from one user of a connection to the next. Only for
    /// applications that set none. In a URL: `never`.
    Never,
}

/// How it is known which pod takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PrimaryBy {
    /// The pod with ordinal 0, if its server says that it is writable. In a URL: `ordinal`.
    #[default]
    Ordinal,
    /// The one pod whose server is writable, whatever its ordinal: for sets in which an operator
    /// promotes a replica. Every pod is asked each second, on a connection of its own; one that has
    /// not answered within a second is silent, and heard when it does. In a URL: `detected`.
    Detected,
}

/// What happens to writes when several pods are writable, with [`PrimaryBy::Detected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TwoPrimaries {
    /// They wait until one pod is left that is writable: no client can tell which of them is the
    /// primary. In a URL: `refuse`.
    #[default]
    Refuse,
    /// They go on to the pod that was the only one before; to the lowest ordinal if none was. Only
    /// where several pods are writable on purpose. In a URL: `keep`.
    Keep,
}

/// How the history of the first primary that a process meets is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ColdStart {
    /// No replica that can be reached may hold what the primary lacks, apart from what the replica
    /// executed by itself: a primary that was re-created empty takes no writes. The first write
    /// waits for the replicas' answers, 1 s at most. In a URL: `compare`.
    #[default]
    Compare,
    /// Whatever it is. For replicas that hold transactions of others on purpose. In a URL: `trust`.
    Trust,
}

/// Every spelling of a choice, in the order in which an error lists them.
pub(crate) trait Choice: Sized + Copy + 'static {
    const SPELLINGS: &'static [(&'static str, Self)];
    /// What an error says is right.
    const WANTED: &'static str;
}

// === impl SslMode ===

impl SslMode {
    /// Its spelling in a URL.
    pub(super) fn word(self) -> &'static str {
        let known = Self::SPELLINGS.iter().find(|(_, mode)| *mode == self);
        known.map_or("", |(word, _)| word)
    }
}

// === impl Choice ===

impl Choice for ReplicaPolicy {
    const SPELLINGS: &'static [(&'static str, Self)] = &[
        ("prefer-replica", Self::PreferReplica),
        ("replica-only", Self::ReplicaOnly),
        ("any", Self::Any),
    ];
    const WANTED: &'static str = "use prefer-replica, replica-only or any";
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
        // As MySQL's own tools print them.
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
