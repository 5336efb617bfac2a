//! Merged models and adapters as GGUF files.

use std::fs;
use std::path::Path;

use burn_hf_models::class::ModelClass;
use burn_hf_models::gguf::{GgufFile, GgufType, write_gguf, write_gguf_adapter};
use burn_hf_models::llama::LlamaForCausalLM;
use burn_peft::AdapterFolder;
use programs::files;

use super::Source;
use crate::conversation::template_text;
use crate::error::Error;
use crate::target::Target;

/// Refuse what cannot be written as a GGUF file, before the work.
pub(super) fn check(source: &Source, path: &Path) -> Result<(), Error> {
    if source.class != ModelClass::LlamaForCausalLM {
        let expected =
            "a language model (llama, mistral, qwen2, qwen3 and the like) for a GGUF file";
        return Err(Error::config(
            "--gguf",
            format!("{:?}", source.class),
            expected,
        ));
    }
    Ok(files::check_output(path)?)
}

/// Write a merged language model.
pub(super) fn write_model(
    model: &LlamaForCausalLM,
    target: &Target,
    path: &Path,
    kind: GgufType,
) -> Result<(), Error> {
    // A folder's template is a file of its own; a GGUF file's is among its metadata.
    let template = if GgufFile::is_named(&target.base) {
        None
    } else {
        let of_adapter = target.adapter.as_deref().map(template_text);
        match of_adapter.transpose()?.flatten() {
            Some(template) => Some(template),
            None => template_text(&target.base)?,
        }
    };
    in_place(path, |part| {
        write_gguf(model, &target.base, template.as_deref(), part, kind)
    })
}

/// Write the LoRA adapter of a run or a PEFT folder as a GGUF file.
///
/// ```no_run
/// use finetune::merge::export_adapter;
/// use finetune::target::Target;
///
/// let target = Target::of("runs/ief-seed1".as_ref(), None)?;
/// export_adapter(&target, "adapter.gguf".as_ref())?;
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Config`] without an adapter; [`Error::Adapter`] for its folder; [`Error::Write`] for what a GGUF file of LoRA
/// cannot hold, and if it cannot be written; [`Error::Model`] for the base.
pub fn export_adapter(target: &Target, path: &Path) -> Result<(), Error> {
    let Some(folder) = &target.adapter else {
        let expected =
            "a run or PEFT folder with an adapter (`finetune merge --gguf` writes whole models)";
        return Err(Error::config(
            "export-adapter",
            target.base.display(),
            expected,
        ));
    };
    let adapter = AdapterFolder::read(folder)?;
    files::check_output(path)?;
    in_place(path, |part| {
        write_gguf_adapter(&adapter, &target.base, part)
    })
}

/// Write a file under another name first.
fn in_place(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), burn_hf_models::Error>,
) -> Result<(), Error> {
    let part = files::unfinished(path);
    let written = write(&part).map_err(|error| match error {
        burn_hf_models::Error::Weights { path: of, reason } if of == part => {
            Error::write(path, reason)
        }
        other => other.into(),
    });
    let placed =
        written.and_then(|()| files::put_in_place(path).map_err(|error| Error::write(path, error)));
    if placed.is_err() {
        // The disk may be full: leave nothing half written.
        let _ = fs::remove_file(&part);
    }
    placed
}
