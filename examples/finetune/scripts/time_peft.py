"""Time a step of fine-tuning a language model here and with Hugging Face PEFT and PyTorch, on the same rows.

    pip install torch transformers peft
    scripts/fetch-data smollm2 wordnet --out data
    cargo build --release -p finetune
    python examples/finetune/scripts/time_peft.py target/release/finetune \\
        data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf data/wordnet --json sft.json

Both sides train LoRA of rank 8 on all linear layers in f32, with AdamW, and this program with iEF too. All rows have
the same number of tokens, so that batches have the same shape. Every measurement is a process of its own; the sides
take turns. Prints the median time of a step, tokens per second, and the peak of resident memory in the steps.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""


def peak_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return None


def child(args):
    """Steps of PEFT and PyTorch, as JSON."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    lora = LoraConfig(r=8, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    rows = json.loads(Path(args.rows_file).read_text())
    Path("/proc/self/clear_refs").write_text("5")
    times = []
    for start in range(0, len(rows), args.batch):
        part = rows[start:start + args.batch]
        ids = torch.tensor([row["ids"] for row in part])
        labels = torch.tensor([row["labels"] for row in part])
        clock = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append((time.perf_counter() - clock) * 1e3)
    print(json.dumps({"milliseconds": times, "peak_mib": peak_mib()}))


def rows_of_one_length(base, data, count):
    """The first rows of the most frequent length, as texts and as tokens with labels."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    by_length = collections.defaultdict(list)
    for line in (data / "train.jsonl").read_text().splitlines()[:20_000]:
        row = json.loads(line)
        user = "\n".join(part for part in (row["instruction"], row.get("input", "")) if part.strip())
        prompt = [{"role": "user", "content": user}]
        render = lambda messages, **more: tokenizer.apply_chat_template(
            messages, tokenize=False, **more,
        )
        start = render(prompt, add_generation_prompt=True)
        text = render(prompt + [{"role": "assistant", "content": row["output"]}])
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        end = text.rindex("<|im_end|>") + len("<|im_end|>")
        labels = [
            token if len(start) <= first < end else -100
            for token, (first, _) in zip(encoded["input_ids"], encoded["offset_mapping"])
        ]
        by_length[len(labels)].append((line, {"ids": encoded["input_ids"], "labels": labels}))
    length, found = max(by_length.items(), key=lambda item: len(item[1]))
    if len(found) < count + 2:
        sys.exit(f"only {len(found)} rows of {length} tokens")
    return length, found[:count + 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    program = args.program.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        base = folder / "base"
        subprocess.run([program, "merge", args.model.resolve(), "--out", base], check=True)
        length, rows = rows_of_one_length(base, args.data, args.batch * args.steps)
        data = folder / "data"
        data.mkdir()
        parts = {"train": rows[:-2], "valid": rows[-2:-1], "test": rows[-1:]}
        for name, part in parts.items():
            (data / f"{name}.jsonl").write_text("".join(line + "\n" for line, _ in part))
        rows_file = folder / "rows.json"
        rows_file.write_text(json.dumps([row for _, row in rows[:-2]]))

        def here(method, number):
            out = folder / f"runs-{method}-{number}"
            flags = [
                "--task", "instruct", "--data", data, "--model", args.model.resolve(), "--targets", "all-linear",
                "--method", method, "--batch", args.batch, "--epochs", 1, "--plain", "--out", out,
            ]
            threads = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
            subprocess.run(
                [str(word) for word in [program, *flags]], check=True, env=threads, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            record = json.loads((out / f"{method}-seed1/run.json").read_text())
            return record["milliseconds"], record["peak_memory_mib"]

        def there(number):
            words = [
                sys.executable, __file__, "--child", "--base", base, "--rows-file", rows_file, "--batch", args.batch,
                "--threads", args.threads,
            ]
            done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
            record = json.loads(done.stdout.splitlines()[-1])
            return record["milliseconds"], record["peak_mib"]

        sides = {
            "PEFT and PyTorch, AdamW": there,
            "finetune, AdamW": lambda number: here("adamw", number),
            "finetune, iEF": lambda number: here("ief", number),
        }
        times, peaks = collections.defaultdict(list), collections.defaultdict(list)
        for number in range(args.rounds):
            for name, measure in sides.items():
                milliseconds, peak = measure(number)
                # The first step allocates.
                times[name] += milliseconds[1:]
                peaks[name].append(peak)
                print(f"{name}: {statistics.median(milliseconds[1:]):.0f} ms, {peak:.0f} MiB", file=sys.stderr)
    tokens = args.batch * length
    first = next(iter(sides))
    result = []
    print(f"{args.batch} rows of {length} tokens, {args.threads} threads, {args.rounds} rounds of {args.steps - 1} steps")
    for name in sides:
        median, peak = statistics.median(times[name]), statistics.median(peaks[name])
        speed = statistics.median(times[first]) / median
        result.append({
            "side": name, "batch": args.batch, "length": length, "threads": args.threads, "median_ms": median,
            "tokens_per_second": tokens / median * 1e3, "peak_mib": peak,
        })
        print(
            f"{name}: {median:.0f} ms a step, {tokens / median * 1e3:.0f} tokens/s ({speed:.2f} of {first}), "
            f"{peak:.0f} MiB ({peak / statistics.median(peaks[first]):.2f})"
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if "--child" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--child", action="store_true")
        parser.add_argument("--base")
        parser.add_argument("--rows-file")
        parser.add_argument("--batch", type=int)
        parser.add_argument("--threads", type=int)
        child(parser.parse_args())
    else:
        main()
