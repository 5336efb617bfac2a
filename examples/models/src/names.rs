//! Names of the models' modules.

use burn_peft::NameMap;

/// The paths with these patterns replaced, in order. The patterns are constants of this crate.
///
/// # Panics
///
/// Panics if a pattern is not a regular expression.
pub(crate) fn renamed(rules: &[(&str, &str)]) -> NameMap {
    let rules = rules.iter();
    rules.fold(NameMap::new(), |names, (pattern, replacement)| match names
        .with(pattern, replacement)
    {
        Ok(names) => names,
        Err(error) => panic!("{error}"),
    })
}
