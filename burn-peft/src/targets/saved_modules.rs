//! Which modules are trained in full.

use super::target::ModuleKind;

/// The modules that `modules_to_save` names: those whose name ends in one of its entries, with or
/// without a dot before it, as in PEFT (`classifier` also names a `pre_classifier`).
///
/// ```
/// use burn_peft::ModuleKind;
/// use burn_peft::targets::modules_to_save;
///
/// let modules = ["pre_classifier", "classifier", "classifier.dense"];
/// let modules = modules.map(|name| (name.to_string(), ModuleKind::Linear));
/// let saved = ["classifier".to_string(), "score".to_string()];
/// assert_eq!(modules_to_save(&saved, &modules), ["pre_classifier", "classifier"]);
/// ```
pub fn modules_to_save<'a>(saved: &[String], modules: &'a [(String, ModuleKind)]) -> Vec<&'a str> {
    let names = modules.iter().map(|(name, _)| name.as_str());
    names.filter(|name| is_saved(saved, name)).collect()
}

/// Whether `modules_to_save` names this module.
fn is_saved(saved: &[String], name: &str) -> bool {
    saved.iter().any(|end| name.ends_with(end.as_str()))
}

/// Whether `modules_to_save` names this module or one above it.
pub(crate) fn is_under_saved(saved: &[String], module: &str) -> bool {
    let dots = module.match_indices('.').map(|(dot, _)| dot);
    let mut ends = dots.chain([module.len()]);
    ends.any(|end| is_saved(saved, &module[..end]))
}
