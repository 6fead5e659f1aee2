//! Names and values put into SQL text.

/// A setting's name, quoted where it must be. Dots part the words of a custom setting's name.
pub fn ident(name: &str) -> String {
    name.split('.').map(word).collect::<Vec<_>>().join(".")
}

fn word(word: &str) -> String {
    let plain = word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { word.to_owned() } else { format!("\"{}\"", word.replace('"', "\"\"")) }
}

/// A string constant that reads the same whatever standard_conforming_strings is.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(ident("TimeZone"), "\"TimeZone\"");
        assert_eq!(ident("my.x\"y"), "my.\"x\"\"y\"");
    }
}
