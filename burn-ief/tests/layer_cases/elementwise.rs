//! Random normalisation layers and activations.

use proptest::prelude::*;

use super::layer::Settings;

pub fn elementwise() -> impl Strategy<Value = Settings> {
    prop_oneof![batch_norm(), instance_norm(), prelu(), swiglu()]
}

fn batch_norm() -> impl Strategy<Value = Settings> {
    (1..5usize, prop::collection::vec(1..4usize, 0..3))
        .prop_map(|(channels, rest)| Settings::BatchNorm { channels, rest })
}

fn instance_norm() -> impl Strategy<Value = Settings> {
    // Burn refuses inputs of fewer than three entries.
    let rest = prop::collection::vec(3..5usize, 1..3);
    (1..5usize, rest, prop::bool::weighted(0.8)).prop_map(|(channels, rest, affine)| {
        Settings::InstanceNorm {
            channels,
            rest,
            affine,
        }
    })
}

fn prelu() -> impl Strategy<Value = Settings> {
    (prop::collection::vec(1..4usize, 0..4), any::<bool>()).prop_map(|(shape, single)| {
        let slopes = match shape.first() {
            Some(&channels) if !single => channels,
            _ => 1,
        };
        Settings::PRelu { slopes, shape }
    })
}

fn swiglu() -> impl Strategy<Value = Settings> {
    let positions = prop::collection::vec(1..4usize, 0..3);
    (positions, 1..4usize, 1..4usize, any::<bool>()).prop_map(
        |(positions, inputs, outputs, bias)| Settings::SwiGlu {
            positions,
            inputs,
            outputs,
            bias,
        },
    )
}
