//! A section of the file is declared once, as a struct: its fields are typed settings, and its table of [`Key`]s is
//! made from the same lines, so that reading, SHOW CONFIG, the example file and the documentation cannot drift apart.

use super::reader::Reader;
use crate::config::keys::setting::Key;

/// A value as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) key: &'static Key,
    /// For SHOW CONFIG.
    pub(crate) plain: String,
    /// For the file.
    pub(crate) literal: String,
}

/// What all sections can do without their type being known.
pub(crate) trait Section {
    /// The heading in the example file.
    fn title(&self) -> &'static str;
    /// Every key with its value, in the order of the documentation.
    fn shown(&self) -> Vec<Shown>;
}

/// A section that can be read.
pub(crate) trait Settings: Section + Sized {
    /// Takes over what is written; everything else stays as it is in `self`.
    fn read(self, reader: &Reader<'_, '_>) -> Self;
    /// Takes the values that only a restart changes from the running configuration.
    fn keep_fixed(&mut self, running: &Self);
}

macro_rules! settings {
    (
        $(#[doc = $sdoc:literal])*
        pub struct $name:ident titled $title:literal {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $ty:ty = $default:expr $(, { $($option:ident: $value:expr),* $(,)? })?;
            )*
        }
        $( with { $( $(#[doc = $xdoc:literal])* $extra:ident: $xty:ty = $xdefault:expr; )* } )?
    ) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("\nDefault: `", stringify!($default), "`.")]
                pub $key: $ty,
            )*
            $($( $(#[doc = $xdoc])* pub $extra: $xty, )*)?
        }

        impl $name {
            /// The table of keys.
            pub const KEYS: &'static [$crate::config::keys::setting::Key] = &[$(
                #[allow(clippy::needless_update)]
                $crate::config::keys::setting::Key {
                    name: stringify!($key),
                    doc: concat!($($doc, "\n"),*),
                    kind: <$ty as $crate::config::keys::setting::Setting>::KIND,
                    $($($option: $value,)*)?
                    ..$crate::config::keys::setting::Key::PLAIN
                },
            )*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $key: $default, )*
                    $($( $extra: $xdefault, )*)?
                }
            }
        }

        impl $crate::config::file::section::Section for $name {
            fn title(&self) -> &'static str {
                $title
            }
            fn shown(&self) -> Vec<$crate::config::file::section::Shown> {
                use $crate::config::keys::setting::Setting as _;
                let values = [$( (self.$key.plain(), self.$key.literal()) ),*];
                Self::KEYS
                    .iter()
                    .zip(values)
                    .map(|(key, (plain, literal))| $crate::config::file::section::Shown { key, plain, literal })
                    .collect()
            }
        }

        impl $crate::config::file::section::Settings for $name {
            fn read(mut self, reader: &$crate::config::file::reader::Reader<'_, '_>) -> Self {
                let mut keys = Self::KEYS.iter();
                $(
                    if let Some(value) = keys.next().and_then(|key| reader.get::<$ty>(key)) {
                        self.$key = value;
                    }
                )*
                self
            }
            fn keep_fixed(&mut self, running: &Self) {
                let mut keys = Self::KEYS.iter();
                $(
                    if keys.next().is_some_and(|key| key.restart) {
                        self.$key = running.$key.clone();
                    }
                )*
            }
        }
    };
}
pub(crate) use settings;
