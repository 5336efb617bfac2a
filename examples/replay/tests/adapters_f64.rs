//! Every adapter of every model in f64, adapted and merged, and through the writer. A process of
//! its own: the precision of a device is set once.

mod models_reference;

use ::replay::{DeviceKind, Place, Precision};
use models_reference::{CASES, check, check_ia3};

#[test]
fn outputs_match_transformers_and_peft() {
    let place = Place::open(DeviceKind::Flex, Precision::F64).unwrap();
    for case in CASES {
        // Relative to the largest value; the references are f64 throughout.
        check(case, "f64", 1e-9, &place);
    }
    check_ia3(1e-9, &place);
}
