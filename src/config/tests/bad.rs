//! Bad configurations, each with exactly the lines that are said of it.

use super::{LEAST, lines, read};

/// Cases of `src/config/tests/bad.txt`: `=== name`, the text, `---`, the expected lines. A text that ends with `+LEAST`
/// has the least configuration behind it.
fn cases() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let mut cases = Vec::new();
    for case in include_str!("bad.txt").split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (text, expected) = rest.split_once("---\n").expect("a separator");
        let text = match text.strip_suffix("+LEAST\n") {
            Some(top) => format!("{top}{LEAST}"),
            None => text.to_owned(),
        };
        cases.push((
            name,
            text.replace("{long}", &"x".repeat(100)),
            expected.lines().filter(|l| !l.is_empty()).collect(),
        ));
    }
    cases
}

#[test]
fn every_bad_configuration_gets_file_line_key_and_reason() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut wrong = String::new();
    for (name, text, expected) in &cases {
        assert!(!expected.is_empty() || std::env::var("SHOW").is_ok(), "{name}: a bad configuration has an error");
        let found = lines(read(text));
        if found != *expected {
            wrong.push_str(&format!("=== {name}\n{}\n", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "said instead:\n{wrong}");
}

#[test]
fn no_text_makes_it_panic() {
    // Each prefix of each case, and each case with a byte taken out: nothing but Ok or Err may come.
    for (_, text, _) in cases() {
        for (at, _) in text.char_indices() {
            let _ = read(&text[..at]);
            let mut shorter = text.clone();
            shorter.remove(at);
            let _ = read(&shorter);
        }
    }
}

#[test]
fn the_column_is_counted_in_characters() {
    let errors = read(&format!("listen_addr = ['é', 'ü', '1.2.3.4:1']{LEAST}")).unwrap_err().errors;
    let columns: Vec<u32> = errors.iter().map(|e| e.place.unwrap().column).collect();
    assert_eq!(columns, [16, 21, 26]);
}

#[test]
fn a_password_is_never_repeated() {
    for text in [
        "monitor_password = 4711 # s3cret\n",
        "monitor_password = s3cret\n",
        "monitor_password = \"s3cret\n",
        "monitor_password = [\"s3cret\"]\n",
        "upstreams = 'postgres://u:s3cret@h/db'\n",
        "upstreams = ['postgres://u:s3cret@h/db']\n",
    ] {
        let said = lines(read(&format!("[clusters.main]\n{text}[databases.app]\n"))).join("\n");
        assert!(!said.is_empty() && !said.contains("s3cret") && !said.contains("4711"), "{said}");
    }
    let config = super::with("[databases.other]\nuser = 'u'\npassword = 's3cret'\n");
    assert!(!format!("{config:?} {:?}", config.entries()).contains("s3cret"));
}
