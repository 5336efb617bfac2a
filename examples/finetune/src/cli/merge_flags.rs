//! Flags of `finetune merge` and `finetune export-adapter`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::merge::{GgufType, MergeOptions, WeightType, export_adapter, merge};
use crate::target::Target;

/// Write an adapter and its model as one Hugging Face folder, which needs neither PEFT nor this program.
///
/// The folder has the names of transformers, the tokenizer, the chat template and the settings of generation. A GGUF file
/// as the base is turned into floats. Prompts cannot be merged: they are a part of the input.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Folder of a run, PEFT folder; Hugging Face folders and GGUF files are written again in another type.
    #[arg(value_name = "RUN|DIR|FILE.gguf")]
    pub target: PathBuf,
    /// Folder to write: a new or an empty one.
    #[arg(long, value_name = "DIR", required_unless_present = "gguf")]
    out: Option<PathBuf>,
    /// GGUF file to write, of a language model.
    #[arg(long, value_name = "FILE")]
    gguf: Option<PathBuf>,
    /// How the GGUF file stores matrices.
    #[arg(long, value_enum, default_value_t = GgufKind::F16, requires = "gguf")]
    gguf_type: GgufKind,
    /// Type of the weights [default: that of the base model; f32 for a GGUF file].
    #[arg(long, value_enum)]
    dtype: Option<WeightType>,
    /// Most bytes of weights in a file: a number with KB, MB or GB (or KiB, MiB, GiB).
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    max_shard: u64,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
}

impl MergeArgs {
    /// Merge; `each` gets what the user should know.
    ///
    /// # Errors
    ///
    /// Those of [`Target::of`] and [`merge`].
    pub fn merge(&self, mut each: impl FnMut(&str)) -> Result<(), Error> {
        let target = Target::of(&self.target, self.model.as_deref())?;
        let mut options = MergeOptions::default().with_max_shard(self.max_shard);
        if let Some(dtype) = self.dtype {
            options = options.with_weight_type(dtype);
        }
        if let Some(path) = &self.gguf {
            options = options.with_gguf(path, self.gguf_type.into());
        }
        for note in merge(&target, self.out.as_deref(), &options)? {
            each(&format!("note: {note}"));
        }
        for path in self.out.iter().chain(&self.gguf) {
            each(&format!("written: {}", path.display()));
        }
        Ok(())
    }
}

/// How a GGUF file stores matrices.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GgufKind {
    /// Floats of 16 bits.
    #[value(name = "f16")]
    F16,
    /// Blocks of 32 integers of 8 bits with one scale.
    #[value(name = "q8_0")]
    Q8,
}

impl From<GgufKind> for GgufType {
    fn from(kind: GgufKind) -> Self {
        match kind {
            GgufKind::F16 => Self::F16,
            GgufKind::Q8 => Self::Q8_0,
        }
    }
}

/// Write the LoRA adapter of a language model as a GGUF file, which llama.cpp puts on the GGUF file of the same model.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a run, or PEFT folder.
    #[arg(value_name = "RUN|DIR")]
    pub target: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
}

impl ExportArgs {
    /// Write the file.
    ///
    /// # Errors
    ///
    /// Those of [`Target::of`] and [`export_adapter`].
    pub fn export(&self) -> Result<(), Error> {
        let target = Target::of(&self.target, self.model.as_deref())?;
        export_adapter(&target, &self.gguf)
    }
}

/// A number of bytes, with a unit or without.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(unit, bytes)| {
        let start = text.len().checked_sub(unit.len())?;
        let (number, end) = (text.get(..start)?, text.get(start..)?);
        end.eq_ignore_ascii_case(unit).then_some((number, *bytes))
    });
    let (number, unit) = unit.unwrap_or((text, 1));
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "expected a size such as 5GB or 500MB".to_string())?;
    let bytes = number * unit as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("expected a size of at least one byte".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GB"), Ok(5_000_000_000));
        assert_eq!(size("1.5 mib"), Ok(1_572_864));
        assert_eq!(size("20000"), Ok(20_000));
        assert_eq!(size("7 B"), Ok(7));
        for wrong in ["", "GB", "5TB", "-1GB", "0", "nan", "inf", "5Ğ"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
