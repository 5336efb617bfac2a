//! Encoders whose head `transformers` has no class for: PEFT's task `FEATURE_EXTRACTION`, and the head in a file of
//! its own.
//!
//! PEFT does not compare an adapter's task with the class of the model. So an adapter's targets are whole names in the
//! bare encoder, none of which the classifier has: there PEFT ends with "Target modules … not found".

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::store::{ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};
use burn_peft::settings::{Modules, TaskType};
use burn_peft::{NameMap, Peft, PeftConfig, SoftPrompt};

use super::super::adapter::NAME;
use super::{Destination, HEAD, save_weights};
use crate::error::Error;

/// The head alone, under the name that it has in the model.
#[derive(Module, Debug)]
struct Head {
    classifier: Linear,
}

/// Write the adapter's folder of an encoder whose modules have these names, and of which these are adapted.
pub(in crate::model) fn save_features_layers<M: Module>(
    encoder: &M,
    settings: &PeftConfig,
    adapted: &BTreeSet<String>,
    names: &NameMap,
    folder: &Path,
) -> Result<(), Error> {
    let settings = settings
        .clone()
        .with_task(Some(TaskType::FeatureExtraction), None)
        .with_target_modules(Modules::pattern(pattern(adapted)));
    let adapter = encoder.save_adapter(NAME, settings, std::slice::from_ref(names))?;
    Ok(adapter.write(folder)?)
}

/// An expression that the names of these modules match, and no longer names that end in them.
fn pattern(modules: &BTreeSet<String>) -> String {
    let names: Vec<String> = modules
        .iter()
        .map(|name| name.replace('.', r"\."))
        .collect();
    names.join("|")
}

/// Write a prompt's folder.
pub(in crate::model) fn save_features_prompt(
    prompt: &SoftPrompt,
    settings: &PeftConfig,
    folder: &Path,
) -> Result<(), Error> {
    let settings = settings
        .clone()
        .with_task(Some(TaskType::FeatureExtraction), None);
    Ok(prompt.to_folder(settings)?.write(folder)?)
}

/// Write the head into a folder.
pub(in crate::model) fn save_head(classifier: &Linear, folder: &Path) -> Result<(), Error> {
    let head = Head {
        classifier: classifier.clone(),
    };
    save_weights(&head, &NameMap::default(), &[], &folder.join(HEAD))
}

/// Remove the head that an earlier run with other settings left in a folder.
pub(in crate::model) fn remove_head(to: &Destination<'_>) -> Result<(), Error> {
    let path = to.written().join(HEAD);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(&path, error)),
        _ => Ok(()),
    }
}

/// Read what [`save_head`] wrote of a head like this.
pub(crate) fn load_head(classifier: Linear, folder: &Path) -> Result<Linear, Error> {
    let path = folder.join(HEAD);
    let mut head = Head { classifier };
    let mut store = SafetensorsStore::from_file(&path).with_from_adapter(PyTorchToBurnAdapter);
    head.load_from(&mut store)
        .map_err(|error| Error::read(&path, error))?;
    Ok(head.classifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_of_names_are_no_wildcards() {
        let modules = BTreeSet::from(["encoder.layer.0.q".into(), "encoder.layer.1.q".into()]);
        assert_eq!(
            pattern(&modules),
            r"encoder\.layer\.0\.q|encoder\.layer\.1\.q"
        );
    }

    #[test]
    fn a_head_comes_back() {
        use burn::nn::LinearConfig;
        use burn::tensor::Device;

        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let [head, other] = [0, 1].map(|_| LinearConfig::new(3, 2).init(&device));
        save_head(&head, folder.path()).unwrap();
        let read = load_head(other, folder.path()).unwrap();
        assert_eq!(read.weight.val().into_data(), head.weight.val().into_data());
        let [a, b] = [read, head].map(|head: Linear| head.bias.unwrap().val().into_data());
        assert_eq!(a, b);
    }
}
