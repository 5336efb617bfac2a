"""Check with `transformers` and `peft` that `finetune merge` writes folders which compute what PEFT computes.

    pip install torch transformers peft
    python examples/finetune/scripts/check_merged.py target/debug/finetune

For every family and every adapter among the fixtures, and for adapters made here (on tables and heads that are tied, with
modules saved in full, with patterns of ranks): merges, loads the folder with the class that its config.json names, asks
that no key is missing and none unexpected, and compares the logits with those of PEFT in 32 bits. Ends with an error if
one differs.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file

from checks import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
TOLERANCE = 1e-4
DECODERS = ["llama", "qwen2"] + [
    f"families/{name}" for name in
    ["llama_llama3", "llama_dynamic", "llama_yarn", "qwen2_yarn", "mistral", "qwen3", "gemma2", "gemma3_text", "phi3",
     "smollm3"]
]
ENCODERS = ["bert"] + [
    f"families/{name}" for name in
    ["roberta", "roberta_base", "roberta_tokens", "distilbert", "distilbert_tokens", "modernbert", "modernbert_base",
     "modernbert_tokens"]
]
PICTURES = ["vit", "vit/dinov2"]
SEQ2SEQ = ["t5_relu", "t5_gated_gelu"]
# Names of `transformers` 4, which PEFT looks for in vain in version 5: compared with what it computed then.
OLD = {
    "vit/lora": ("vit/golden.safetensors", "lora.logits.f64"),
    "vit/dora_everywhere": ("vit/dora_everywhere.safetensors", "dora_everywhere.logits.f64"),
}


def read(folder):
    return json.loads((folder / "config.json").read_text())


def inputs(config):
    """Something to compute with, with padding on the right."""
    torch.manual_seed(3)
    if "image_size" in config:
        size = config["image_size"]
        height, width = size if isinstance(size, list) else (size, size)
        return {"pixel_values": torch.randn(3, 3, height, width)}
    ids = torch.randint(3, config["vocab_size"], (3, 9))
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 6:] = 0
    given = {"input_ids": ids, "attention_mask": mask}
    if config["model_type"] == "t5":
        given["decoder_input_ids"] = torch.randint(3, config["vocab_size"], (3, 4))
    return given


def outputs(model, given):
    """Logits or hidden states, those of padding left out."""
    with torch.no_grad():
        found = model.eval()(**given)
    values = found.logits if "logits" in found else found.last_hidden_state
    mask = given.get("attention_mask")
    if mask is not None and values.dim() == 3 and values.shape[1] == mask.shape[1]:
        values = values[mask.bool()]
    return values


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


class MergeChecks(Checks):
    def run(self, *arguments):
        command = self.command(*arguments)
        return subprocess.run(command, cwd=self.place, capture_output=True, text=True)

    def merge(self, name, target, base, *flags):
        """The merged folder, or nothing."""
        out = self.place / "merged" / name.replace("/", "-").replace(" ", "-")
        done = self.run("merge", target, "--out", out, *(["--model", base] if base else []), *flags)
        if done.returncode != 0:
            self.check(name, False, done.stderr.strip())
            return None
        return out

    def load(self, name, folder):
        """The model of a merged folder; its keys are the class's."""
        config = read(folder)
        kind = getattr(transformers, config["architectures"][0])
        model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        missing, unexpected = list(info["missing_keys"]), list(info["unexpected_keys"])
        mismatched = list(info.get("mismatched_keys", []))
        keys = missing + unexpected + mismatched
        self.check(f"{name}: keys", not keys, f"missing {missing}, unexpected {unexpected}" if keys else "")
        return model

    def adapted(self, base, adapter, merged):
        """The model of PEFT."""
        config = read(merged)
        kind = getattr(transformers, config["architectures"][0])
        # What the adapter brings along is new in the base.
        more = {}
        if "ForSequence" in kind.__name__ or "ForToken" in kind.__name__ or "ForImage" in kind.__name__:
            more = {"num_labels": len(config.get("id2label", "01")), "ignore_mismatched_sizes": True}
        model = kind.from_pretrained(base, dtype=torch.float32, **more)
        return PeftModel.from_pretrained(model, adapter)

    def compare(self, name, base, adapter, *flags, tolerance=TOLERANCE):
        folder = self.merge(name, adapter, base, *flags)
        if folder is None:
            return None
        model = self.load(name, folder)
        given = inputs(read(folder))
        expected = outputs(self.adapted(base, adapter, folder), given)
        difference = relative(outputs(model, given), expected)
        self.check(f"{name}: outputs", difference < tolerance, f"differ by {difference:.1e}")
        return folder

    def refused(self, name, *arguments, says, code=2):
        done = self.run(*arguments)
        self.check(name, done.returncode == code and says in done.stderr, done.stderr.strip())


def adapters(folder):
    return sorted(path.parent for path in folder.glob("*/adapter_config.json"))


def fixtures(checks):
    for family in DECODERS + ENCODERS + PICTURES + SEQ2SEQ:
        base = FIXTURES / family
        for adapter in adapters(base):
            name = f"{family}/{adapter.name}"
            kind = json.loads((adapter / "adapter_config.json").read_text())["peft_type"]
            if kind == "PROMPT_TUNING":
                out = checks.place / "prompt"
                checks.refused(f"{name} is refused", "merge", adapter, "--model", base, "--out", out,
                               says="cannot be merged")
                checks.check(f"{name}: nothing is written", not out.exists())
            elif name in OLD:
                folder = checks.merge(name, adapter, base)
                model = checks.load(name, folder)
                with safe_open(FIXTURES / "vit/golden.safetensors", "pt") as golden:
                    given = {"pixel_values": golden.get_tensor("input.pixel_values").float()}
                file, key = OLD[name]
                with safe_open(FIXTURES / file, "pt") as golden:
                    expected = golden.get_tensor(key).float()
                difference = relative(outputs(model, given), expected)
                checks.check(f"{name}: outputs", difference < TOLERANCE, f"differ by {difference:.1e}")
            else:
                checks.compare(name, base, adapter)


def made(checks, name, family, config, *flags, tolerance=TOLERANCE):
    """Compare with an adapter of this configuration, with random values."""
    base = FIXTURES / family
    kind = getattr(transformers, read(base)["architectures"][0])
    torch.manual_seed(5)
    model = get_peft_model(kind.from_pretrained(base, dtype=torch.float32), config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.requires_grad:
                value += 0.1 * torch.randn_like(value)
    folder = checks.place / "adapters" / name.replace(" ", "-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return checks.compare(name, base, folder, *flags, tolerance=tolerance)


def tied(checks):
    """Tables and heads, which share their weights in some of the models."""
    lora = lambda **more: LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, **more)
    for family in ["families/gemma2", "families/smollm3", "families/qwen3", "llama"]:
        is_tied = read(FIXTURES / family).get("tie_word_embeddings", False)
        short = f"{family.split('/')[-1]} ({'tied' if is_tied else 'untied'})"
        for what, config in {
            "LoRA of the table": lora(target_modules=["embed_tokens", "q_proj"]),
            "LoRA of the head": lora(target_modules=["lm_head", "v_proj"]),
            "LoRA of both": lora(target_modules=["embed_tokens", "lm_head"]),
            "head saved": lora(target_modules=["q_proj"], modules_to_save=["lm_head"]),
            "table saved": lora(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
        }.items():
            folder = made(checks, f"{short} {what}", family, config)
            if folder and is_tied:
                checks.check(f"{short} {what}: a head of its own", read(folder)["tie_word_embeddings"] is False)


def settings(checks):
    """Settings of LoRA that change how much is added, or where."""
    lora = lambda **more: LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, **more)
    made(checks, "rsLoRA with a pattern", "llama", lora(
        target_modules="all-linear", use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 5}))
    made(checks, "DoRA of fused projections", "families/phi3", lora(
        target_modules=["qkv_proj", "gate_up_proj", "o_proj"], use_dora=True))
    made(checks, "biases", "qwen2", lora(target_modules=["q_proj", "o_proj"], bias="all"))
    made(checks, "layers of one half", "families/mistral", lora(target_modules=["up_proj"], layers_to_transform=[1]))


def kinds(checks):
    """Layers of every kind in encoders, T5 and pictures."""
    lora = lambda task=None, **more: LoraConfig(task_type=task, r=4, lora_alpha=16, **more)
    for name, family, config in [
        ("BERT's tables and biases", "bert", lora("SEQ_CLS", target_modules=["word_embeddings", "dense"], bias="all")),
        ("BERT's pooler", "bert", lora("SEQ_CLS", target_modules=["query"], modules_to_save=["pooler", "classifier"])),
        ("RoBERTa's layers", "families/roberta", lora("SEQ_CLS", target_modules="all-linear")),
        ("RoBERTa's tables", "families/roberta", lora("SEQ_CLS", target_modules=["word_embeddings", "value"])),
        ("RoBERTa for tokens", "families/roberta_tokens", lora("TOKEN_CLS", target_modules=["query"])),
        ("DistilBERT with DoRA", "families/distilbert", lora("SEQ_CLS", target_modules=["q_lin", "lin1"], use_dora=True)),
        ("ModernBERT's layers", "families/modernbert", lora("SEQ_CLS", target_modules=["Wqkv", "Wi", "tok_embeddings"])),
        ("ModernBERT's head", "families/modernbert",
         lora("SEQ_CLS", target_modules=["Wqkv"], modules_to_save=["classifier", "head"])),
        ("T5 with DoRA", "t5_relu", lora("SEQ_2_SEQ_LM", target_modules=["q", "k", "v", "o", "wo"], use_dora=True)),
        ("T5's own head", "t5_gated_gelu", lora("SEQ_2_SEQ_LM", target_modules=["lm_head", "q"])),
        ("ViT's convolution", "vit", lora(target_modules=["q_proj", "fc1", "projection"], modules_to_save=["classifier"])),
        ("DINOv2 with DoRA", "vit/dinov2",
         lora(target_modules=["q_proj", "fc1"], use_dora=True, modules_to_save=["classifier"])),
        ("Gemma 3's layers", "families/gemma3_text", lora("CAUSAL_LM", target_modules="all-linear")),
        ("IA3 on Llama", "llama", IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"],
                                            feedforward_modules=["down_proj"])),
    ]:
        made(checks, name, family, config)
    # T5's output is scaled where head and table are one: they cannot be taken apart.
    for what in ["lm_head", "shared"]:
        config = lora("SEQ_2_SEQ_LM", target_modules=[what])
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(FIXTURES / "t5_relu", dtype=torch.float32)
        folder = checks.place / "adapters" / f"t5-{what}"
        get_peft_model(model, config).save_pretrained(folder)
        with safe_open(folder / "adapter_model.safetensors", "pt") as opened:
            tensors = {key: torch.ones_like(opened.get_tensor(key)) for key in opened.keys()}
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        checks.refused(f"T5's {what}", "merge", folder, "--model", FIXTURES / "t5_relu", "--out", checks.place / "new",
                       says="tied")


def forms(checks):
    """Types, shards, GGUF files, and what is refused."""
    base, adapter = FIXTURES / "llama", FIXTURES / "llama/lora"
    whole = checks.merge("one file", adapter, base)
    parts = checks.compare("several files", base, adapter, "--max-shard", "40KB")
    index = json.loads((parts / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in parts.glob("*.safetensors"))
    checks.check("the index names the files", files == sorted(set(index["weight_map"].values())) and len(files) > 1)
    sizes, tensors = [], {}
    for file in files:
        with safe_open(parts / file, "pt") as opened:
            checks.check(f"{file}: format", opened.metadata() == {"format": "pt"})
            for key in opened.keys():
                tensors[key] = opened.get_tensor(key)
                checks.check(f"{key} is where the index says", index["weight_map"][key] == file)
        sizes.append((parts / file).stat().st_size)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    checks.check("the index has the size", index["metadata"]["total_size"] == total, total)
    for flag, dtype, bound in [("bf16", torch.bfloat16, 0.05), ("f16", torch.float16, 0.01)]:
        folder = checks.compare(f"weights in {flag}", base, adapter, "--dtype", flag, tolerance=bound)
        with safe_open(folder / "model.safetensors", "pt") as opened:
            kinds = {opened.get_tensor(key).dtype for key in opened.keys()}
        checks.check(f"{flag} is the type of all", kinds == {dtype}, kinds)
        checks.check(f"{flag} is in the configuration", str(dtype).endswith(
            read(folder).get("dtype", read(folder).get("torch_dtype"))))

    file = FIXTURES / "gguf/llama.gguf"
    folder = checks.merge("a GGUF file", adapter, file)
    model, given = checks.load("a GGUF file", folder), inputs(read(folder))
    expected = outputs(checks.load("one file", whole), given)
    difference = relative(outputs(model, given), expected)
    checks.check("a GGUF file: outputs", difference < TOLERANCE, f"differ by {difference:.1e}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    checks.check("a GGUF file: tokenizer", tokenizer.decode(tokenizer("the one in a nation").input_ids,
                                                            skip_special_tokens=True) == "the one in a nation")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    checks.check("a GGUF file: chat template", chat == "<|im_start|>user x<|end|>", chat)
    checks.check("a GGUF file: end token", model.generation_config.eos_token_id == 2)

    checks.refused("a folder with files", "merge", adapter, "--model", base, "--out", whole, code=1,
                   says="found one with files")
    checks.refused("a base that is not there", "merge", adapter, "--out", checks.place / "new", says="--model")
    checks.refused("a base of another kind", "merge", adapter, "--model", FIXTURES / "families/phi3", "--out",
                   checks.place / "new", says="adapter:")
    checks.check("nothing is left of what failed", not list(checks.place.glob("**/*.part")) and
                 not (checks.place / "new").exists())


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    program = shutil.which(sys.argv[1]) or sys.exit(f"{sys.argv[1]}: no such program")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        checks = MergeChecks(Path(program).resolve(), Path(place))
        fixtures(checks)
        tied(checks)
        settings(checks)
        kinds(checks)
        forms(checks)
        checks.finish()


main()
