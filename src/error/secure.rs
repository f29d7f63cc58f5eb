//! Reasons why encryption, or a file that holds a secret, cannot be used.
//!
//! It must never carry the content of a file.

/// Why there is no trustworthy encrypted connection to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// The server offers no encryption, and `sslmode` requires it.
    #[error("the server offers none, and sslmode demands it")]
    NotOffered,
    /// The server accepts only encrypted connections, and `sslmode` is `disabled`.
    #[error("the server demands it, and sslmode is disabled")]
    Demanded,
    /// The server's certificate is for another name than this pod's.
    #[error("the server's certificate is not for this pod's name")]
    WrongName,
    /// The server's certificate has expired.
    #[error("the server's certificate has expired")]
    Expired,
    /// The server's certificate is not valid yet: the clock is wrong here, or where the certificate
    /// was made.
    #[error("the server's certificate is not valid yet")]
    NotYetValid,
    /// No authority in `ssl_ca` has signed the server's certificate.
    #[error("the server's certificate is not signed by an authority in ssl_ca")]
    UnknownAuthority,
    /// The server's certificate cannot be used for another reason, such as its signature or its
    /// purpose.
    #[error("the server's certificate cannot be used")]
    BadCertificate,
    /// The server requires a client certificate, or refuses the one that it got.
    #[error("the server refused the client's certificate, or demands one")]
    ClientCertificate,
    /// Client and server have no protocol version or cipher in common, or the handshake was cut
    /// off.
    #[error("the handshake failed")]
    Handshake,
}

/// Why a file that the options name cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The file does not exist, or its permissions do not allow reading.
    #[error("cannot be read")]
    Unreadable,
    /// The file is empty.
    #[error("is empty")]
    Empty,
    /// The file is too large for its purpose.
    #[error("is too large to be what the option is for")]
    TooLarge,
    /// The password is not UTF-8 text, or contains a NUL character.
    #[error("holds no text that could be a password")]
    NotText,
    /// The file has no PEM block of the kind that the option needs.
    #[error("holds nothing of the kind in PEM form")]
    NotPem,
    /// The certificates or the key cannot be parsed, or the key does not belong to the certificate.
    #[error("cannot be used")]
    Unusable,
}
