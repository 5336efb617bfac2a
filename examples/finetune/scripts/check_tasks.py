"""Check with `transformers` and `peft` that numbers, labels and tags of the folders that `finetune` writes are those that
it predicts itself.

    pip install torch transformers peft
    cargo build --workspace --bin finetune
    python examples/finetune/scripts/check_tasks.py target/debug/finetune [KIND …]

Trains every encoder with every kind of head as LoRA, VeRA, LoHa and LoKr and whole, on small models and data in a temporary folder, loads each
result with the program in its README.md, and compares with what `finetune predict` writes and `run.json` has measured.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from checks import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
ENCODERS = {
    "bert": "bert",
    "roberta": "families/roberta_base",
    "distilbert": "families/distilbert",
    "modernbert": "families/modernbert_base",
}
TASKS = {"regression": "number", "multi-label": "labels", "token-classification": "tags"}
KINDS = ["lora", "vera", "loha", "lokr", "full"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
TOLERANCE = 1e-4
transformers.logging.set_verbosity_error()


def tokenizer():
    """Words between spaces, some of them in two pieces, with special tokens around them."""
    words = SPECIAL + [f"w{i}" for i in range(24)] + ["##s", "##t"]
    ids = {word: number for number, word in enumerate(words)}
    token = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    text = lambda name, segment=0: {"Sequence": {"id": name, "type_id": segment}}
    single = [token("[CLS]"), text("A"), token("[SEP]")]
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "decoder": None,
        "added_tokens": [
            {"id": ids[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for name in SPECIAL
        ],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": single + [text("B", 1), token("[SEP]")],
            "special_tokens": {
                name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ["[CLS]", "[SEP]"]
            },
        },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    }


def row(number):
    has = lambda word: number >> word & 1
    words = [f"w{i}" if i < 3 and has(i) else f"w{3 + (number * 7 + i * 5) % 20}" for i in range(3 + number % 4)]
    words += [f"w{3 + number % 20}", f"w{3 + number // 20}"]  # No two texts are the same.
    words[1] += "s" if number % 3 == 0 else ""
    tags = ["O"] * len(words)
    if has(0):
        tags[:2] = ["B-X", "I-X"]
    if has(2):
        tags[2] = "B-Y"
    return {
        "text": " ".join(words), "number": 1e4 + 300.0 * has(0) + 100.0 * has(1) - number,
        "labels": [name for i, name in enumerate(["a", "b b", "c"]) if has(i)], "tokens": words, "tags": tags,
    }


def make(place):
    for name, fixture in ENCODERS.items():
        folder = place / name
        folder.mkdir()
        for file in ["config.json", "model.safetensors"]:
            shutil.copy(FIXTURES / fixture / file, folder / file)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
            "cls_token": "[CLS]", "sep_token": "[SEP]",
        }))
    (place / "data").mkdir()
    for part, numbers in [("train", range(0, 64)), ("valid", range(64, 76)), ("test", range(76, 96))]:
        lines = [json.dumps(row(number)) + "\n" for number in numbers]
        (place / f"data/{part}.jsonl").write_text("".join(lines))


def run(checks, *arguments):
    done = subprocess.run(checks.command(*arguments), cwd=checks.place, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def from_readme(folder, old, given):
    """Run the program in a folder's README.md on these texts; returns what it defines and prints."""
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S).group(1)
    assert old in program, program
    shown = []
    found = {"given": given, "print": shown.append}
    exec(program.replace(old, "given"), found)
    return found, shown


def check(checks, encoder, task, kind):
    name = f"{encoder}-{task}-{kind}"
    column = [] if task == "token-classification" else ["--label-column", TASKS[task]]
    run(checks, "--task", task, "--data", "data", *column, "--model", encoder, "--adapter", kind, "--max-length", 9,
        "--method", "adamw", "--step-size", 0.01, "--epochs", 2, "--batch", 8, "--out", name, "--plain")
    place = checks.place / name / "adamw-seed1"
    lines = run(checks, "predict", place, "--data", "data/test.jsonl", "--format", "jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    predicted = [line["predicted"] for line in rows]
    folder = place / ("model" if kind == "full" else "adapter")
    test = json.loads((place / "run.json").read_text())["test"]
    if task == "token-classification":
        found, shown = from_readme(folder, '[["A", "text", "."]]', [line["tokens"] for line in rows])
        # The program prints the tags of the words that fit.
        cut = [[tag for tag in tags if tag is not None] for tags in predicted]
        checks.check(f"{name}: tags", shown == cut, f"{shown[0]} {cut[0]}")
        names, losses = found["model"].config.id2label, []
        numbers = {label: number for number, label in names.items()}
        for number, line in enumerate(rows):
            words, seen = found["inputs"].word_ids(number), set()
            for place_, word in enumerate(words):
                if word is not None and word not in seen:
                    seen.add(word)
                    logits = found["logits"][number, place_]
                    truth = torch.tensor(numbers[line["tags"][word]])
                    losses.append(torch.nn.functional.cross_entropy(logits, truth))
        loss = torch.stack(losses).mean().item()
    else:
        found, shown = from_readme(folder, '["A text."]', [line["text"] for line in rows])
        logits, (shown,) = found["logits"], shown
        if task == "regression":
            near = max(abs(a - b) for a, b in zip(shown, predicted))
            checks.check(f"{name}: numbers", near < TOLERANCE * 1e4, f"largest difference {near:.2g}")
            errors = torch.tensor(shown, dtype=torch.float64) - torch.tensor([line["number"] for line in rows])
            mse = errors.square().mean().item()
            near = abs(mse - test["metrics"]["MSE"]) < 1e-3 * mse
            checks.check(f"{name}: MSE", near, f"{mse:.6g} for {test['metrics']['MSE']:.6g}")
            train = [row(number)["number"] for number in range(64)]
            variance = torch.tensor(train, dtype=torch.float64).var(unbiased=False).item()
            loss = 0.5 * mse / variance
        else:
            checks.check(f"{name}: labels", shown == predicted, f"{shown[0]} {predicted[0]}")
            names = list(found["model"].config.id2label.values())
            truth = torch.tensor([[float(label in line["labels"]) for label in names] for line in rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth).item() * len(names)
    near = abs(loss - test["loss"]) < TOLERANCE * max(1.0, loss)
    checks.check(f"{name}: loss", near, f"{loss:.6f} for {test['loss']:.6f}")
    merged = checks.place / f"{name}-merged"
    if kind != "full":
        run(checks, "merge", place, "--out", merged)
        flags = ["--data", "data/test.jsonl", "--format", "jsonl", "--max-length", 9]
        again = run(checks, "predict", merged, *flags).splitlines()
        again = [json.loads(line)["predicted"] for line in again]
        same = (
            max(abs(a - b) for a, b in zip(again, predicted)) < TOLERANCE * 1e4
            if task == "regression" else again == predicted
        )
        checks.check(f"{name}: merged", same)
        config = json.loads((merged / "config.json").read_text())
        checks.check(f"{name}: class", config["architectures"][0].endswith(
            "ForTokenClassification" if task == "token-classification" else "ForSequenceClassification"
        ), config["architectures"][0])


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        make(place)
        checks = Checks(program, place)
        os.chdir(place)  # READMEs name folders as the runs did.
        for encoder in ENCODERS:
            for task in TASKS:
                for kind in sys.argv[2:] or KINDS:
                    check(checks, encoder, task, kind)
        checks.finish()


main()
