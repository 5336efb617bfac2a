//! What is compared between devices.

use burn::tensor::Device;
use clap::ValueEnum;

use crate::method::{Method, Step, prepare};
use crate::operations::Operations;
use crate::settings::Setting;
use crate::{gamma, layer};

/// A model or layer with several tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// A step of the MLP 3072-2048-2048-10 (`step --setting mlp`).
    Mlp,
    /// A step of LoRA on the transformer (`step --setting lora`).
    Lora,
    /// One linear layer under LoRA, forward and backward (`lora`).
    Layer,
    /// γ of one update of the MLP (`gamma --settings mlp_10`).
    Gamma,
}

/// Directions that share a batch in [`Workload::Gamma`].
const DIRECTIONS: usize = 1;

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Lora => "lora",
            Self::Layer => "layer",
            Self::Gamma => "gamma",
        }
    }

    /// The tasks by name; the others are compared with the first.
    pub fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Mlp => &["sgd", "adamw", "ef", "ief", "ief_momentum", "sf"],
            Self::Lora => &["sgd", "adamw", "ief", "sf"],
            Self::Layer => &["apply_lora", "dense", "burn_peft", "burn_peft_recorded"],
            Self::Gamma => &["pass", "gamma"],
        }
    }

    /// Samples per batch. The transformer's are few, so that a step on a software Vulkan driver takes
    /// seconds.
    pub fn batch(self) -> usize {
        match self {
            Self::Mlp | Self::Gamma => 64,
            Self::Lora => 4,
            Self::Layer => layer::SAMPLES,
        }
    }

    /// A task, ready to be repeated.
    ///
    /// # Errors
    ///
    /// Names a task that the workload does not have.
    pub fn prepare(self, task: &str, device: &Device) -> Result<Box<dyn Step>, String> {
        let unknown = || {
            let tasks = self.tasks().join(", ");
            format!(
                "unknown task `{task}` of {}: expected one of {tasks}",
                self.name()
            )
        };
        let step = |setting| -> Result<Box<dyn Step>, String> {
            let method: Method = task.parse().map_err(|_| unknown())?;
            Ok(prepare(
                setting,
                method,
                self.batch(),
                Operations::Fused,
                device,
            ))
        };
        match self {
            Self::Mlp => step(Setting::Mlp),
            Self::Lora => step(Setting::Lora),
            Self::Layer => {
                let variant = layer::Variant::from_str(task, false).map_err(|_| unknown())?;
                Ok(layer::prepare(variant, device))
            }
            Self::Gamma => {
                let setting = gamma::Setting::Few;
                match task {
                    "pass" => Ok(gamma::prepare(setting, None, DIRECTIONS, device)),
                    "gamma" => {
                        let method = Some(burn_ief::eval::GammaMethod::Differences);
                        Ok(gamma::prepare(setting, method, DIRECTIONS, device))
                    }
                    _ => Err(unknown()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tasks_are_refused() {
        let device = Device::flex();
        for workload in Workload::value_variants() {
            let Err(message) = workload.prepare("nothing", &device) else {
                panic!("{}", workload.name())
            };
            assert!(message.contains(workload.tasks()[0]), "{message}");
        }
    }
}
