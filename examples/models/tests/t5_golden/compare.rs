//! Outputs of the model beside those of `transformers`.

use models::t5::T5Output;

use super::golden::{Folder, data};

/// The largest difference of an output, relative to the largest entry of each tensor.
pub fn difference(folder: &Folder, output: T5Output, case: &str, precision: &str) -> f64 {
    let file = folder.read("golden.safetensors");
    let tensors = [
        ("logits", output.logits),
        (
            "decoder_last_hidden_state",
            output.decoder_last_hidden_state,
        ),
        (
            "encoder_last_hidden_state",
            output.encoder_last_hidden_state,
        ),
    ];
    let differences = tensors.map(|(name, found)| {
        let expected = data(&file, &format!("{case}.{name}.{precision}"));
        assert_eq!(found.dims()[..], expected.shape()[..], "{case}.{name}");
        let found = found.try_to_vec_as::<f64>().unwrap();
        let expected = expected.convert::<f64>().try_to_vec::<f64>().unwrap();
        relative(&found, &expected)
    });
    differences.into_iter().fold(0.0, f64::max)
}

fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let size = expected.iter().fold(0.0, |max: f64, e| max.max(e.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |worst: f64, (f, e)| {
        let difference = (f - e).abs() / size;
        // A NaN is not below any tolerance.
        match difference.is_nan() {
            true => f64::INFINITY,
            false => worst.max(difference),
        }
    })
}
