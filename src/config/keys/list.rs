//! Lists: of addresses, servers, names and functions.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::setting::{Fault, Key, Kind, Read, Setting, describe, text, toml_text};
use crate::config::values::units::quoted;

/// An element of a list.
pub(crate) trait Item: Sized + Clone + PartialEq {
    const KIND: Kind;
    fn from_text(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

/// A name of a role or a parameter.
impl Item for String {
    const KIND: Kind = Kind::new("list of names");
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a name must not be empty".to_owned()),
            name => Ok(name.to_owned()),
        }
    }
    fn show(&self) -> String {
        self.clone()
    }
}

/// A function as it is named in SQL, in lower case: `name` or `schema.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName(String);

impl FunctionName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Item for FunctionName {
    const KIND: Kind = Kind::new("list of functions");
    fn from_text(text: &str) -> Result<Self, String> {
        let part_ok = |part: &str| {
            let first_ok = |c: char| c.is_alphabetic() || c == '_';
            part.len() <= 63
                && part.chars().next().is_some_and(first_ok)
                && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
        };
        let parts = text.split('.').count();
        if parts <= 2 && text.split('.').all(part_ok) {
            Ok(Self(text.to_lowercase()))
        } else {
            Err(format!(
                "must be the name of a function, such as \"lo_put\" or \"audit.log_it\", found {}",
                quoted(text)
            ))
        }
    }
    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A list is an array of texts or, as in PgBouncer, one text with commas; no element twice.
impl<T: Item> Setting for Vec<T> {
    const KIND: Kind = T::KIND;

    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let list = text(value).map_err(|_| {
            let found = describe(value);
            format!("must be a list of texts such as [\"a\", \"b\"], found {found}")
        })?;
        let mut items = Self::new();
        for part in list.split(',').map(str::trim) {
            if !(part.is_empty() && list.trim().is_empty()) {
                add(&mut items, T::from_text(part)?)?;
            }
        }
        Ok(items)
    }

    fn from_spanned(value: &Spanned<DeValue<'_>>, key: &Key, folder: &Path) -> Read<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            let fault = |reason| vec![Fault { span: value.span(), reason }];
            return Self::from_value(value.get_ref(), key, folder).map_err(fault);
        };
        let (mut items, mut faults) = (Self::new(), Vec::new());
        for element in array.iter() {
            let added = text(element.get_ref()).and_then(T::from_text).and_then(|item| add(&mut items, item));
            if let Err(reason) = added {
                faults.push(Fault { span: element.span(), reason });
            }
        }
        if faults.is_empty() { Ok(items) } else { Err(faults) }
    }

    fn plain(&self) -> String {
        let shown: Vec<String> = self.iter().map(T::show).collect();
        shown.join(", ")
    }

    fn literal(&self) -> String {
        let shown: Vec<String> = self.iter().map(|item| toml_text(&item.show())).collect();
        format!("[{}]", shown.join(", "))
    }
}

fn add<T: Item>(items: &mut Vec<T>, item: T) -> Result<(), String> {
    if items.contains(&item) {
        return Err(format!("{} is given twice", quoted(&item.show())));
    }
    items.push(item);
    Ok(())
}
