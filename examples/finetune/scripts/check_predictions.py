"""Check with `transformers` and `peft` that `finetune predict` gives the probabilities and texts that Python gives.

    pip install torch transformers peft
    python examples/finetune/scripts/check_predictions.py target/debug/finetune

Adapters among the fixtures of every family of classifiers, short runs of T5, and a language model, on rows that are made
here. The programs in the model cards are run as well. Ends with an error if something differs.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from tokenizers import Tokenizer

from checks import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
TOLERANCE = 1e-5
LENGTH = 10
CLASSIFIERS = {
    "bert": "lora_seqcls", "families/roberta": "lora", "families/distilbert": "lora", "families/modernbert": "lora",
}
SPECIAL = ["[PAD]", "</s>", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ["alpha", "beta"] + [f"w{i}" for i in range(60)]


def tokenizer(rows, t5=False):
    """Words between spaces, with special tokens around them; no more than the model has rows."""
    ids = {word: number for number, word in enumerate((SPECIAL + WORDS)[:rows])}
    token = lambda name, segment=0: {"SpecialToken": {"id": name, "type_id": segment}}
    text = lambda name, segment=0: {"Sequence": {"id": name, "type_id": segment}}
    single = [text("A"), token("</s>")] if t5 else [token("[CLS]"), text("A"), token("[SEP]")]
    pair = single + ([text("B"), token("</s>")] if t5 else [text("B", 1), token("[SEP]", 1)])
    used = ["</s>"] if t5 else ["[CLS]", "[SEP]"]
    added = [{"id": ids[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for name in SPECIAL]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None,
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair,
                           "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in used}},
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": ids},
    }


def texts():
    word = lambda n: f"w{n % 20}"
    return [" ".join(word(7 * row + 3 * place) for place in range(1 + row % 6)) for row in range(13)]


class PredictionChecks(Checks):
    def run(self, *arguments, given=None):
        command = self.command(*arguments)
        done = subprocess.run(command, cwd=self.place, capture_output=True, text=True, input=given)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def compare(self, name, found, expected):
        difference = (found - expected).abs().max().item()
        self.check(name, difference < TOLERANCE, f"differ by {difference:.1e}")

    def card(self, name, folder):
        """The program in a model card runs."""
        program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S).group(1)
        try:
            exec(program, {})
            self.check(f"{name}: the program of its card runs", True)
        except Exception as error:
            self.check(f"{name}: the program of its card runs", False, f"{type(error).__name__}: {error}")


def base_with_tokenizer(place, family, t5=False):
    base = place / family.replace("/", "-")
    base.mkdir()
    for file in ["config.json", "model.safetensors"]:
        shutil.copy(FIXTURES / family / file, base / file)
    config = json.loads((base / "config.json").read_text())
    (base / "tokenizer.json").write_text(json.dumps(tokenizer(config["vocab_size"], t5)))
    return base, config


def encoded(base, given, segments):
    """Each text alone, so that nothing is padded."""
    tokens = Tokenizer.from_file(str(base / "tokenizer.json"))
    # What fits the smallest of these models.
    tokens.enable_truncation(LENGTH)
    for text in given:
        text = tokens.encode(*(text if isinstance(text, tuple) else [text]))
        more = {"token_type_ids": torch.tensor([text.type_ids])} if segments else {}
        yield {"input_ids": torch.tensor([text.ids]), "attention_mask": torch.tensor([text.attention_mask]), **more}


def probabilities(text, form):
    if form == "jsonl":
        rows = [json.loads(line)["probabilities"] for line in text.splitlines()]
        return torch.tensor([list(row.values()) for row in rows])
    rows = list(csv.DictReader(text.splitlines()))
    return torch.tensor([[float(value) for name, value in row.items() if name.startswith("p_")] for row in rows])


def classifiers(checks):
    place = checks.place
    cut = ["--max-length", LENGTH]
    for family, adapter in CLASSIFIERS.items():
        base, config = base_with_tokenizer(place, family)
        adapter = FIXTURES / family / adapter
        kind = getattr(transformers, config["architectures"][0])
        model = kind.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, adapter).eval()
        segments = config["model_type"] == "bert"
        for what, given in {"texts": texts(), "pairs": list(zip(texts(), reversed(texts())))}.items():
            with torch.no_grad():
                logits = [model(**inputs).logits[0] for inputs in encoded(base, given, segments)]
            expected = torch.stack(logits).softmax(-1)
            names = ["text", "second"]
            rows = [dict(zip(names, row if isinstance(row, tuple) else [row])) for row in given]
            more = ["--second-column", "second"] if what == "pairs" else []
            path = place / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            for batch in [1, 4, 32]:
                found = checks.run("predict", adapter, "--model", base, "--data", path, "--batch", batch, *more, *cut)
                checks.compare(f"{family}: {what} in batches of {batch}", probabilities(found, "jsonl"), expected)
            table = ",".join(names[:len(rows[0])]) + "\n" + "".join(",".join(row.values()) + "\n" for row in rows)
            found = checks.run("predict", adapter, "--model", base, "--data", "-", *more, *cut, given=table)
            checks.compare(f"{family}: {what} from standard input", probabilities(found, "csv"), expected)
        out = place / f"merged-{base.name}"
        checks.run("merge", adapter, "--model", base, "--out", out)
        found = checks.run("predict", out, "--data", path, "--second-column", "second", *cut)
        checks.compare(f"{family}: the merged folder", probabilities(found, "jsonl"), expected)


def train(checks, name, *flags):
    checks.run(*flags, "--method", "adamw", "--step-size", "0.02", "--epochs", "2", "--batch", "8", "--out", name, "--plain")
    return checks.place / name / "adamw-seed1"


def words(checks):
    """T5: the probability of a class is that of its words, divided by the sum over the classes."""
    place = checks.place
    base, _ = base_with_tokenizer(place, "t5_relu", t5=True)
    table = place / "words.csv"
    table.write_text("text,label\n" + "".join(
        f"{text} w{20 + row},{['alpha', 'beta'][row % 2]}\n" for row, text in enumerate(texts() * 3)))
    tokens = Tokenizer.from_file(str(base / "tokenizer.json"))
    for kind in ["lora", "prompt"]:
        run = train(checks, f"words-{kind}", "--task", "csv", "--data", table, "--model", base, "--adapter", kind,
                    "--virtual-tokens", "4", "--max-length", "30")
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, run / "adapter").eval()
        expected = []
        for text in texts():
            ids = torch.tensor([tokens.encode(f"Classify the following text, answer alpha or beta: {text}").ids])
            sums = []
            for label in ["alpha", "beta"]:
                answer = torch.tensor([tokens.encode(label).ids])
                with torch.no_grad():
                    loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=answer).loss
                sums.append(-loss * answer.shape[1])
            expected.append(torch.stack(sums).softmax(-1))
        path = place / "rows.csv"
        path.write_text("text\n" + "".join(text + "\n" for text in texts()))
        found = checks.run("predict", run, "--data", path)
        checks.compare(f"T5 with {kind}", probabilities(found, "csv"), torch.stack(expected))
        checks.card(f"T5 with {kind}", run / "adapter")


def png(rows):
    chunk = lambda kind, data: (len(data)).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    header = len(rows[0]).to_bytes(4, "big") + len(rows).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def pictures(checks):
    place = checks.place
    for family, size in {"vit": 16, "vit/dinov2": 16}.items():
        base = place / ("pictures-" + family.replace("/", "-"))
        base.mkdir()
        for file in ["config.json", "model.safetensors"]:
            shutil.copy(FIXTURES / family / file, base / file)
        data = place / f"data-{base.name}"
        shown = []
        for label, value in [("dark", 40), ("light", 150)]:
            (data / label).mkdir(parents=True)
            for number in range(16):
                rows = [[((x * 7 + y * 3 + number * 5) % 90 + value, value, value + number) for x in range(size)]
                        for y in range(size)]
                (data / label / f"{number:02}.png").write_bytes(png(rows))
                shown.append(rows)
        run = train(checks, f"run-{base.name}", "--task", "images", "--data", data, "--model", base, "--image-size", size)
        mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if "dinov2" in family else ([0.5] * 3, [0.5] * 3)
        channels = lambda values: torch.tensor(values)[:, None, None]
        pixels = (torch.tensor(shown).permute(0, 3, 1, 2) / 255 - channels(mean)) / channels(deviation)
        model = transformers.AutoModelForImageClassification.from_pretrained(
            base, dtype=torch.float32, num_labels=2, ignore_mismatched_sizes=True)
        model = PeftModel.from_pretrained(model, run / "adapter").eval()
        more = {} if "dinov2" in family else {"interpolate_pos_encoding": True}
        with torch.no_grad():
            expected = model(pixel_values=pixels, **more).logits.softmax(-1)
        found = checks.run("predict", run, "--data", data)
        checks.compare(f"{family}: pictures of a folder", probabilities(found, "csv"), expected)
        checks.card(family, run / "adapter")


def answers(checks):
    """Greedy answers of a language model, through its chat template."""
    place = checks.place
    checks.run("merge", FIXTURES / "gguf/llama.gguf", "--out", "language")
    base, adapter = place / "language", FIXTURES / "llama/lora"
    tokens = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    questions = ["is it the one", "a nation in the end", "th"]
    expected = []
    for question in questions:
        chat = [{"role": "user", "content": question}]
        inputs = tokens.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        expected.append(tokens.decode(ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
    path = place / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in questions))
    found = checks.run("predict", adapter, "--model", base, "--data", path, "--max-new-tokens", 8)
    found = [json.loads(line)["generated"] for line in found.splitlines()]
    checks.check("answers", found == expected, f"{found} {expected}")
    data = place / "chat.jsonl"
    data.write_text("".join(json.dumps({"question": f"is it {n}", "answer": f"the one {n % 3}"}) + "\n" for n in range(40)))
    for name, model in [("a folder", base), ("a GGUF file", FIXTURES / "gguf/llama.gguf")]:
        run = train(checks, f"chat-{Path(model).name}", "--task", "chat", "--data", data, "--model", model)
        if model != base:
            checks.run("merge", model, "--out", "base")
        checks.card(f"a language model on {name}", run / "adapter")


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    program = shutil.which(sys.argv[1]) or sys.exit(f"{sys.argv[1]}: no such program")
    program = Path(program).resolve()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        checks = PredictionChecks(program, Path(place))
        os.chdir(place)  # Cards name folders as the runs did.
        for part in [classifiers, words, pictures, answers]:
            part(checks)
        os.chdir("/")
        checks.finish()


main()
