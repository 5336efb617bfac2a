//! Option enums that parse from and print as the names that users type.

/// Implement `FromStr` and `Display` for an enum without fields.
macro_rules! named_variants {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl std::str::FromStr for $type {
            type Err = crate::error::Error;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(crate::error::Error::UnknownName {
                        what: $what,
                        expected: [$($name),+].join(", "),
                        found: name.into(),
                    }),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $name,)+
                })
            }
        }
    };
}

pub(crate) use named_variants;

#[cfg(test)]
mod tests {
    use crate::solve::DampedMatrix;

    #[test]
    fn names_are_parsed_and_printed() {
        assert_eq!("gram".parse(), Ok(DampedMatrix::Gram));
        assert_eq!(DampedMatrix::Fisher.to_string(), "fisher");
        let error = "Gram".parse::<DampedMatrix>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown damped matrix: expected one of fisher, gram, found `Gram`"
        );
    }
}
