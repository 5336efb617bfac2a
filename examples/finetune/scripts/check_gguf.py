"""Check with the package `gguf` that `finetune` writes GGUF files as llama.cpp's own converters do.

    pip install torch transformers peft gguf
    python examples/finetune/scripts/check_gguf.py target/debug/finetune

Reads the files of `finetune merge --gguf` and `finetune export-adapter --gguf`, and compares names, types and values of
metadata and tensors with a file that the package `gguf` wrote, with the weights that PEFT merges, and with llama.cpp's
order of rotary pairs. Ends with an error if something differs.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from checks import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
# Of llama.cpp's tables of names, by its own package.
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}


def pairs(weight, heads):
    """As `permute` of llama.cpp's converter."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


class Reading:
    """A file as the package reads it."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def value(self, name):
        return self.fields[name].contents()

    def values(self, name):
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


class GgufChecks(Checks):
    def run(self, *arguments):
        command = self.command(*arguments)
        done = subprocess.run(command, cwd=self.place, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def stored(name, names, value, config):
    """A tensor as the converter stores it."""
    base, leaf = name.rsplit(".", 1)
    if config["model_type"] == "llama":
        if base.endswith("q_proj"):
            value = pairs(value, config["num_attention_heads"])
        if base.endswith("k_proj"):
            value = pairs(value, config["num_key_value_heads"])
    return f"{names.get_name(base)}.{leaf}", value


def merged_weights(base, adapter):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights


def models(checks):
    place = checks.place
    original = Reading(FIXTURES / "gguf/llama.gguf")
    # A folder with a tokenizer.
    checks.run("merge", FIXTURES / "gguf/llama.gguf", "--out", "tokens")
    for family in ["llama", "qwen2"]:
        base = place / family
        shutil.copytree(FIXTURES / family, base, ignore=lambda folder, names: [
            name for name in names if (Path(folder) / name).is_dir() or "golden" in name])
        for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]:
            shutil.copy(place / "tokens" / file, base / file)
        adapter = FIXTURES / family / "lora"
        config = json.loads((base / "config.json").read_text())
        names = gguf.get_tensor_name_map(ARCHITECTURES[family], config["num_hidden_layers"])
        expected = dict(stored(name, names, value, config) for name, value in merged_weights(base, adapter).items())
        for kind in ["f16", "q8_0"]:
            path = place / f"{family}-{kind}.gguf"
            checks.run("merge", adapter, "--model", base, "--gguf", path, "--gguf-type", kind)
            found = Reading(path)
            name = f"{family} in {kind}"
            checks.check(f"{name}: tensors", set(found.tensors) == set(expected), set(found.tensors) ^ set(expected))
            for tensor, values in expected.items():
                stored_as = found.tensors[tensor].tensor_type.name
                # Blocks of Q8_0 hold 32 values of a row.
                rounded = kind.upper() if values.shape[-1] % 32 == 0 else "F16"
                wanted = "F32" if values.ndim == 1 else rounded
                if stored_as != wanted:
                    checks.check(f"{name}: {tensor}", False, f"{stored_as} for {wanted}")
                bound = {"F32": 1e-6, "F16": 1e-3, "Q8_0": 2e-2}[stored_as] * max(np.abs(values).max(), 1e-3)
                difference = np.abs(found.values(tensor) - values).max()
                if difference > bound:
                    checks.check(f"{name}: {tensor}", False, f"differs by {difference}")
            checks.check(f"{name}: values of {len(expected)} tensors", True)
            for key, value in {
                "general.architecture": family, "general.type": "model",
                "general.file_type": {"f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind],
                f"{family}.block_count": config["num_hidden_layers"],
                f"{family}.attention.head_count": config["num_attention_heads"],
                f"{family}.attention.head_count_kv": config["num_key_value_heads"],
                f"{family}.feed_forward_length": config["intermediate_size"],
            }.items():
                checks.check(f"{name}: {key}", found.value(key) == value, found.value(key))
            for key, field in original.fields.items():
                if family == "llama" or key.startswith("tokenizer."):
                    same = key in found.fields and found.fields[key].types == field.types
                    same = same and found.value(key) == original.value(key)
                    checks.check(f"{name}: {key} as the package writes it", same)
        copied(checks, family, adapter)


def copied(checks, family, adapter):
    """A GGUF file as the base: everything but the weights is as it was."""
    if family != "llama":
        return
    base = FIXTURES / "gguf/llama.gguf"
    path = checks.place / "copied.gguf"
    checks.run("merge", adapter, "--model", base, "--gguf", path)
    found, original = Reading(path), Reading(base)
    for key, field in original.fields.items():
        same = found.fields[key].types == field.types and found.value(key) == original.value(key)
        checks.check(f"a GGUF base: {key}", same)
    expected = Reading(checks.place / "llama-f16.gguf")
    same = all(np.array_equal(found.values(name), expected.values(name)) for name in expected.tensors)
    checks.check("a GGUF base: the tensors are those of its folder", same)


def adapters(checks):
    """Base plus alpha / r times the product of the factors is what PEFT merges."""
    place = checks.place
    made = {"lora": None}
    lora = lambda **more: LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, **more)
    made["all"] = lora(target_modules="all-linear")
    made["rslora"] = lora(target_modules=["q_proj", "k_proj", "down_proj"], use_rslora=True)
    made["patterns"] = lora(target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3})
    for family in ["llama", "qwen2"]:
        base = place / family
        config = json.loads((base / "config.json").read_text())
        names = gguf.get_tensor_name_map(ARCHITECTURES[family], config["num_hidden_layers"])
        weights = {name: value.float().numpy() for name, value in load_file(base / "model.safetensors").items()}
        plain = dict(stored(name, names, value, config) for name, value in weights.items())
        for kind, settings in made.items():
            adapter = FIXTURES / family / "lora"
            if settings is not None:
                torch.manual_seed(7)
                model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), settings)
                with torch.no_grad():
                    for value in model.parameters():
                        if value.requires_grad:
                            value += 0.1 * torch.randn_like(value)
                adapter = place / f"adapter-{family}-{kind}"
                model.save_pretrained(adapter)
            path = place / f"{family}-{kind}-adapter.gguf"
            checks.run("export-adapter", adapter, "--model", base, "--gguf", path)
            found = Reading(path)
            name = f"adapter {kind} of {family}"
            for key, value in {"general.type": "adapter", "adapter.type": "lora", "general.architecture": family}.items():
                checks.check(f"{name}: {key}", found.value(key) == value)
            alpha = found.fields["adapter.lora.alpha"]
            checks.check(f"{name}: alpha is a float", alpha.types == [gguf.GGUFValueType.FLOAT32])
            expected = dict(stored(key, names, value, config) for key, value in merged_weights(base, adapter).items())
            changed = {key for key, value in expected.items() if np.abs(value - plain[key]).max() > 1e-6}
            adapted = {key.rsplit(".", 1)[0] for key in found.tensors}
            checks.check(f"{name}: tensors", changed == adapted and all(
                key.endswith((".lora_a", ".lora_b")) for key in found.tensors), changed ^ adapted)
            for key in adapted:
                a, b = found.values(f"{key}.lora_a"), found.values(f"{key}.lora_b")
                sum_ = plain[key] + alpha.contents() / b.shape[1] * (b @ a)
                difference = np.abs(sum_ - expected[key]).max()
                if difference > 1e-5:
                    checks.check(f"{name}: {key}", False, f"differs by {difference}")
            checks.check(f"{name}: values of {len(adapted)} layers", True)


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    program = shutil.which(sys.argv[1]) or sys.exit(f"{sys.argv[1]}: no such program")
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        checks = GgufChecks(Path(program).resolve(), Path(place))
        models(checks)
        adapters(checks)
        tokenizer = AutoTokenizer.from_pretrained(checks.place / "tokens")
        checks.check("the tokenizer of the folder", tokenizer.decode([3, 4]) != "")
        checks.finish()


main()
