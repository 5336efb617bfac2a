//! The configuration file of a method: typed fields, and all others as they were.

use super::json::{Fields, Json};
use crate::error::Error;

/// What the configurations of all methods have in common.
pub(crate) trait ConfigFile {
    /// The method, as `peft_type` names it.
    fn peft_type(&self) -> &'static str;

    /// Check every field.
    fn validate(&self) -> Result<(), Error>;

    /// The fields of the file, in its order, with every value that has changed since.
    fn to_fields(&self) -> Fields;

    /// Fields that are set and that this crate does not know.
    fn unknown_fields(&self) -> Vec<String>;

    /// The ends of the names of modules that are trained in full.
    fn modules_to_save(&self) -> &[String];
}

/// The members sorted by name, as PEFT writes them.
pub(crate) fn sorted(members: impl Iterator<Item = (&'static str, Json)>) -> Fields {
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|(name, _)| *name);
    let members = members.into_iter();
    members.map(|(name, value)| (name.into(), value)).collect()
}

/// Reading and writing of a configuration type: its method as `peft_type` names it, and its typed fields by
/// name. The type has a field `fields` for the file as it was read, and functions `unwritten` (what a field
/// is that a file does not have) and `validate`. `known` tells which fields without a type have a meaning
/// here.
macro_rules! config_file {
    ($settings:ident($peft_type:literal $(, known: $known:path)?): $($name:ident),+ $(,)?) => {
        impl $settings {
            /// The method, as `peft_type` names it.
            pub(crate) const PEFT_TYPE: &'static str = $peft_type;

            /// Read the typed fields and keep all of them; one that is not there has PEFT's default.
            fn read(fields: $crate::settings::Fields) -> Result<Self, $crate::error::Error> {
                let mut settings = Self::unwritten();
                $(if let Some(json) = fields.get(stringify!($name)) {
                    settings.$name = $crate::settings::read_field(stringify!($name), json)?;
                })+
                settings.fields = fields;
                Ok(settings)
            }

            /// Read the fields of a file and check them.
            pub(crate) fn from_fields(
                fields: $crate::settings::Fields,
            ) -> Result<Self, $crate::error::Error> {
                let settings = Self::read(fields)?;
                settings.validate()?;
                Ok(settings)
            }

            /// With every field that PEFT writes: those with a type, those of all methods, and these.
            fn written(
                mut self,
                untyped: impl IntoIterator<Item = (&'static str, $crate::settings::Json)>,
            ) -> Self {
                use $crate::settings::{FieldValue, Json, WRITTEN_AS, sorted};
                self.inference_mode = true;
                self.peft_version = Some(WRITTEN_AS.into());
                let typed = [$((stringify!($name), FieldValue::write(&self.$name))),+];
                let common = [
                    ("auto_mapping", Json::Null),
                    ("peft_type", Json::String($peft_type.into())),
                ];
                self.fields = sorted(typed.into_iter().chain(common).chain(untyped));
                self
            }

            /// The fields of the file, in its order, with every value that has changed since.
            fn to_fields(&self) -> $crate::settings::Fields {
                let mut fields = self.fields.clone();
                let read = Self::read(self.fields.clone()).ok();
                $(if read.as_ref().is_none_or(|read| read.$name != self.$name) {
                    let value = $crate::settings::FieldValue::write(&self.$name);
                    fields.insert(stringify!($name).into(), value);
                })+
                fields
            }

            /// Fields of the file that are set and unknown to this crate. They are kept, and they have no
            /// effect.
            pub fn unknown_fields(&self) -> Vec<String> {
                let typed = [$(stringify!($name)),+];
                $crate::settings::unsupported::unknown(&self.fields, |name| {
                    typed.contains(&name) $(|| $known(name))?
                })
            }
        }

        impl $crate::settings::ConfigFile for $settings {
            fn peft_type(&self) -> &'static str {
                $peft_type
            }

            fn validate(&self) -> Result<(), $crate::error::Error> {
                self.validate()
            }

            fn to_fields(&self) -> $crate::settings::Fields {
                self.to_fields()
            }

            fn unknown_fields(&self) -> Vec<String> {
                self.unknown_fields()
            }

            fn modules_to_save(&self) -> &[String] {
                self.modules_to_save.as_deref().unwrap_or_default()
            }
        }

        /// Equal in what would be written.
        impl PartialEq for $settings {
            fn eq(&self, other: &Self) -> bool {
                // The order of patterns counts, which equality of JSON objects leaves out.
                $(self.$name == other.$name &&)+ self.to_fields() == other.to_fields()
            }
        }
    };
}

pub(crate) use config_file;
