//! Inputs that a model cannot take.

use crate::changed_folders::{fixture, inputs};
use crate::program::Folder;

/// Arguments of a file, a part of the message, and the adapter's folder.
type Refused<'a> = (
    &'a str,
    &'a [(&'a str, [usize; 2], i64, i64)],
    &'a [&'a str],
);

#[test]
fn ids_masks_and_batches_are_checked_against_the_model() {
    let folder = Folder::new("inputs");
    let ids = ("input_ids", [2, 3], 1, 1);
    let decoder = ("decoder_input_ids", [2, 2], 1, 1);
    let out_of_range = |name| (name, [2, 3], 1, 100_000);
    let cases: &[Refused<'_>] = &[
        (
            "bert",
            &[out_of_range("input_ids")],
            &["input_ids", "100000", "[1, 2]"],
        ),
        (
            "bert",
            &[("input_ids", [2, 3], 1, -1)],
            &["input_ids", "-1"],
        ),
        (
            "bert",
            &[ids, ("attention_mask", [2, 3], 1, 2)],
            &["attention_mask", "found 2"],
        ),
        (
            "bert",
            &[ids, ("token_type_ids", [2, 3], 0, 2)],
            &["token_type_ids", "found 2"],
        ),
        (
            "bert",
            &[ids, ("attention_mask", [1, 3], 1, 1)],
            &["attention_mask"],
        ),
        (
            "bert",
            &[("input_ids", [0, 3], 1, 1)],
            &["input_ids", "[0, 3]"],
        ),
        (
            "bert",
            &[("input_ids", [3, 0], 1, 1)],
            &["input_ids", "[3, 0]"],
        ),
        (
            "bert",
            &[("input_ids", [1, 5000], 1, 1)],
            &["input_ids", "5000"],
        ),
        (
            "t5_relu",
            &[ids, ("decoder_input_ids", [2, 2], 1, 100_000)],
            &["decoder_input_ids"],
        ),
        (
            "t5_relu",
            &[("input_ids", [2, 3], 1, -5), decoder],
            &["input_ids", "-5"],
        ),
        (
            "t5_relu",
            &[ids, decoder, ("attention_mask", [2, 3], 1, 7)],
            &["attention_mask"],
        ),
        (
            "t5_relu",
            &[ids, ("decoder_input_ids", [2, 0], 1, 1)],
            &["decoder_input_ids"],
        ),
        (
            "t5_relu",
            &[ids, ("decoder_input_ids", [1, 2], 1, 1)],
            &["decoder_input_ids"],
        ),
        (
            "llama",
            &[out_of_range("input_ids")],
            &["input_ids", "100000"],
        ),
        (
            "llama",
            &[ids, ("attention_mask", [2, 3], 1, -1)],
            &["attention_mask"],
        ),
        (
            "llama",
            &[ids, ("position_ids", [2, 3], 0, -1)],
            &["position_ids", "-1"],
        ),
        (
            "llama",
            &[ids, ("position_ids", [2, 3], 0, i64::MAX)],
            &["position_ids"],
        ),
        // Its attention scores take terabytes.
        (
            "llama",
            &[("input_ids", [1, 400_000], 1, 1)],
            &["GiB", "memory"],
        ),
    ];
    for (model, arguments, message) in cases {
        let file = inputs(&folder.0.join("in.safetensors"), arguments);
        let folders = [fixture(model), fixture(&format!("{model}/lora")), file];
        folder.refuses_adapter(folders, false, message);
    }
}
