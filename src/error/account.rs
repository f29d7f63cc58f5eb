//! Which server errors are about the account.
//!
//! Owns the numbers. It must never be asked about anything else.

/// The login itself is wrong, or the account is closed to everybody.
pub(crate) fn is_access_denied(code: u16) -> bool {
    matches!(
        code,
        1045 | 1698     // wrong user or password
        | 1044 | 1049 // no access to the database, no such database
        | 1820 | 1862 // the password has expired
        | 3118        // MySQL: account locked
        | 3955        // MySQL: account locked after failed logins
        | 4151 // MariaDB: account locked
    )
}

/// The account and its password are not what the server has, or it is locked: what each further
/// attempt makes worse.
pub(crate) fn is_wrong_login(code: u16) -> bool {
    matches!(code, 1045 | 1698 | 3118 | 3955 | 4151)
}
