//! The schemas in which a session's names without a schema are looked for, as the server says.

/// PostgreSQL cuts names behind so many bytes.
const MOST_OF_NAME: usize = 63;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    schemas: Vec<Box<[u8]>>,
    /// One of them is not ASCII, and in the client's encoding: it may be any such schema.
    wide: bool,
}

impl SearchPath {
    /// Reads the setting; `user` is who the session is now. None: it cannot be read.
    pub fn read(setting: &[u8], user: &[u8]) -> Option<Self> {
        let mut path = Self { schemas: Vec::new(), wide: false };
        let mut rest = setting.trim_ascii();
        while !rest.is_empty() {
            let (name, behind) = element(rest)?;
            let name = if name == b"$user" { user.to_vec() } else { name };
            if name.len() > MOST_OF_NAME {
                return None;
            }
            path.wide |= !name.is_ascii();
            path.schemas.push(name.into());
            rest = match behind.trim_ascii_start() {
                [] => return Some(path),
                [b',', more @ ..] => more.trim_ascii_start(),
                _ => return None,
            };
            if rest.is_empty() {
                return None;
            }
        }
        Some(path)
    }

    /// Whether a name without a schema can be one of that schema's.
    pub(super) fn has(&self, schema: &[u8]) -> bool {
        schema == b"pg_catalog"
            || schema.starts_with(b"pg_temp")
            || self.wide && !schema.is_ascii()
            || self.schemas.iter().any(|one| **one == *schema)
    }
}

/// The first name of a list, as PostgreSQL would compare it, and what follows.
fn element(list: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = list.strip_prefix(b"\"") else {
        let end = list.iter().position(|byte| *byte == b',' || byte.is_ascii_whitespace()).unwrap_or(list.len());
        let (name, behind) = list.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_ascii_lowercase(), behind));
    };
    let mut name = Vec::new();
    loop {
        let (part, behind) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
        name.extend_from_slice(part);
        match behind {
            [b'"', b'"', more @ ..] => {
                name.push(b'"');
                rest = more;
            }
            [b'"', more @ ..] => return Some((name, more)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_the_server_reads_it() {
        for (setting, within, without) in [
            ("\"$user\", public", &["me", "public", "pg_catalog", "pg_temp_3"][..], &["Me", "other", ""][..]),
            ("Mine,\"Yours\" , \"a \"\"b\"\"\"", &["mine", "Yours", "a \"b\""], &["Mine", "yours", "public", "me"]),
            ("", &["pg_catalog"], &["public", "me"]),
            ("\"\"", &["pg_catalog"], &["public"]),
            ("größe", &["größe", "ähnlich"], &["public"]),
        ] {
            let path = SearchPath::read(setting.as_bytes(), b"me").unwrap();
            assert!(within.iter().all(|schema| path.has(schema.as_bytes())), "{setting}");
            assert!(!without.iter().any(|schema| path.has(schema.as_bytes())), "{setting}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let long = "x".repeat(64);
        for setting in ["\"open", "a b", "a,", ",a", "a,,b", &long] {
            assert_eq!(SearchPath::read(setting.as_bytes(), b"me"), None, "{setting}");
        }
    }
}
