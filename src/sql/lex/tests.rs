//! Tests the tokens rule by rule, and that no bytes make the lexer panic or loop.

use proptest::prelude::*;

use super::{Token::*, *};

fn lex(text: &str) -> Vec<Token<'_>> {
    Lexer::new(text.as_bytes()).collect()
}

#[test]
fn quotes() {
    assert_eq!(lex("'it''s'"), [String(b"it''s")]);
    assert_eq!(lex(r"'a\\'x"), [String(br"a\\"), Word(b"x")]);
    assert_eq!(lex(r"'it\'s'"), [ModeDependent(br"it\'s")]);
    assert_eq!(lex(r#"'it\"s'"#), [String(br#"it\"s"#)]);
    assert_eq!(lex(r#""a""b'`""#), [DoubleQuoted(br#"a""b'`"#)]);
    assert_eq!(lex(r#""\"""#), [ModeDependent(br#"\""#)]);
    assert_eq!(lex(r"`a``\`b"), [QuotedIdentifier(br"a``\"), Word(b"b")]);
    assert_eq!(
        lex("_utf8mb4'é'"),
        [Word(b"_utf8mb4"), String("é".as_bytes())]
    );
}

#[test]
fn comments() {
    assert_eq!(
        lex("a#b'\nc -- d'\ne /* ' */f"),
        [Word(b"a"), Word(b"c"), Word(b"e"), Word(b"f")]
    );
    assert_eq!(lex("5--1").len(), 4);
    assert_eq!(lex("5--\t1"), [Number(b"5")]);
    assert_eq!(lex("5--"), [Number(b"5")]);
    assert_eq!(lex("a/**/b"), [Word(b"a"), Word(b"b")]);
    assert_eq!(lex("a/*/b*/"), [Word(b"a")]);
    assert_eq!(
        lex("a*/b"),
        [Word(b"a"), Symbol(b'*'), Symbol(b'/'), Word(b"b")]
    );
    assert_eq!(lex("#a\0b"), [Symbol(0), Word(b"b")]);
}

#[test]
fn comments_that_are_code() {
    for open in ["/*!", "/*!50110", "/*!050110 ", "/*M!", "/*M!100000 "] {
        let text = format!("{open}a/*'*/*/*/");
        let tokens = [ExecutableComment, Word(b"a"), Symbol(b'*'), Symbol(b'/')];
        assert_eq!(lex(&text), tokens, "{text}");
    }
    assert_eq!(lex("/*!123a*/"), [ExecutableComment, Word(b"123a")]);
    assert_eq!(
        lex("/*+ NO_ICP(t) */a"),
        [OptimizerHint(b" NO_ICP(t) "), Word(b"a")]
    );
}

#[test]
fn numbers_hide_no_words() {
    assert_eq!(lex("1e5INTO"), [Number(b"1e5"), Word(b"INTO")]);
    assert_eq!(lex("1.5e-3INTO"), [Number(b"1.5e-3"), Word(b"INTO")]);
    assert_eq!(lex("1.FROM"), [Number(b"1."), Word(b"FROM")]);
    assert_eq!(
        lex("0x1F,0b01,0xg"),
        [
            Number(b"0x1F"),
            Symbol(b','),
            Number(b"0b01"),
            Symbol(b','),
            Word(b"0xg")
        ]
    );
    assert_eq!(lex("1a 1e"), [Word(b"1a"), Word(b"1e")]);
    assert_eq!(lex("1e+ 2"), [Word(b"1e"), Symbol(b'+'), Number(b"2")]);
}

#[test]
fn variables() {
    assert_eq!(
        lex("@a.b:=1"),
        [
            UserVariable(b"a.b"),
            Symbol(b':'),
            Symbol(b'='),
            Number(b"1")
        ]
    );
    assert_eq!(
        lex("@'a b'@`c`@"),
        [
            UserVariable(b"'a b'"),
            UserVariable(b"`c`"),
            UserVariable(b"")
        ]
    );
    assert_eq!(lex("@@global.x+1")[0], SystemVariable(b"global.x"));
}

#[test]
fn the_end_is_missed() {
    for text in [
        "'a", r"'a\'", r"'\", "\"a", "`a", "a /* b", "/*! a", "/*+ a", "@'a", "/*/",
    ] {
        assert_eq!(lex(text).last(), Some(&Unterminated), "{text}");
    }
}

proptest! {
    #[test]
    fn never_panics_and_moves_on(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Lexer::new(&bytes).count() <= bytes.len() + 1);
    }

    #[test]
    fn never_panics_on_what_matters(text in r#"['"`\\/*!+M@#\-.;0-9exb \n(a-c\x00é]{0,60}"#) {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut last = 0;
        while lexer.next().is_some() {
            prop_assert!(lexer.position() >= last && lexer.position() <= text.len());
            last = lexer.position();
        }
        prop_assert_eq!(lexer.next(), None);
    }
}
