//! The words that may stand before a parenthesis without leaving a trace.
//!
//! Owns these lists. A function must never be listed unless every supported MySQL and MariaDB has
//! it built in: on a server without it, its name may be that of a stored function.

/// The token before a word, as far as it tells a keyword from a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CallContext {
    /// `=`, `<` or `>`.
    Compared,
    /// `)`.
    Closed,
    Other,
}

/// Reserved words on both servers: no stored function can have such a name, with or without a space
/// before the parenthesis. Sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "ALL", "AND", "AS", "BETWEEN", "BIGINT", "BINARY", "BY", "CASE", "CHAR", "CHARACTER", "CHECK",
    "CONVERT", "DEC", "DECIMAL", "DEFAULT", "DISTINCT", "DISTINCTROW", "DIV", "DOUBLE", "ELSE",
    "EXCEPT", "EXISTS", "FLOAT", "FROM", "HAVING", "IF", "IN", "INDEX", "INSERT", "INT", "INTEGER",
    "INTERSECT", "INTERVAL", "JOIN", "KEY", "LEFT", "LIKE", "LIMIT", "MATCH", "MEDIUMINT", "MOD",
    "NOT", "NUMERIC", "ON", "OR", "OVER", "PARTITION", "REGEXP", "REPEAT", "REPLACE", "RIGHT",
    "RLIKE", "SELECT", "SMALLINT", "STRAIGHT_JOIN", "THEN", "TINYINT", "UNION", "UNIQUE", "USING",
    "VALUES", "VARBINARY", "VARCHAR", "WHEN", "WHERE", "XOR",
];

/// Words before a name that is not a function, even with a list after the name. Sorted.
const NAMES_WHAT_FOLLOWS: &[&str] = &["AS", "INTO", "RECURSIVE", "WITH"];

/// Such words in the definition of a table. (In a query, MariaDB takes `UNIQUE` for `DISTINCT`, and
/// an expression follows.) Sorted.
#[rustfmt::skip]
const DEFINES_WHAT_FOLLOWS: &[&str] = &[
    "EXISTS", "FULLTEXT", "INDEX", "KEY", "REFERENCES", "TABLE", "UNIQUE",
];

/// Functions that are built in on every server and do not affect the session. Sorted.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "ABS", "ACOS", "ADDDATE", "ADDTIME", "AES_DECRYPT", "AES_ENCRYPT", "ASCII", "ASIN", "ATAN",
    "ATAN2", "AVG",
    "BENCHMARK", "BIN", "BIT_AND", "BIT_COUNT", "BIT_LENGTH", "BIT_OR", "BIT_XOR",
    "CAST", "CEIL", "CEILING", "CHARACTER_LENGTH", "CHARSET", "CHAR_LENGTH", "COALESCE",
    "COERCIBILITY", "COLLATION", "COMPRESS", "CONCAT", "CONCAT_WS", "CONNECTION_ID", "CONV",
    "CONVERT_TZ", "COS", "COT", "COUNT", "CRC32", "CUME_DIST", "CURDATE",
    "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "CURTIME",
    "DATABASE", "DATE", "DATEDIFF", "DATE_ADD", "DATE_FORMAT", "DATE_SUB", "DAY", "DAYNAME",
    "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "DEGREES", "DENSE_RANK",
    "ELT", "EXP", "EXPORT_SET", "EXTRACT", "EXTRACTVALUE",
    "FIELD", "FIND_IN_SET", "FIRST_VALUE", "FLOOR", "FORMAT", "FOUND_ROWS", "FROM_BASE64",
    "FROM_DAYS", "FROM_UNIXTIME",
    "GET_FORMAT", "GREATEST", "GROUP_CONCAT",
    "HEX", "HOUR",
    "IFNULL", "INET6_ATON", "INET6_NTOA", "INET_ATON", "INET_NTOA", "INSTR",
    "ISNULL", "IS_FREE_LOCK", "IS_IPV4", "IS_IPV6", "IS_USED_LOCK",
    "JSON_ARRAY", "JSON_ARRAYAGG", "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT", "JSON_CONTAINS",
    "JSON_CONTAINS_PATH", "JSON_DEPTH", "JSON_EXTRACT", "JSON_INSERT", "JSON_KEYS",
    "JSON_LENGTH", "JSON_MERGE_PATCH", "JSON_MERGE_PRESERVE", "JSON_OBJECT", "JSON_OBJECTAGG",
    "JSON_QUOTE", "JSON_REMOVE", "JSON_REPLACE", "JSON_SEARCH", "JSON_SET", "JSON_TYPE",
    "JSON_UNQUOTE", "JSON_VALID", "JSON_VALUE",
    "LAG", "LAST_DAY", "LAST_VALUE", "LCASE", "LEAD", "LEAST", "LENGTH", "LN",
    "LOCALTIME", "LOCALTIMESTAMP", "LOCATE", "LOG", "LOG10", "LOG2", "LOWER", "LPAD", "LTRIM",
    "MAKEDATE", "MAKETIME", "MAKE_SET", "MAX", "MICROSECOND", "MID", "MIN", "MINUTE",
    "MONTH", "MONTHNAME",
    "NOW", "NTH_VALUE", "NTILE", "NULLIF",
    "OCT", "OCTET_LENGTH", "ORD",
    "PERCENT_RANK", "PERIOD_ADD", "PERIOD_DIFF", "PI", "POSITION", "POW", "POWER",
    "QUARTER", "QUOTE",
    "RADIANS", "RAND", "RANDOM_BYTES", "RANK", "REGEXP_INSTR", "REGEXP_REPLACE", "REGEXP_SUBSTR",
    "REVERSE", "ROUND", "ROW", "ROW_COUNT", "ROW_NUMBER", "RPAD",
    "RTRIM",
    "SCHEMA", "SECOND", "SEC_TO_TIME", "SESSION_USER", "SHA2", "SIGN", "SIN", "SLEEP", "SOUNDEX",
    "SPACE", "SQRT", "STD", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "STRCMP", "STR_TO_DATE",
    "SUBDATE", "SUBSTR", "SUBSTRING", "SUBSTRING_INDEX", "SUBTIME", "SUM", "SYSDATE",
    "SYSTEM_USER",
    "TAN", "TIME", "TIMEDIFF", "TIMESTAMP", "TIMESTAMPADD", "TIMESTAMPDIFF", "TIME_FORMAT",
    "TIME_TO_SEC", "TO_BASE64", "TO_DAYS", "TO_SECONDS", "TRIM", "TRUNCATE",
    "UCASE", "UNCOMPRESS", "UNCOMPRESSED_LENGTH", "UNHEX", "UNIX_TIMESTAMP", "UPDATEXML", "UPPER",
    "USER", "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP", "UUID", "UUID_SHORT",
    "VARIANCE", "VAR_POP", "VAR_SAMP", "VERSION",
    "WEEK", "WEEKDAY", "WEEKOFYEAR", "WEIGHT_STRING",
    "YEAR", "YEARWEEK",
];

/// Whether a parenthesis after `word` does not open a call.
pub(super) fn is_keyword(word: &[u8], context: CallContext) -> bool {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
    listed(KEYWORDS, word)
        || (context == CallContext::Compared && (is("ANY") || is("SOME")))
        || (context == CallContext::Closed && is("AGAINST"))
}

/// Whether the name after `word` is a table, an index or an alias.
pub(super) fn names_what_follows(word: &[u8]) -> bool {
    listed(NAMES_WHAT_FOLLOWS, word)
}

/// Whether the same is true in the definition of a table.
pub(super) fn defines_what_follows(word: &[u8]) -> bool {
    listed(DEFINES_WHAT_FOLLOWS, word)
}

/// Whether `word` is a built-in function without an effect on the session.
pub(super) fn is_function(word: &[u8]) -> bool {
    listed(FUNCTIONS, word)
}

fn listed(list: &[&str], word: &[u8]) -> bool {
    let upper = |byte: &u8| byte.to_ascii_uppercase();
    list.binary_search_by(|known| known.bytes().cmp(word.iter().map(upper)))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_in_upper_case() {
        for list in [
            KEYWORDS,
            NAMES_WHAT_FOLLOWS,
            DEFINES_WHAT_FOLLOWS,
            FUNCTIONS,
        ] {
            assert!(list.is_sorted_by(|a, b| a < b));
            assert!(list.iter().all(|word| word.to_ascii_uppercase() == **word));
        }
    }

    #[test]
    fn what_sets_session_state_is_not_listed() {
        for word in [
            "GET_LOCK",
            "RELEASE_LOCK",
            "LAST_INSERT_ID",
            "NEXTVAL",
            "SETVAL",
            "LASTVAL",
        ] {
            assert!(
                !is_function(word.as_bytes()) && !is_keyword(word.as_bytes(), CallContext::Other)
            );
        }
    }
}

#[cfg(test)]
mod on_servers;
