"""Write small PEFT folders for heads of every kind, and what `transformers` and `peft` compute with them in f64: the
fixtures of `examples/finetune/tests/tasks_f64`.

    pip install torch transformers peft
    python examples/finetune/scripts/make_tasks.py

Of each encoder and problem there is a LoRA adapter with its head in `adapter`, every trained value drawn at random, and
`golden.safetensors`: the inputs (`input.*`, the second row is padded), labels and other labels as if they were drawn
(`labels`, `drawn`), logits, the loss of each row (`losses`: a Gaussian's ½ (z − y)², or the sum of the negative
log-likelihoods of labels or words), the squared norms s of the losses' gradients at the logits, and the sum of the
rows' gradients, EF, iEF and SF (`grad.*`, `ef.*`, `ief.*`, `sf.*` by PEFT's keys) with λ = 1e-3 on the Gram matrix.
`loss` is that of `transformers`.

Made with transformers 5.24.0, peft 0.21.2 and PyTorch 2.15.0.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

EXAMPLES = Path(__file__).resolve().parents[2]
BASES = EXAMPLES / "models/tests/fixtures"
OUT = EXAMPLES / "finetune/tests/tasks_f64/fixtures"
sys.path.insert(0, str(BASES / "families"))
from precise import prepare, wide  # noqa: E402

transformers.logging.set_verbosity_error()
LENGTH, SHORT, LAMBDA = 8, 5, 1e-3
# Folder of the base, LoRA's targets, and what is trained next to the head.
ENCODERS = {
    "bert": ("bert", ["query", "value"], ["pooler"]),
    "roberta": ("families/roberta_base", ["query", "value"], []),
    "distilbert": ("families/distilbert", ["q_lin", "v_lin"], ["pre_classifier"]),
    "modernbert": ("families/modernbert_base", ["Wqkv"], ["head"]),
}
# Outputs of the head.
PROBLEMS = {"single_label_classification": 3, "multi_label_classification": 4, "regression": 1, "tokens": 5}


def draw(model, generator):
    """Values of what is trained; of what is new below the head too, which PEFT's folder brings along."""
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            is_norm = "norm" in name.lower() and name.endswith("weight")
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.data = noise + (1.0 if is_norm else 0.0)


def labels(problem, count, mask, generator):
    rows, length = mask.shape
    if problem == "single_label_classification":
        return torch.randint(0, count, (rows,), generator=generator)
    if problem == "multi_label_classification":
        return torch.randint(0, 2, (rows, count), generator=generator)
    if problem == "regression":
        return torch.randn((rows,), generator=generator, dtype=torch.float64)
    tags = torch.randint(0, count, (rows, length), generator=generator)
    # The first token is a special one, the third goes on with the word before.
    tags[:, [0, 2]] = -100
    return tags.masked_fill(mask == 0, -100)


def row_losses(problem, logits, labels):
    functional = torch.nn.functional
    if problem == "single_label_classification":
        return functional.cross_entropy(logits, labels, reduction="none")
    if problem == "multi_label_classification":
        cells = functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none")
        return cells.sum(1)
    if problem == "regression":
        return 0.5 * (logits[:, 0] - labels) ** 2
    losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return losses.sum(1)


def key_of(name):
    """PEFT's key of a parameter."""
    return name.replace(".default", "").replace("modules_to_save.", "")


def rows(model, problem, inputs, labels):
    """Logits, losses, s, and the gradient of each row by key."""
    logits = model(**inputs).logits
    losses = row_losses(problem, logits, labels)
    (errors,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    s = errors.flatten(1).square().sum(1)
    named = [(key_of(name), p) for name, p in model.named_parameters() if p.requires_grad]
    jacobian = [torch.autograd.grad(loss, [p for _, p in named], retain_graph=True) for loss in losses]
    stacked = {key: torch.stack([row[i] for row in jacobian]) for i, (key, _) in enumerate(named)}
    return logits.detach(), losses.detach(), s, stacked


def gram(a, b):
    return sum(a[key].flatten(1) @ b[key].flatten(1).T for key in a)


def combined(jacobian, weights):
    return {key: torch.tensordot(weights, value, 1).contiguous() for key, value in jacobian.items()}


def make(encoder, problem):
    source, targets, saved = ENCODERS[encoder]
    count = PROBLEMS[problem]
    is_tokens = problem == "tokens"
    kind = transformers.AutoModelForTokenClassification if is_tokens else transformers.AutoModelForSequenceClassification
    if is_tokens:
        saved = [name for name in saved if name == "head"]
    folder = OUT / f"{encoder}_{problem}"
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(sum(map(ord, folder.name)))
    wide(False)
    more = {} if is_tokens else {"problem_type": problem}

    def base():
        wide(False)
        return kind.from_pretrained(
            BASES / source, num_labels=count, ignore_mismatched_sizes=True, attn_implementation="eager", **more
        )

    settings = LoraConfig(
        r=2, lora_alpha=3, target_modules=targets, modules_to_save=["classifier", *saved],
        task_type="TOKEN_CLS" if is_tokens else "SEQ_CLS",
    )
    model = get_peft_model(base(), settings)
    draw(model, generator)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter/README.md").unlink(missing_ok=True)
    path = folder / "adapter/adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = encoder
    config["target_modules"] = sorted(config["target_modules"])
    config["modules_to_save"] = sorted(config["modules_to_save"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    read = base()
    model = PeftModel.from_pretrained(read, folder / "adapter", is_trainable=True)
    vocabulary = read.config.vocab_size
    pad = read.config.pad_token_id or 0
    ids = torch.randint(4, vocabulary, (3, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, SHORT:] = 0
    ids[mask == 0] = pad
    inputs = {"input_ids": ids, "attention_mask": mask}
    truth, drawn = [labels(problem, count, mask, generator) for _ in range(2)]
    if not problem == "regression":
        drawn[0] = truth[0]
    wide(True)
    model = prepare(model)
    logits, losses, s, jacobian = rows(model, problem, inputs, truth)
    _, _, _, other = rows(model, problem, inputs, drawn)
    wanted = truth.double() if problem == "multi_label_classification" else truth
    loss = model(**inputs, labels=wanted).loss.detach().reshape(1)
    eye = torch.eye(3, dtype=torch.float64)
    own, cross, drawn_gram = gram(jacobian, jacobian), gram(other, jacobian), gram(other, other)
    ones = torch.ones(3, dtype=torch.float64)
    golden = {
        "labels": truth, "drawn": drawn, "logits": logits.contiguous(), "losses": losses, "loss": loss, "s": s,
        **{f"input.{key}": value for key, value in inputs.items()},
    }
    # SF's Fisher matrix is that of the drawn rows: Δ = (J'ᵀJ' + λ)⁻¹ Jᵀ1, by Woodbury's identity.
    weights = torch.linalg.solve(drawn_gram + LAMBDA * eye, cross @ ones)
    first, second = combined(jacobian, ones), combined(other, weights)
    for name, direction in [
        ("grad", first),
        ("ef", combined(jacobian, torch.linalg.solve(own + LAMBDA * eye, ones))),
        ("ief", combined(jacobian, torch.linalg.solve(own + LAMBDA * eye, s))),
        ("sf", {key: (first[key] - second[key]) / LAMBDA for key in first}),
    ]:
        golden |= {f"{name}.{key}": value for key, value in direction.items()}
    wide(False)
    save_file({key: value.contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
    print(folder.name, f"loss {loss.item():.6f}", sum(value[0].numel() for value in jacobian.values()), "parameters")


for encoder in ENCODERS:
    for problem in PROBLEMS:
        if not sys.argv[1:] or f"{encoder}_{problem}" in sys.argv[1:]:
            make(encoder, problem)
