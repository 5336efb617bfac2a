//! Peak memory of a process per method, and what will not fit.

use std::process::{Command, Stdio};

use programs::DeviceKind;
use programs::memory::peak_mib;

use crate::method::{Method, prepare};
use crate::operations::Operations;
use crate::settings::Setting;

/// Steps of the process whose peak is measured: the second one meets the first one's leftovers.
const STEPS: usize = 4;

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes that a step of this method will take at its peak, roughly.
///
/// Counted are the f32 entries of the model, its update and the optimizer's state, what forward
/// keeps for backward, and per-sample gradients where they are materialised.
pub fn predicted_bytes(setting: Setting, method: Method, batch: usize) -> f64 {
    let sizes = setting.sizes();
    let [parameters, trainable, largest, activations, m] = [
        sizes.parameters,
        sizes.trainable,
        sizes.largest,
        sizes.activations,
        batch,
    ]
    .map(|n| n as f64);
    let state = match method.name() {
        // Two moments.
        "adamw" => 4.0 * trainable,
        // The previous update.
        "ief_momentum" | "ief_default" => 3.0 * trainable,
        // 2 (i² + o²) for a layer of i x o: five times its parameters where it is nearly square.
        "kfac" | "ekfac" | "iekfac" => 7.0 * trainable,
        _ => 2.0 * trainable,
    };
    let kept = match method.name() {
        "sf" | "kfac" => 2.0 * m * activations,
        // The recorded factors, and once more in the units of the metric.
        "ief_separable" | "ief_default" => 2.0 * m * activations,
        "by_sample" => activations,
        _ => m * activations,
    };
    let rows = match method {
        // Rows of the samples, and of one parameter at a time put together.
        Method::BySample => m * (trainable + largest),
        Method::Dense => m * trainable,
        _ => 0.0,
    };
    4.0 * (parameters + state + kept + rows)
}

/// Whether a prediction fits; else what to say.
///
/// # Errors
///
/// Says how much is needed and how much there is.
pub fn check(predicted: f64, available: Option<f64>) -> Result<(), String> {
    match available {
        Some(available) if predicted > available => Err(format!(
            "out of memory: needs about {:.0} MiB, {:.0} MiB available",
            predicted / MIB,
            available / MIB
        )),
        _ => Ok(()),
    }
}

/// Take a few steps and print the peak of this process.
///
/// # Errors
///
/// If the device cannot be opened.
pub fn measure_here(
    setting: Setting,
    method: Method,
    batch: usize,
    operations: Operations,
    place: DeviceKind,
) -> Result<(), String> {
    let mut step = prepare(
        setting,
        method,
        batch,
        operations,
        &place.device().map_err(|error| error.to_string())?,
    );
    for _ in 0..STEPS {
        step.step();
    }
    match peak_mib() {
        Some(peak) => println!("{peak}"),
        None => println!("null"),
    }
    Ok(())
}

/// The peak of a process of its own, in MiB; `Ok(None)` where the system does not say.
///
/// # Errors
///
/// Says why the process ended early.
pub fn measure_child(
    setting: Setting,
    method: Method,
    batch: usize,
    operations: Operations,
    place: DeviceKind,
) -> Result<Option<f64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let plain = (operations == Operations::Burn).then_some("--plain");
    let child = Command::new(program)
        .args(plain)
        .args(["--peak", "--setting", &setting.to_string()])
        .args(["--methods", &method.to_string()])
        .args(["--batch", &batch.to_string()])
        .args(["--device", &place.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if child.status.success() {
        let text = String::from_utf8_lossy(&child.stdout);
        return Ok(text.trim().parse().ok());
    }
    let words = String::from_utf8_lossy(&child.stderr);
    // No exit code: a signal ended it, the system's out-of-memory killer as a rule. Burn's
    // allocations abort.
    match child.status.code() {
        None => Err(format!(
            "out of memory: the process was killed ({}), needs more than about {:.0} MiB",
            child.status,
            predicted_bytes(setting, method, batch) / MIB
        )),
        Some(_) => Err(words.lines().next_back().unwrap_or("failed").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use programs::optimizer::optimizer;

    const GIB: f64 = 1024.0 * MIB;

    #[test]
    fn dense_gradients_of_the_mlp_are_refused_before_they_are_allocated() {
        // 512 samples x 10.5 M parameters x 4 bytes are 20 GiB.
        let predicted = predicted_bytes(Setting::Mlp, Method::Dense, 512);
        assert!(
            (20.0..22.0).contains(&(predicted / GIB)),
            "{}",
            predicted / GIB
        );
        let refusal = check(predicted, Some(16.0 * GIB)).unwrap_err();
        assert!(
            refusal.starts_with("out of memory: needs about 2"),
            "{refusal}"
        );
        assert!(check(predicted, Some(24.0 * GIB)).is_ok());
        assert!(check(predicted, None).is_ok());
        // A recorded step does not grow with M times P.
        let recorded = predicted_bytes(Setting::Mlp, Method::Optimizer(optimizer("ief")), 512);
        assert!(recorded < 0.25 * GIB, "{}", recorded / GIB);
    }

    #[test]
    fn two_label_sets_keep_two_sets_of_activations() {
        let one = predicted_bytes(Setting::Lora, Method::Optimizer(optimizer("ief")), 1024);
        let two = predicted_bytes(Setting::Lora, Method::Optimizer(optimizer("sf")), 1024);
        assert!((1.9..2.0).contains(&(two / one)), "{}", two / one);
    }
}
