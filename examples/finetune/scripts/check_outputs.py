"""Check with `transformers` and `peft` that the folders which `finetune` writes compute there what they did here.

    pip install torch transformers peft
    python examples/finetune/scripts/check_outputs.py target/debug/finetune [KIND …]

Trains every family with every kind of adapter on small models and data in a temporary folder, loads each result in
Python (texts: with the program in its README.md, word for word), and compares loss and accuracy on the test rows
with those in `run.json`. Ends with an error if one differs.
"""

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
CLASSES = ["alpha", "be\"ta", "gam ma"]
PROMPTS = ["prompt", "p-tuning"]
KINDS = ["lora", "vera", "loha", "lokr", *PROMPTS, "full"]
TOLERANCE = 1e-4
SPECIAL = ["[PAD]", "</s>", "[UNK]", "[CLS]", "[SEP]"]


def vocabulary():
    # T5 answers in the words of the classes.
    words = SPECIAL + ["alpha", "be\"ta", "gam", "ma"] + [f"w{i}" for i in range(60)]
    return {word: number for number, word in enumerate(words)}


def tokenizer(t5):
    """Words between spaces, with the special tokens of BERT or T5 around them."""
    ids = vocabulary()
    token = lambda name, segment=0: {"SpecialToken": {"id": name, "type_id": segment}}
    text = lambda name, segment=0: {"Sequence": {"id": name, "type_id": segment}}
    if t5:
        single, pair, used = [text("A"), token("</s>")], [text("A"), text("B"), token("</s>")], ["</s>"]
    else:
        single = [token("[CLS]"), text("A"), token("[SEP]")]
        pair = single + [text("B", 1), token("[SEP]", 1)]
        used = ["[CLS]", "[SEP]"]
    special = [
        {"id": ids[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True} for name in SPECIAL
    ]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in used},
        },
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": ids},
    }


def make(place):
    """Models and data."""
    for name, fixture in [("bert", "bert"), ("t5", "t5_relu"), ("vit", "vit"), ("dinov2", "vit/dinov2")]:
        folder = place / name
        folder.mkdir()
        for file in ["config.json", "model.safetensors"]:
            shutil.copy(FIXTURES / fixture / file, folder / file)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer(name == "t5")))
    # A base without a pooler: `finetune` makes a new one.
    from safetensors.torch import load_file, save_file
    bare = shutil.copytree(place / "bert", place / "bare")
    weights = load_file(bare / "model.safetensors")
    weights = {k: v for k, v in weights.items() if "pooler" not in k and "classifier" not in k}
    save_file(weights, bare / "model.safetensors", {"format": "pt"})
    for pairs in [False, True]:
        folder = place / ("pairs" if pairs else "texts")
        folder.mkdir()
        for part, count in [("train", 90), ("valid", 15), ("test", 30)]:
            with open(folder / f"{part}.csv", "w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["text", "second", "label"])
                for row in range(count):
                    word = lambda i: f"w{10 + (row * 7 + i * 13 + len(part)) % 50}"
                    text = " ".join([word(1), f"w{row % 3}"] + [word(i) for i in range(row % 6)])
                    rows.writerow([text, f"{word(3)} {word(8)} {part} {row}", CLASSES[row % 3]])
    sides = {"vit": json.loads((place / "vit/config.json").read_text())["image_size"], "dinov2": 16}
    for name, side in sides.items():
        for part, count in [("train", 16), ("valid", 6), ("test", 10)]:
            for label, base in [("dark", 40), ("light", 150)]:
                folder = place / f"pictures-{name}" / part / label
                folder.mkdir(parents=True)
                for number in range(count):
                    (folder / f"{number:02}.png").write_bytes(png(picture(side, base, number, part)))
    return sides


def picture(side, base, number, part):
    """Rows of pixels."""
    speckle = lambda x, y: (x * 7 + y * 3 + number * 5 + len(part)) % 90
    return [[(base + speckle(x, y), base, base + number) for x in range(side)] for y in range(side)]


def png(rows):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    data = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_pictures(side, mean, deviation):
    """Pixels of the test pictures, normalised, with their labels."""
    all = [picture(side, base, number, "test") for base in [40, 150] for number in range(10)]
    pixels = torch.tensor(all).permute(0, 3, 1, 2) / 255
    channels = lambda values: torch.tensor(values)[:, None, None]
    return (pixels - channels(mean)) / channels(deviation), torch.tensor([0] * 10 + [1] * 10)


class Checks:
    def __init__(self, program, place):
        self.program, self.place, self.failed, self.count = program, place, [], 0

    def train(self, out, *flags):
        """Train a short time; returns the folder of the run."""
        command = [self.program, *flags, "--method", "adamw", "--step-size", "0.02", "--epochs", "3", "--batch", "8",
                   "--out", out, "--plain"]
        done = subprocess.run(command, cwd=self.place, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return self.place / out / "adamw-seed1"

    def check(self, name, holds, found=""):
        self.count += 1
        print(("ok     " if holds else "WRONG  ") + name, found, flush=True)
        if not holds:
            self.failed.append(name)

    def compare(self, name, run, loss, accuracy):
        test = json.loads((run / "run.json").read_text())["test"]
        expected = (test["loss"], test["metrics"]["accuracy"])
        near = abs(loss - expected[0]) < TOLERANCE and abs(accuracy - expected[1]) < 1e-6
        self.check(name, near, f"loss {loss:.6f} for {expected[0]:.6f}, accuracy {accuracy:.3f} for {expected[1]:.3f}")


def kinds(without=()):
    """The kinds of adapters that are checked: those of the command line, or all."""
    return [kind for kind in sys.argv[2:] or KINDS if kind not in without]


def judged(logits, labels):
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(-1) == labels).float().mean().item()


def test_rows(place, pairs):
    with open(place / ("pairs" if pairs else "texts") / "test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [(row["text"], row["second"]) if pairs else row["text"] for row in rows]
    return texts, torch.tensor([sorted(CLASSES).index(row["label"]) for row in rows])


def from_readme(folder, texts):
    """Run the program in a folder's README.md on these texts; returns what it defines."""
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S).group(1)
    assert '["A text."]' in program, program
    program = program.replace('["A text."]', "given")
    found = {"given": texts}
    exec(program.replace("print(", "shown = ("), found)
    assert all(label in CLASSES for label in found["shown"]), found["shown"]
    return found


def refused(load):
    """The error with which something ends, if it does."""
    try:
        load()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:60]}"
    return None


def texts(checks):
    place = checks.place
    for pairs in [False, True]:
        given, labels = test_rows(place, pairs)
        data = ["--task", "csv", "--data", "pairs", "--second-column", "second"] if pairs else ["--task", "csv", "--data", "texts"]
        for base in ["bert"] if pairs else ["bert", "bare"]:
            for kind in kinds():
                for pooling in ["pooler", "mean"] if kind in PROMPTS else [None, "mean"]:
                    name = "-".join(filter(None, [base, kind, pooling, "pairs" if pairs else None]))
                    flags = [*data, "--model", base, "--adapter", kind, "--max-length", "12"]
                    flags += ["--virtual-tokens", "4"] if kind in PROMPTS else []
                    flags += ["--bias", "all", "--targets", "query,value,dense"] if kind == "lora" and base == "bare" else []
                    flags += ["--pooling", pooling] if pooling else []
                    run = checks.train(name, *flags)
                    folder = run / ("model" if kind == "full" else "adapter")
                    with warnings.catch_warnings(record=True) as said:
                        warnings.simplefilter("always")
                        found = from_readme(folder, given)
                    lacking = [str(w.message) for w in said if "adapter keys" in str(w.message)]
                    checks.check(f"{name}: PEFT misses nothing", not lacking, *lacking[:1])
                    checks.compare(name, run, *judged(found["logits"], labels))
                    if kind == "full":
                        full(checks, name, folder, given, pooling, found)
                    elif pooling == "mean":
                        wrong_class(checks, name, place / base, folder, kind)


def full(checks, name, folder, given, pooling, found):
    cls = AutoModel if pooling == "mean" else AutoModelForSequenceClassification
    more = {"add_pooling_layer": False} if pooling == "mean" else {}
    _, info = cls.from_pretrained(folder, output_loading_info=True, **more)
    lacking = {key: value for key, value in info.items() if value and key != "error_msgs"}
    checks.check(f"{name}: no missing and no unexpected keys", not lacking, str(lacking) if lacking else "")
    automatic = AutoTokenizer.from_pretrained(folder)
    pairs = isinstance(given[0], tuple)
    ids = [automatic(*(text if pairs else [text]), truncation=True, max_length=12)["input_ids"] for text in given]
    own = [[i for i, real in zip(text.ids, text.attention_mask) if real] for text in found["texts"]]
    checks.check(f"{name}: AutoTokenizer", ids == own, f"{ids[0]} {own[0]}")
    again = checks.train(name + "-again", "--task", "csv", "--data", "texts", "--model", str(folder), "--max-length", "12")
    checks.check(f"{name}: `finetune --model` loads it", (again / "adapter").exists())


def wrong_class(checks, name, base, folder, kind):
    error = refused(lambda: AutoPeftModelForSequenceClassification.from_pretrained(folder))
    checks.check(f"{name}: AutoPeftModelForSequenceClassification refuses it", error, error)
    if kind == "lora":
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
        error = refused(lambda: PeftModel.from_pretrained(model, folder))
        checks.check(f"{name}: PEFT refuses it on the classifier", error, error)


def pictures(checks, sides):
    place = checks.place
    for base, side in sides.items():
        mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if base == "dinov2" else ([0.5] * 3, [0.5] * 3)
        pixels, labels = test_pictures(side, mean, deviation)
        more = {"interpolate_pos_encoding": True} if base == "vit" else {}
        for kind in kinds(without=PROMPTS):
            name = f"{base}-{kind}"
            run = checks.train(name, "--task", "images", "--data", f"pictures-{base}", "--model", base, "--adapter", kind,
                               "--image-size", str(side))
            if kind == "full":
                model, info = AutoModelForImageClassification.from_pretrained(run / "model", output_loading_info=True)
                lacking = {key: value for key, value in info.items() if value}
                checks.check(f"{name}: no missing and no unexpected keys", not lacking, str(lacking) if lacking else "")
                checks.check(f"{name}: labels", model.config.id2label == {0: "dark", 1: "light"})
                checks.train(name + "-again", "--task", "images", "--data", f"pictures-{base}", "--image-size", str(side),
                             "--model", str(run / "model"))
            else:
                model = AutoModelForImageClassification.from_pretrained(place / base, num_labels=2, ignore_mismatched_sizes=True)
                model = PeftModel.from_pretrained(model, run / "adapter")
            with torch.no_grad():
                logits = model.eval()(pixel_values=pixels, **more).logits
            checks.compare(name, run, *judged(logits, labels))


def words(checks):
    """T5 answers in words; a sample's loss is the sum over the tokens of its answer."""
    place = checks.place
    given, labels = test_rows(place, False)
    tokens = Tokenizer.from_file(str(place / "t5/tokenizer.json"))
    names = sorted(CLASSES)
    question = f"Classify the following text, answer {', '.join(names[:-1])} or {names[-1]}: "
    for kind in kinds():
        name = f"t5-{kind}"
        flags = ["--task", "csv", "--data", "texts", "--model", "t5", "--adapter", kind, "--max-length", "30"]
        flags += ["--virtual-tokens", "4"] if kind in PROMPTS else []
        run = checks.train(name, *flags)
        if kind == "full":
            model, info = AutoModelForSeq2SeqLM.from_pretrained(run / "model", output_loading_info=True)
            lacking = {key: value for key, value in info.items() if value}
            checks.check(f"{name}: no missing and no unexpected keys", not lacking, str(lacking) if lacking else "")
            checks.train(name + "-again", "--task", "csv", "--data", "texts", "--model", str(run / "model"), "--max-length", "30")
        else:
            model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(place / "t5"), run / "adapter")
        losses = []
        for text, label in zip(given, labels):
            ids = torch.tensor([tokens.encode(question + text).ids])
            answer = torch.tensor([tokens.encode(names[label]).ids])
            with torch.no_grad():
                loss = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), labels=answer).loss
            losses.append(loss.item() * answer.shape[1])
        expected = json.loads((run / "run.json").read_text())["test"]["loss"]
        loss = sum(losses) / len(losses)
        checks.check(name, abs(loss - expected) < TOLERANCE, f"loss {loss:.6f} for {expected:.6f}")


def layers(checks, sides):
    side = sides["dinov2"]
    run = checks.train("mlp", "--task", "images", "--data", "pictures-dinov2", "--architecture", "mlp", "--adapter", "full",
                       "--hidden", "16,8", "--image-size", str(side))
    program = re.search(r"```python\n(.*?)```", (run / "model/README.md").read_text(), re.S).group(1)
    found = {}
    exec(program, found)
    pixels, labels = test_pictures(side, [0.5] * 3, [0.5] * 3)
    checks.compare("mlp", run, *judged(found["logits"](pixels), labels))


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        sides = make(place)
        checks = Checks(program, place)
        os.chdir(place)  # READMEs name folders as the runs did.
        for part in [texts, words]:
            part(checks)
        pictures(checks, sides)
        layers(checks, sides)
        print(f"{checks.count - len(checks.failed)} of {checks.count} checks hold")
        if checks.failed:
            raise SystemExit(f"wrong: {', '.join(checks.failed)}")


main()
