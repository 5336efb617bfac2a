//! Telling Burn's layers from structs of the user's with the same name.
//!
//! A walk over a module shows the name of a struct, but not where it comes from. What can be
//! checked are the names and shapes of its parameters.

use burn::tensor::Shape;

use crate::targets::ModuleKind;

/// The parameters that a module holds itself.
pub(super) struct Held {
    /// Name of its struct.
    pub holder: String,
    /// Names and shapes of its own parameters.
    pub parameters: Vec<(String, Shape)>,
    /// Whether it has parameters that are not floats.
    pub others: bool,
}

/// What a module is: as declared, or by its struct's name if its parameters are those of Burn's
/// layer of that name. `parent` says whether there are modules inside it. An error says what is
/// different from Burn's layer.
pub(super) fn kind(
    held: &Held,
    parent: bool,
    declared: Option<ModuleKind>,
) -> Result<ModuleKind, String> {
    if let Some(kind) = declared {
        // A declared module may have more parameters than Burn's, but needs the same weight.
        return match weight_problem(held, kind) {
            Some(problem) => Err(format!("{problem}, and it is declared as {kind:?}")),
            None => Ok(kind),
        };
    }
    let kind = match held.holder.as_str() {
        "Linear" => ModuleKind::Linear,
        "Embedding" => ModuleKind::Embedding,
        "Conv2d" => ModuleKind::Conv2d,
        _ => return Ok(ModuleKind::Other),
    };
    if parent {
        return Err("it has modules inside".into());
    }
    if held.others {
        return Err("it has parameters that are not floats".into());
    }
    let known = |leaf: &str| leaf == "weight" || (leaf == "bias" && kind != ModuleKind::Embedding);
    if let Some((leaf, _)) = held.parameters.iter().find(|(leaf, _)| !known(leaf)) {
        return Err(format!("it has a parameter `{leaf}`"));
    }
    if let Some(problem) = weight_problem(held, kind).or_else(|| bias_problem(held, kind)) {
        return Err(problem);
    }
    Ok(kind)
}

/// The number of axes that the weight of such a layer has.
fn axes(kind: ModuleKind) -> Option<usize> {
    match kind {
        ModuleKind::Linear | ModuleKind::Embedding => Some(2),
        ModuleKind::Conv2d => Some(4),
        ModuleKind::Other => None,
    }
}

fn weight_problem(held: &Held, kind: ModuleKind) -> Option<String> {
    let axes = axes(kind)?;
    let mut parameters = held.parameters.iter();
    match parameters.find(|(leaf, _)| leaf == "weight") {
        None => Some("it has no parameter `weight`".into()),
        Some((_, shape)) if shape.num_dims() != axes => Some(format!(
            "its weight has {} axes (expected {axes})",
            shape.num_dims()
        )),
        Some(_) => None,
    }
}

/// Whether the bias is as wide as the layer's output.
fn bias_problem(held: &Held, kind: ModuleKind) -> Option<String> {
    let shape = |name: &str| {
        let mut parameters = held.parameters.iter();
        Some(&parameters.find(|(leaf, _)| leaf == name)?.1)
    };
    let (weight, bias) = (shape("weight")?, shape("bias")?);
    let outputs = match kind {
        ModuleKind::Linear => weight[1],
        _ => weight[0],
    };
    (bias.as_slice() != [outputs]).then(|| {
        let (weight, bias) = (weight.as_slice(), bias.as_slice());
        format!("its weight is {weight:?} and its bias {bias:?} (expected [{outputs}])")
    })
}
