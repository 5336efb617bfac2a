"""Write the DINOv2 encoder of an ONNX file as a Hugging Face folder.

Usage: onnx_to_dinov2.py MODEL.onnx FOLDER, with the libraries of onnx_requirements.txt.

The file keeps PyTorch's names, except for two kinds of values that the export folded:
weights of linear layers are anonymous and transposed, and are found through the nodes
that use them; the position embeddings are in two parts, class token and patches.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["Dinov2Model"],
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 384,
    "image_size": 518,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-06,
    "layerscale_value": 1.0,
    "mlp_ratio": 4,
    "model_type": "dinov2",
    "num_attention_heads": 6,
    "num_channels": 3,
    "num_hidden_layers": 12,
    "patch_size": 14,
    "qkv_bias": True,
    "torch_dtype": "float32",
    "use_mask_token": False,
    "use_swiglu_ffn": False,
}
PREPROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "BitImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 256},
}
PREFIX = "backbone."
LINEAR = re.compile(r"/backbone/(encoder/layer\.\d+/.+)/MatMul")
POSITIONS = "embeddings.position_embeddings"


def main() -> None:
    """Convert the file of the command line."""
    source, folder = map(Path, sys.argv[1:])
    tensors = convert(onnx.load(source).graph)
    check(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)


def convert(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Give the encoder's tensors their names and layouts of `transformers`."""
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def values(name: str) -> np.ndarray:
        return numpy_helper.to_array(stored[name])

    tensors = {
        name.removeprefix(PREFIX): values(name)
        for name in stored
        if name.startswith(PREFIX)
    }
    for node in graph.node:
        linear = LINEAR.fullmatch(node.name)
        if linear and node.input[1] in stored:
            name = linear[1].replace("/", ".")
            tensors[f"{name}.weight"] = np.ascontiguousarray(values(node.input[1]).T)
    tensors[POSITIONS] = np.concatenate([values(name) for name in positions(graph)], 1)
    return tensors


def positions(graph: onnx.GraphProto) -> tuple[str, str]:
    """Find the position embeddings of the class token and of the patches.

    The latter are reshaped and resized to the image, then joined to the former and added
    to the tokens.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    [add] = [node for node in graph.node if node.name == "/backbone/embeddings/Add"]
    class_token, patches = made_by[add.input[1]].input
    while patches in made_by:
        patches = made_by[patches].input[0]
    return class_token, patches


def expected() -> dict[str, tuple[int, ...]]:
    """List names and shapes of `Dinov2Model`."""
    d, patch = CONFIG["hidden_size"], CONFIG["patch_size"]
    hidden = CONFIG["mlp_ratio"] * d
    grid = CONFIG["image_size"] // patch
    projection = "embeddings.patch_embeddings.projection"
    shapes = {
        "embeddings.cls_token": (1, 1, d),
        POSITIONS: (1, 1 + grid**2, d),
        f"{projection}.weight": (d, CONFIG["num_channels"], patch, patch),
        f"{projection}.bias": (d,),
        "layernorm.weight": (d,),
        "layernorm.bias": (d,),
    }
    linears = {
        "attention.attention.query": (d, d),
        "attention.attention.key": (d, d),
        "attention.attention.value": (d, d),
        "attention.output.dense": (d, d),
        "mlp.fc1": (hidden, d),
        "mlp.fc2": (d, hidden),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for name in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]:
            shapes[f"{prefix}.{name}"] = (d,)
        for name in ["layer_scale1.lambda1", "layer_scale2.lambda1"]:
            shapes[f"{prefix}.{name}"] = (d,)
        for name, shape in linears.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            shapes[f"{prefix}.{name}.bias"] = shape[:1]
    return shapes


def check(tensors: dict[str, np.ndarray]) -> None:
    """Refuse what is not a `Dinov2Model` of these sizes."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = set(shapes.items()) ^ set(expected().items())
    types = {str(tensor.dtype) for tensor in tensors.values()}
    if wrong or types != {"float32"}:
        sys.exit(f"not the expected tensors: {sorted(wrong)[:6]}, types {types}")


def write_json(path: Path, content: dict) -> None:
    """Write a file that people can read."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
