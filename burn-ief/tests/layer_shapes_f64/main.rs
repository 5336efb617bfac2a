//! Layers of random shapes and settings against one backward pass for each sample, in f64 from end to end.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

#[path = "../double/mod.rs"]
mod double;
#[path = "../layer_cases/mod.rs"]
mod layer_cases;
mod pitfalls;

use double::device;
use layer_cases::{
    Tolerance, cases, check_drawn, check_empty, check_forward, check_groups, check_rows,
    convolutions, deformables, elementwise, transposed,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

const EXACT: Tolerance = Tolerance {
    forward: 1e-12,
    backward: 1e-12,
};
/// Burn computes the backward pass of deformable convolutions in f32 on Flex.
const DEFORMABLE: Tolerance = Tolerance {
    forward: 1e-12,
    backward: 1e-4,
};

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_611),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn convolutions_of_one_to_three_axes(case in cases(convolutions())) {
        check_forward(&case, EXACT)?;
        check_rows(&case, EXACT)?;
        check_groups(&case, EXACT)?;
        check_empty(&case)?;
    }

    #[test]
    fn transposed_convolutions_of_one_to_three_axes(case in cases(transposed())) {
        check_forward(&case, EXACT)?;
        check_rows(&case, EXACT)?;
        check_groups(&case, EXACT)?;
        check_empty(&case)?;
    }

    #[test]
    fn deformable_convolutions(case in cases(deformables())) {
        check_forward(&case, DEFORMABLE)?;
        check_rows(&case, DEFORMABLE)?;
        check_groups(&case, DEFORMABLE)?;
        check_empty(&case)?;
    }

    #[test]
    fn norms_and_activations(case in cases(elementwise())) {
        check_forward(&case, EXACT)?;
        check_rows(&case, EXACT)?;
        check_groups(&case, EXACT)?;
        check_empty(&case)?;
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn copies_with_drawn_labels(
        case in cases(prop_oneof![convolutions(), transposed(), elementwise()])
    ) {
        check_drawn(&case, EXACT)?;
    }

    #[test]
    fn copies_of_deformable_convolutions(case in cases(deformables())) {
        check_drawn(&case, DEFORMABLE)?;
    }
}
