//! The command line.

use std::path::PathBuf;

use clap::Parser;
use programs::DeviceKind;
use programs::command::{at_least, between};

use crate::method::Method;
use crate::operations::Operations;
use crate::settings::Setting;

/// Time and peak memory of a whole training step, parameter update included.
///
/// Times come from one process in which the methods take turns, after a warm-up. The peak is that
/// of a process per method: its largest resident set (VmHWM, as the system reports it, with
/// nothing subtracted) after building the model and the batch and a few steps.
#[derive(Debug, Clone, Parser)]
#[command(name = "step")]
pub struct Args {
    /// What is trained: an MLP 3072-2048-2048-10, LoRA (r = 8 on q and v) on a transformer of 6
    /// layers of width 384 over 64 positions, two LSTM layers of 64 units over 50 positions, as many
    /// cells with layer norms, called step by step, or one of Burn's examples. Several are separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub setting: Vec<Setting>,

    /// Samples per batch, comma-separated [default: 64 for mlp, the example's for Burn's examples, 32 for others].
    #[arg(long, value_delimiter = ',', value_name = "M", value_parser = at_least::<1>)]
    pub batch: Vec<usize>,

    /// Methods, comma-separated [default: all that the setting has].
    #[arg(long, value_delimiter = ',')]
    pub methods: Vec<Method>,

    /// Devices, comma-separated; others than flex need the feature of that name.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "flex")]
    pub device: Vec<DeviceKind>,

    /// Count what a step of iEF over so many servers on this machine sends, in place of times (mlp, lora and tiny; feature
    /// remote). With 1, time the forms of a step over several devices on one.
    #[arg(long, value_delimiter = ',', value_name = "D", value_parser = between::<1, 64>, conflicts_with = "methods")]
    pub devices: Vec<usize>,

    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Timed rounds over the methods.
    #[arg(long, default_value_t = 30, value_parser = at_least::<1>)]
    pub rounds: usize,

    /// Seconds after which a method sits the other rounds out (it takes part in three at least).
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,

    /// Steps that are timed together, for methods whose steps differ (those of the K-FAC family
    /// refresh every ten); times are per step.
    #[arg(long, default_value_t = 1, value_name = "STEPS", value_parser = at_least::<1>)]
    pub cycle: usize,

    /// Compute linear layers, activations, norms and attention by Burn's own operations instead of those of
    /// burn-flex-fused (lora).
    #[arg(long)]
    pub plain: bool,

    /// Do not measure peak memory (no process per method).
    #[arg(long)]
    pub no_memory: bool,

    /// Take a few steps of the one method and print the peak of this process.
    #[arg(long, hide = true)]
    pub peak: bool,
}

impl Args {
    /// The batch sizes asked for, or the setting's own.
    pub fn batches(&self, setting: Setting) -> Vec<usize> {
        if self.batch.is_empty() {
            vec![setting.batch()]
        } else {
            self.batch.clone()
        }
    }

    /// What computes linear layers, activations, norms and attention.
    pub fn operations(&self) -> Operations {
        if self.plain {
            Operations::Burn
        } else {
            Operations::Fused
        }
    }

    /// The methods asked for, or all of the setting.
    ///
    /// # Errors
    ///
    /// Names a method that the setting does not have.
    pub fn methods(&self, setting: Setting) -> Result<Vec<Method>, String> {
        let all = Method::of(setting);
        if self.methods.is_empty() {
            return Ok(all);
        }
        match self.methods.iter().find(|method| !all.contains(method)) {
            Some(method) => Err(format!(
                "setting {setting} has no method {method}: it needs LoRA adapters, sequences, linear \
                 layers alone, or (except for sgd, adamw, adafactor, ef, ief, ief_momentum and ief_default) a \
                 setting that is not one of Burn's examples"
            )),
            None => Ok(self.methods.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("step").chain(line.split_whitespace()))
    }

    #[test]
    fn the_documented_command_parses() {
        let args = parse(
            "--setting lora --batch 32,64 --methods sgd,adamw,ef,ief,sf,by_sample,dense \
             --device flex,ndarray --json rows.json",
        )
        .unwrap();
        assert_eq!(args.batches(Setting::Lora), [32, 64]);
        assert_eq!(args.methods(Setting::Lora).unwrap().len(), 7);
        assert_eq!(args.device, [DeviceKind::Flex, DeviceKind::Ndarray]);
        let args = parse("--setting lora --devices 2,4,8").unwrap();
        assert_eq!(args.devices, [2, 4, 8]);
        assert!(parse("--setting lora --devices 0").is_err());
    }

    #[test]
    fn methods_of_the_other_setting_and_empty_batches_are_refused() {
        let args = parse("--setting mlp --methods sgd,apply_lora").unwrap();
        assert!(
            args.methods(Setting::Mlp)
                .unwrap_err()
                .contains("apply_lora")
        );
        let args = parse("--setting lstm --methods sgd,dense").unwrap();
        assert!(args.methods(Setting::Lstm).unwrap_err().contains("dense"));
        let args = parse("--setting guide,modern-lstm --methods sgd,ief,kfac").unwrap();
        assert_eq!(args.setting, [Setting::Guide, Setting::ModernLstm]);
        assert_eq!(args.batches(Setting::Guide), [64]);
        assert!(args.methods(Setting::Guide).unwrap_err().contains("kfac"));
        assert!(parse("--methods sgd").is_err());
        assert!(parse("--setting mlp --batch 0").is_err());
        assert!(parse("--setting cnn").is_err());
    }
}
