//! Whether the tensors of a layer are those of a LoRA, without knowing the layer.

use burn::tensor::TensorData;

use crate::adapters::AdapterPart;
use crate::error::Error;
use crate::tuner::LayerTensors;

const EMBEDDING: [AdapterPart; 2] = [AdapterPart::LORA_EMBEDDING_A, AdapterPart::LORA_EMBEDDING_B];
const LAYER: [AdapterPart; 2] = [AdapterPart::LORA_A, AdapterPart::LORA_B];

/// Check the tensors of one adapted layer.
pub(super) fn check(tensors: &LayerTensors<'_>, rank: usize, dora: bool) -> Result<(), Error> {
    let first = |parts: [AdapterPart; 2]| {
        let mut parts = parts.into_iter();
        parts.find(|part| tensors.get(*part).is_some())
    };
    let of_embedding = first(EMBEDDING);
    if let (Some(part), Some(_)) = (of_embedding, first(LAYER)) {
        return Err(Error::Key {
            key: tensors.key(part),
            reason: "the module has the factors of a linear layer or convolution too",
        });
    }
    let parts = if of_embedding.is_some() {
        EMBEDDING
    } else {
        LAYER
    };
    let width = factors(tensors, parts, rank)?;
    let magnitude = AdapterPart::LORA_MAGNITUDE;
    match (dora, tensors.get(magnitude)) {
        (false, None) => Ok(()),
        (false, Some(_)) => Err(Error::Key {
            key: tensors.key(magnitude),
            reason: "it belongs to DoRA, and use_dora is false",
        }),
        (true, None) => Err(Error::MissingKey {
            key: tensors.key(magnitude),
        }),
        (true, Some(data)) if data.num_elements() == width => Ok(()),
        (true, Some(data)) => {
            Err(tensors.wrong_shape(magnitude, data, format!("{width} elements")))
        }
    }
}

/// Check both factors; the width of the output.
fn factors(
    tensors: &LayerTensors<'_>,
    [a, b]: [AdapterPart; 2],
    rank: usize,
) -> Result<usize, Error> {
    let (a_data, b_data): (&TensorData, &TensorData) = (tensors.needed(a)?, tensors.needed(b)?);
    let (a_shape, b_shape) = (a_data.shape().as_slice(), b_data.shape().as_slice());
    // A linear layer has two axes, a convolution two more or fewer of them.
    let axes = a_shape.len();
    let linear = a == AdapterPart::LORA_EMBEDDING_A || axes == 2;
    if a_shape.first() != Some(&rank) || axes < 2 || (linear && axes != 2) {
        return Err(tensors.wrong_shape(a, a_data, format!("[{rank}, …]")));
    }
    match b_shape {
        [width, of_b, ..] if b_shape.len() == axes => {
            // The B of a convolution in groups reads a group of the rank at a time.
            let grouped = !linear && *of_b != 0 && rank.is_multiple_of(*of_b);
            if *of_b == rank || grouped {
                return Ok(*width);
            }
        }
        _ => {}
    }
    let expected = if linear {
        format!("[…, {rank}]")
    } else {
        format!("[…, {rank}, …] with {axes} axes")
    };
    Err(tensors.wrong_shape(b, b_data, expected))
}
