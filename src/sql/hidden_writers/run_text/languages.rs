//! Code in languages that nobody here reads: whether it runs SQL, and which, as far as trusted Perl says that in constants.

/// The SQL that code runs.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sql::hidden_writers) enum Queries<'a> {
    /// These texts and no others; none where it runs no SQL.
    Constant(Vec<&'a [u8]>),
    /// Any.
    Any,
}

/// Words of Perl by which a function can be called whose name is not written there.
const INDIRECT: [&[u8]; 12] =
    [b"->(", b"->$", b"](", b"}(", b"->can", b"*{", b"eval", b"goto", b"SIG", b"tie", b"bless", b"main"];

/// PL/Perl's functions that are given a text, and those that are given what the others gave.
const RUN: [&[u8]; 3] = [b"spi_exec_query", b"spi_query", b"spi_prepare"];
const GO_ON: [&[u8]; 6] =
    [b"spi_fetchrow", b"spi_cursor_close", b"spi_exec_prepared", b"spi_query_prepared", b"spi_freeplan", b"spi_commit"];

/// What code in that language runs.
pub(in crate::sql::hidden_writers) fn queries<'a>(language: &[u8], body: &'a [u8]) -> Queries<'a> {
    if language != b"plperl" {
        return Queries::Any;
    }
    let squeezed: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let indirect = INDIRECT.iter().any(|word| memchr::memmem::find(&squeezed, word).is_some());
    if indirect || has_lone_ampersand(body) {
        return Queries::Any;
    }
    let mut all = Vec::new();
    for at in memchr::memmem::find_iter(body, b"spi") {
        let call = body.get(at..).unwrap_or_default();
        let letters = call.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
        let (word, behind) = call.split_at(letters.unwrap_or(call.len()));
        if GO_ON.contains(&word) {
            continue;
        }
        match constant_argument(behind).filter(|_| RUN.contains(&word)) {
            Some(query) => all.push(query),
            None => return Queries::Any,
        }
    }
    Queries::Constant(all)
}

/// The first argument of a call, if it is a constant into which Perl puts nothing.
fn constant_argument(behind: &[u8]) -> Option<&[u8]> {
    let inside = behind.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let (quote, inside) = inside.split_first().filter(|(quote, _)| matches!(quote, b'\'' | b'"'))?;
    let end = memchr::memchr(*quote, inside)?;
    let (query, rest) = inside.split_at(end);
    let ends = matches!(rest.get(1..)?.trim_ascii_start().first(), Some(b')' | b','));
    let plain = !query.iter().any(|byte| matches!(byte, b'\\') || *quote == b'"' && matches!(byte, b'$' | b'@'));
    (ends && plain).then_some(query)
}

/// Whether an ampersand stands there by itself: a reference to a function, or a call by one.
fn has_lone_ampersand(body: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'&', body.get(at..).unwrap_or_default()) {
        let place = at + found;
        if body.get(place + 1) != Some(&b'&') {
            return true;
        }
        at = place + 2;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perl_runs_is_known_where_it_is_constant() {
        let of = |body: &'static str| queries(b"plperl", body.as_bytes());
        assert_eq!(of("return uc($_[0]) if $a && $b;"), Queries::Constant(vec![]));
        assert_eq!(
            of("my $r = spi_exec_query(\"SELECT 1\", 5); my $q = spi_query ( 'TABLE t' ); spi_fetchrow($q);"),
            Queries::Constant(vec![b"SELECT 1", b"TABLE t"])
        );
        for body in [
            "spi_exec_query(\"SELECT \".\"1\")",
            "spi_exec_query(\"SELECT $x\")",
            "spi_exec_query($_[0])",
            "spi_exec_query join '', 'a'",
            "my $f = 'sp'.'i_exec_query'; &$f('x')",
            "&{'sp'.'i_exec_query'}('x')",
            "my $f = \\&x; $f -> ('x')",
            "$SIG{__WARN__} = 'sp'.'i_exec_query'; warn 'x'",
            "$h{a}('x')",
        ] {
            assert_eq!(of(body), Queries::Any, "{body}");
        }
        assert_eq!(queries(b"pltcl", b"return 1"), Queries::Any);
    }
}
