//! What can be wrong with encryption, and with the files that hold its secrets.
//!
//! Owns the reasons. It must never carry what is in a file.

/// Why there is no trustworthy encrypted connection to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// The server takes no encrypted connections, and `sslmode` allows no other.
    #[error("the server offers none, and sslmode demands it")]
    NotOffered,
    /// The server takes encrypted connections only, and `sslmode` is `disabled`.
    #[error("the server demands it, and sslmode is disabled")]
    Demanded,
    /// The server's certificate is for another name than this pod's.
    #[error("the server's certificate is not for this pod's name")]
    WrongName,
    /// The server's certificate has expired.
    #[error("the server's certificate has expired")]
    Expired,
    /// The server's certificate is not valid yet: a clock is wrong, here or where it was made.
    #[error("the server's certificate is not valid yet")]
    NotYetValid,
    /// No authority in `ssl_ca` has signed the server's certificate.
    #[error("the server's certificate is not signed by an authority in ssl_ca")]
    UnknownAuthority,
    /// The server's certificate cannot be used for another reason, such as its signature or its
    /// purpose.
    #[error("the server's certificate cannot be used")]
    BadCertificate,
    /// The server demands a client's certificate, or refuses the one it got.
    #[error("the server refused the client's certificate, or demands one")]
    ClientCertificate,
    /// Client and server found no common way, or the handshake broke off.
    #[error("the handshake failed")]
    Handshake,
}

/// Why a file that the options name cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It is not there, or may not be read.
    #[error("cannot be read")]
    Unreadable,
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is larger than any such file.
    #[error("is too large to be what the option is for")]
    TooLarge,
    /// The password is no text, or holds a NUL character.
    #[error("holds no text that could be a password")]
    NotText,
    /// It holds no PEM block of the kind that the option is for.
    #[error("holds nothing of the kind in PEM form")]
    NotPem,
    /// Its certificates or key cannot be understood, or the key is not the certificate's.
    #[error("cannot be used")]
    Unusable,
}
