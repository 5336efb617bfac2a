//! From the paths of a Burn module to the names that Hugging Face uses.

use burn::store::KeyRemapper;

use crate::error::{Cause, Error};
use crate::targets::ModuleKind;

/// How the modules of a Burn model are called in `transformers`, and what they are where their type
/// does not say it.
///
/// Rust fields cannot always have the names of the Python attributes (`self`, or a `ModuleList`
/// of different layers). Each rule replaces every match of a regular expression, in order, as in
/// Burn's [`KeyRemapper`]. [`Default`] keeps the paths as they are.
///
/// ```
/// use burn_peft::NameMap;
///
/// let names = NameMap::new().with(r"\.self_attention\b", ".attention.self")?;
/// assert_eq!(names.name("layer.0.self_attention.query"), "layer.0.attention.self.query");
/// # Ok::<(), burn_peft::Error>(())
/// ```
///
/// # Kinds of modules
///
/// Adapters need to know the layout of a weight, and a walk over a module only shows the name of
/// its struct and its parameters. A struct named `Linear`, `Embedding` or `Conv2d` whose parameters
/// are those of Burn's layer counts as Burn's. One with other parameters is an error as soon as its
/// weight matters ([`Error::AmbiguousModule`](crate::Error::AmbiguousModule)), until
/// [`with_kind`](Self::with_kind) says what it is.
///
/// One case cannot be detected: a struct of your own that is named `Linear`, has exactly the fields
/// `weight` and `bias`, stores its weight as `[out, in]`, and has as many inputs as outputs or no
/// bias. Declare it as [`ModuleKind::Other`], or give it another name.
#[derive(Debug, Clone, Default)]
pub struct NameMap {
    names: KeyRemapper,
    kinds: Vec<(String, ModuleKind)>,
    tied_heads: Vec<(String, String)>,
    shared_tables: Vec<(String, Vec<String>)>,
}

impl NameMap {
    /// Names that are the paths in the Burn model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a rule; `replacement` may refer to groups as `$1`.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] if `pattern` is not a regular expression.
    pub fn with(mut self, pattern: &str, replacement: &str) -> Result<Self, Error> {
        let added = self.names.add_pattern(pattern, replacement);
        self.names = added.map_err(|error| Error::Pattern {
            field: "names",
            pattern: pattern.into(),
            // `regex` has errors of the standard kind only with its feature `std`, which Burn does not ask for.
            source: Cause::text(error.to_string()),
        })?;
        Ok(self)
    }

    /// Declare what the module at `path` is, whatever its struct is called. `path` is the path in
    /// the Burn model or the end of it after a dot; the rule that was added last counts.
    ///
    /// A module that is declared as [`ModuleKind::Linear`] must have a weight `[in, out]`, one that
    /// is [`ModuleKind::Embedding`] a weight `[entries, d]` and one that is [`ModuleKind::Conv2d`] a
    /// weight `[out, in, k, k]`, under the name `weight`. [`ModuleKind::Other`] is never adapted,
    /// and its parameters are saved as they are.
    ///
    /// ```
    /// use burn_peft::{ModuleKind, NameMap};
    ///
    /// let names = NameMap::new().with_kind("mixer.dense", ModuleKind::Other);
    /// ```
    pub fn with_kind(mut self, path: impl Into<String>, kind: ModuleKind) -> Self {
        self.kinds.push((path.into(), kind));
        self
    }

    /// Declare that the output head `head` shares the table `table` where the model has no module
    /// `head`; both are names in `transformers`.
    ///
    /// The model calls the head with [`unembed_adapted`](crate::unembed_adapted). With the
    /// declaration, adapters can change the look-up and the head apart from each other, as in PEFT:
    /// a folder may hold `head` or `table` in `modules_to_save` or adapt them. Without it, a folder
    /// that names the head is refused, and
    /// [`merge_and_unload`](crate::Peft::merge_and_unload) cannot know that an adapter of the table
    /// would change the head.
    ///
    /// ```
    /// use burn_peft::NameMap;
    ///
    /// let names = NameMap::new().with_tied_head("lm_head", "model.embed_tokens");
    /// ```
    pub fn with_tied_head(mut self, head: impl Into<String>, table: impl Into<String>) -> Self {
        self.tied_heads.push((head.into(), table.into()));
        self
    }

    /// Declare that the table `table` of this model is what `look_ups` are in `transformers`: several
    /// modules that share their weights, each of which an adapter can change there. The model has
    /// one table, so that a folder or a configuration that adapts or saves one of them is refused.
    ///
    /// ```
    /// use burn_peft::NameMap;
    ///
    /// let look_ups = ["encoder.embed_tokens", "decoder.embed_tokens"];
    /// let names = NameMap::new().with_shared_table("shared", look_ups);
    /// ```
    pub fn with_shared_table<N: Into<String>>(
        mut self,
        table: impl Into<String>,
        look_ups: impl IntoIterator<Item = N>,
    ) -> Self {
        let look_ups = look_ups.into_iter().map(Into::into).collect();
        self.shared_tables.push((table.into(), look_ups));
        self
    }

    /// Tables and the names that their look-ups have.
    pub(crate) fn shared_tables(&self) -> &[(String, Vec<String>)] {
        &self.shared_tables
    }

    /// Output heads and the tables that they share, by name.
    pub(crate) fn tied_heads(&self) -> &[(String, String)] {
        &self.tied_heads
    }

    /// The name of the module at `path`.
    pub fn name(&self, path: &str) -> String {
        let mut name = path.to_string();
        for (pattern, replacement) in &self.names.patterns {
            name = pattern
                .replace_all(&name, replacement.as_str())
                .into_owned();
        }
        name
    }

    /// What the module at `path` was declared to be.
    pub fn kind(&self, path: &str) -> Option<ModuleKind> {
        let is_end = |end: &str| {
            path.strip_suffix(end)
                .is_some_and(|start| start.is_empty() || start.ends_with('.'))
        };
        let mut kinds = self.kinds.iter().rev();
        kinds.find(|(end, _)| is_end(end)).map(|(_, kind)| *kind)
    }
}

/// The rules of a remapper of Burn's.
///
/// The rules have to turn paths of the Burn model into names in files, as those of a store that saves
/// the model do. The rules with which a store loads a file go the other way and do not fit.
impl From<KeyRemapper> for NameMap {
    fn from(names: KeyRemapper) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }
}

/// The result under the first naming that gives one, or the error of the first; without namings,
/// under the paths as they are.
pub(crate) fn first_that_fits<T>(
    names: &[NameMap],
    attempt: impl Fn(&NameMap) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some((first, others)) = names.split_first() else {
        return attempt(&NameMap::default());
    };
    attempt(first).or_else(|error| {
        others
            .iter()
            .find_map(|names| attempt(names).ok())
            .ok_or(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_pattern_is_an_error() {
        let Err(Error::Pattern { field, pattern, .. }) = NameMap::new().with("(", "") else {
            panic!("it was accepted");
        };
        assert_eq!((field, pattern.as_str()), ("names", "("));
    }

    #[test]
    fn rules_of_burns_remapper_are_taken_in_order() {
        let remapper = KeyRemapper::new()
            .add_pattern("^a", "b")
            .and_then(|remapper| remapper.add_pattern("^b", "c"));
        assert_eq!(NameMap::from(remapper.unwrap()).name("a.x"), "c.x");
    }

    #[test]
    fn the_last_declaration_of_a_kind_counts() {
        let names = NameMap::new()
            .with_kind("dense", ModuleKind::Other)
            .with_kind("a.dense", ModuleKind::Linear);
        assert_eq!(names.kind("b.dense"), Some(ModuleKind::Other));
        assert_eq!(names.kind("a.dense"), Some(ModuleKind::Linear));
        assert_eq!(names.kind("condense"), None);
    }
}
