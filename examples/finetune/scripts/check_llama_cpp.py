"""Compare the GGUF files of `finetune` with those of llama.cpp's own converters.

    scripts/fetch-data smollm2 --out data
    pip install torch transformers gguf
    pip download --no-deps --no-binary :all: llama-cpp-python    # its source holds vendor/llama.cpp
    python examples/finetune/scripts/check_llama_cpp.py target/debug/finetune LLAMA_CPP \\
        data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Trains a LoRA adapter for a step, lets `convert_lora_to_gguf.py` convert the PEFT folder, and `convert_hf_to_gguf.py` the
folder that `finetune merge` makes of the GGUF file. Tensors must be the same bit for bit, and so must all metadata but the
name of the model and the like (`general.`). Ends with an error if something differs.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf

# Written by one of the two, with what readers take where it is missing.
OPTIONAL = {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token"}


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")


def differences(ours, theirs):
    ours, theirs = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    named = lambda reader: {
        name: (field.types, field.contents()) for name, field in reader.fields.items()
        if not name.startswith(("GGUF.", "general.")) and name not in OPTIONAL}
    first, second = named(ours), named(theirs)
    found = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    stored = lambda reader: {
        tensor.name: (tensor.tensor_type, list(tensor.shape), tensor.data.tobytes()) for tensor in reader.tensors}
    first, second = stored(ours), stored(theirs)
    return found + [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]


def main():
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    program, converters, model = [Path(argument).resolve() for argument in sys.argv[1:]]
    python = {"env": {**os.environ, "PYTHONPATH": str(converters / "gguf-py")}}
    failed = []

    def check(name, ours, theirs):
        found = differences(ours, theirs)
        print(("ok     " if not found else "WRONG  ") + name, found[:5], flush=True)
        failed.extend(found)

    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(16)]
        (place / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        run(program, "--task", "instruct", "--data", place / "sums.jsonl", "--model", model, "--targets", "all-linear",
            "--method", "adamw", "--step-size", "0.01", "--batch", "8", "--train-rows", "8", "--valid-rows", "4", "--test-rows",
            "4", "--epochs", "1", "--out", place / "runs", "--plain")
        trained = place / "runs/adamw-seed1"
        base = place / "base"
        run(program, "merge", model, "--out", base)
        run(program, "export-adapter", trained, "--gguf", place / "ours.gguf")
        run(sys.executable, converters / "convert_lora_to_gguf.py", trained / "adapter", "--base", base, "--outfile",
            place / "theirs.gguf", "--outtype", "f32", **python)
        check("the adapter", place / "ours.gguf", place / "theirs.gguf")
        for kind in ["f16", "q8_0"]:
            run(program, "merge", base, "--gguf", place / "ours.gguf", "--gguf-type", kind)
            run(sys.executable, converters / "convert_hf_to_gguf.py", base, "--outfile", place / "theirs.gguf", "--outtype",
                kind, **python)
            check(f"the model in {kind}", place / "ours.gguf", place / "theirs.gguf")
    if failed:
        raise SystemExit(f"{len(failed)} entries differ")


main()
