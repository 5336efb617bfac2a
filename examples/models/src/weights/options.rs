//! What a folder's tensors may lack, have in addition, or call otherwise.

/// What a folder's tensors may lack, have in addition, or call otherwise.
///
/// `skip` and `keep_initial` take whole parts of a name between dots: `classifier` means
/// `classifier.weight` and `model.classifier.bias`, but not for `classifier2.weight`.
///
/// ```
/// use burn_hf_models::weights::LoadOptions;
///
/// let options = LoadOptions::default()
///     .with_prefix("bert")
///     .skip("embeddings.position_ids")
///     .keep_initial("classifier");
/// assert!(options.may_be_missing("classifier.weight"));
/// assert!(!options.may_be_missing("bert.pooler.dense.weight"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    prefixes: Vec<String>,
    skipped: Vec<String>,
    initial: Vec<String>,
    replaced: Vec<String>,
    tied: Vec<Tied>,
}

/// Another name of a parameter.
#[derive(Debug, Clone)]
struct Tied {
    name: String,
    copy: String,
    fix: &'static str,
}

/// What to do about two names of one parameter with different values.
const REMOVE: &str = "remove the one that is out of date from the file";

impl LoadOptions {
    /// A first part of names that the files may have or not, whether the model has it or not.
    ///
    /// `transformers` saves a base model (`BertModel`) without it and the same model below a head
    /// with it (`bert.`). Several calls allow several.
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Tensors in the files that the model does not need.
    pub fn skip(mut self, part: &str) -> Self {
        self.skipped.push(part.into());
        self
    }

    /// Parameters that keep their initial values if the files lack them (the new head of a
    /// pretrained encoder).
    pub fn keep_initial(mut self, part: &str) -> Self {
        self.initial.push(part.into());
        self
    }

    /// Parameters that keep their initial values whatever the files hold, of any shape: an adapter that is loaded next
    /// brings a head of its own.
    pub fn replace(mut self, part: &str) -> Self {
        self.replaced.push(part.into());
        self
    }

    /// Another name of a parameter: the files may hold one of them, or both with the same values.
    pub fn tied(self, name: &str, copy: &str) -> Self {
        self.tied_or(name, copy, REMOVE)
    }

    /// Like [`tied`](Self::tied), with what to do where the values differ.
    pub(crate) fn tied_or(mut self, name: &str, copy: &str, fix: &'static str) -> Self {
        self.tied.push(Tied {
            name: name.into(),
            copy: copy.into(),
            fix,
        });
        self
    }

    /// Whether the parameter `name` keeps its initial value if the files lack it.
    pub fn may_be_missing(&self, name: &str) -> bool {
        self.initial.iter().any(|part| contains(name, part))
    }

    pub(super) fn is_replaced(&self, name: &str) -> bool {
        self.replaced.iter().any(|part| contains(name, part))
    }

    pub(super) fn is_skipped(&self, name: &str) -> bool {
        self.skipped.iter().any(|part| contains(name, part))
    }

    /// All names that `name` can have in a file, its own first.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let copies = self.tied.iter().filter(|tied| tied.name == name);
        std::iter::once(name)
            .chain(copies.map(|tied| tied.copy.as_str()))
            .flat_map(|name| self.with_and_without_prefix(name))
            .collect()
    }

    /// What to do where the values under this copy's name differ from the parameter's.
    pub(super) fn fix(&self, copy: &str) -> &'static str {
        let tied = self.tied.iter().find(|tied| {
            let names = self.with_and_without_prefix(&tied.copy);
            names.iter().any(|name| name == copy)
        });
        tied.map_or(REMOVE, |tied| tied.fix)
    }

    fn with_and_without_prefix(&self, name: &str) -> Vec<String> {
        let others = self.prefixes.iter().map(|prefix| {
            let rest = name.strip_prefix(prefix.as_str());
            match rest.and_then(|rest| rest.strip_prefix('.')) {
                Some(rest) => rest.to_string(),
                None => format!("{prefix}.{name}"),
            }
        });
        std::iter::once(name.to_string()).chain(others).collect()
    }
}

/// Whether the dotted `part` is somewhere in the dotted `name`.
fn contains(name: &str, part: &str) -> bool {
    format!(".{name}.").contains(&format!(".{part}."))
}
