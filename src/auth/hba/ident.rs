//! Maps of names: which roles somebody may be whom a certificate or the operating system names (`pg_ident.conf`).

use std::path::Path;

use regex::Regex;

use super::matching::{Asked, NeedsRoles, fits_user};
use super::rule::{Word, pattern, user_word};
use super::tokens::{self, Field};

/// A name of elsewhere.
#[derive(Clone, Debug)]
enum Outside {
    Name(String),
    Pattern(Regex),
}

#[derive(Clone, Debug)]
struct MapLine {
    map: String,
    outside: Outside,
    role: Word,
}

/// All maps of a file.
#[derive(Clone, Debug, Default)]
pub struct IdentMaps(Vec<MapLine>);

impl IdentMaps {
    /// Reads a file and what it includes.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn load(path: &Path) -> Result<Self, String> {
        let mut maps = Vec::new();
        for line in tokens::read(path)? {
            let at = |error: String| format!("{}, line {}: {error}", line.file.display(), line.number);
            match line.error {
                Some(error) => return Err(at(error)),
                None => maps.push(parse(&line.fields).map_err(at)?),
            }
        }
        Ok(Self(maps))
    }

    /// Whether a map lets `outside` be the role that `asked` is for. Without a map both have to be the same. None: it
    /// hangs on the roles of the user.
    #[must_use]
    pub fn allows(&self, map: Option<&str>, outside: &str, asked: &Asked<'_>) -> Option<bool> {
        let Some(map) = map.filter(|map| !map.is_empty()) else { return Some(outside == asked.user) };
        for line in self.0.iter().filter(|line| line.map == map) {
            match line.fits(outside, asked) {
                Ok(false) => {}
                Ok(true) => return Some(true),
                Err(NeedsRoles) => return None,
            }
        }
        Some(false)
    }
}

impl MapLine {
    fn fits(&self, outside: &str, asked: &Asked<'_>) -> Result<bool, NeedsRoles> {
        let found = match &self.outside {
            Outside::Name(name) if name == outside => None,
            Outside::Name(_) => return Ok(false),
            Outside::Pattern(regex) => match regex.captures(outside) {
                Some(found) => Some(found),
                None => return Ok(false),
            },
        };
        let written = match &self.role {
            Word::Name(name) => Some(name.clone()),
            Word::Member(role) => Some(format!("+{role}")),
            _ => None,
        };
        match (found, written) {
            // What has been put in stands for itself, whatever it looks like.
            (Some(found), Some(written)) if written.contains("\\1") => {
                Ok(found.get(1).is_some_and(|part| written.replacen("\\1", part.as_str(), 1) == asked.user))
            }
            _ => fits_user(std::slice::from_ref(&self.role), asked),
        }
    }
}

fn parse(fields: &[Field]) -> Result<MapLine, String> {
    let [map, outside, role, ..] = fields else { return Err("missing entry at end of line".to_owned()) };
    let ([map], [outside], [role]) = (map.as_slice(), outside.as_slice(), role.as_slice()) else {
        return Err("multiple values in ident field".to_owned());
    };
    let regex = pattern(outside)?;
    if let Some(regex) = &regex
        && regex.captures_len() < 2
        && role.text.contains("\\1")
        && !role.text.starts_with('/')
    {
        return Err(format!(
            "regular expression \"{}\" has no subexpressions as requested by backreference in \"{}\"",
            outside.text.trim_start_matches('/'),
            role.text
        ));
    }
    Ok(MapLine {
        map: map.text.clone(),
        outside: regex.map_or_else(|| Outside::Name(outside.text.clone()), Outside::Pattern),
        role: user_word(role)?,
    })
}
