"""Break off runs of `finetune` by kill, full disks and signals, go on with them, and compare with unbroken runs.

    cargo build --release -p finetune
    sudo python examples/finetune/scripts/interrupt.py target/release/finetune

Trains small models on small data in a temporary folder, by eight methods and kinds of adapters. Each case breaks one
run off at a random moment, looks for half-written files, takes the same command up again with `--resume`, and
compares losses, epochs, the test, and the written weights with those of the unbroken run, bit for bit.

- `--kills`: SIGKILL, once, or again while the run goes on.
- `--full-disks`: the output folder is a file system of 4 to 900 KiB (needs root, for `mount`); then it gets room. Only
  runs that did not fit are counted.
- `--signals`: SIGINT, SIGTERM or SIGHUP, once or twice (a second one ends the program at once, with 130). No panic.

It needs Python's standard library only. The same `--seed` breaks off the same runs; the moments depend on the machine.
Ends with an error if one case fails.
"""

import argparse
import json
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from checks import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "models/tests/fixtures"
CLASSES = ["alpha", "beta", "gamma"]
CASES = [
    ("ief", ["--adapter=lora"]),
    ("ief", ["--adapter=lora", "--solve-momentum=0", "--momentum=0.9", "--lora-dropout=0.2"]),
    ("sf", ["--adapter=lora", "--momentum=0.5"]),
    ("iekfac", ["--adapter=lora", "--inverse-interval=7"]),
    ("kfac", ["--adapter=lora", "--factor-interval=3"]),
    ("ief", ["--adapter=prompt", "--virtual-tokens=4"]),
    ("adamw", ["--adapter=ia3"]),
    ("sgd", ["--adapter=full", "--momentum=0.9"]),
]
STEP_SIZES = "--step-size=0.05,ief=0.1,adamw=0.001,sgd=0.01"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def make(place):
    """A model with random weights, a tokenizer of words, and a table of texts."""
    model = place / "bert"
    model.mkdir()
    for file in ["config.json", "model.safetensors"]:
        shutil.copy(FIXTURES / "bert" / file, model / file)
    words = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"] + CLASSES + [f"w{i}" for i in range(60)]
    (model / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {word: i for i, word in enumerate(words)}},
    }))
    rows = []
    for row in range(108):
        word = lambda at: f"w{10 + (row * 7 + at * 13) % 50}"
        rows.append(f"{word(1)} w{row % 3} {word(2)} {word(3)} n{row},{CLASSES[row % 3]}\n")
    (place / "texts.csv").write_text("text,label\n" + "".join(rows))


class Run:
    """One command, whose output goes into a folder of its own."""

    def __init__(self, checks, number, out, epochs):
        method, own = CASES[number]
        self.place, self.out = checks.place, out
        self.folder = checks.place / out / f"{method}-seed1"
        self.command = checks.command(
            "--task=csv", "--data=texts.csv", "--model=bert", "--max-length=12", "--batch=8", "--plain",
            f"--epochs={epochs}", f"--out={out}", f"--method={method}", STEP_SIZES, *own)

    def start(self, *more):
        return subprocess.Popen(self.command + list(more), cwd=self.place, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, *more):
        """Run to the end; returns what went wrong."""
        process = self.start(*more)
        _, said = process.communicate(timeout=600)
        return "" if process.returncode == 0 else f"exit code {process.returncode}: {said.strip()[-400:]}"

    def go_on(self):
        return self.finish("--resume")

    def results(self):
        """What has to be equal: numbers of the record, and the bytes of the written weights."""
        record = json.loads((self.folder / "run.json").read_text())
        numbers = {key: record[key] for key in ["status", "losses", "epochs", "test", "best_epoch"]}
        weights = {str(path.relative_to(self.folder)): path.read_bytes()
                   for path in sorted(self.folder.rglob("*.safetensors"))}
        names = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return numbers, weights, names


def half_written(folder):
    """Files whose names promise more than they have. What is still being written has a temporary name."""
    bad = []
    for path in folder.rglob("*"):
        temporary = any(part.startswith(".") or part.endswith((".part", ".tmp")) for part in path.parts)
        if not path.is_file() or temporary:
            continue
        if path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError:
                bad.append(path.name)
        elif path.suffix == ".safetensors":
            if not is_whole(path.read_bytes()):
                bad.append(path.name)
    return bad


def is_whole(data):
    if len(data) < 8:
        return False
    (size,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        return False
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return len(data) == 8 + size + max(ends, default=0)


def differences(found, expected):
    """Why two results are not equal; empty if they are."""
    if found[2] != expected[2]:
        return f"files {found[2]}, expected {expected[2]}"
    wrong = [key for key in expected[0] if found[0][key] != expected[0][key]]
    wrong += [name for name in expected[1] if found[1].get(name) != expected[1][name]]
    return f"other {', '.join(wrong)}" if wrong else ""


def kill(run, generator, duration):
    """Kill a run; returns how often it was killed before its end, and what is wrong."""
    kills = 0
    for flags in [[], ["--resume"]][: generator.choice([1, 1, 1, 2])]:
        process = run.start(*flags)
        time.sleep(generator.uniform(0.0, duration))
        process.kill()
        _, said = process.communicate()
        if "panicked" in said:
            return kills, "a panic before the kill"
        kills += process.returncode == -signal.SIGKILL
        bad = half_written(run.folder)
        if bad:
            return kills, f"half-written: {bad}"
    return kills, run.go_on()


def send(run, generator, duration):
    """Send a signal once or twice; returns how many arrived, and what is wrong."""
    process = run.start()
    time.sleep(generator.uniform(0.0, duration))
    sent = generator.choice(SIGNALS)
    for _ in range(generator.choice([1, 2])):
        process.send_signal(sent)
        time.sleep(generator.uniform(0.0, 0.05))
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 1, f"{sent.name} does not end it"
    arrived = int(process.returncode != 0)
    if "panicked" in said or process.returncode not in (0, 1, 130, -sent):
        return arrived, f"{sent.name}: exit code {process.returncode}: {said.strip()[-400:]}"
    bad = half_written(run.folder)
    return arrived, f"half-written: {bad}" if bad else run.go_on()


def fill(run, generator, _duration):
    """Run on a disk that is too small, then make room; returns whether it was, and what is wrong."""
    disk = run.place / run.out
    # Small sizes more often: larger ones have room for everything.
    size = round(4 * (900 / 4) ** generator.random())
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
    process = run.start()
    try:
        _, said = process.communicate(timeout=600)
        full = int(process.returncode != 0)
        if "panicked" in said or process.returncode not in (0, 1, 2):
            return full, f"{size} KiB: exit code {process.returncode}: {said.strip()[-400:]}"
        if full and not said.strip():
            return full, f"{size} KiB: it does not say why"
        bad = half_written(run.folder)
        if bad:
            return full, f"{size} KiB, half-written: {bad}"
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        wrong = run.go_on()
        kept = run.place / f"{run.out}-kept"
        shutil.copytree(disk, kept)
    finally:
        process.kill()
        subprocess.run(["umount", disk], check=True)
    disk.rmdir()
    kept.rename(disk)
    return full, wrong


def repeat(checks, name, count, fault, arguments, whole):
    """Cases of one fault, until so many had an effect."""
    generator = random.Random(f"{arguments.seed} {name}")
    done, tried, faults, failures = 0, 0, 0, []
    while done < count and tried < 4 * count:
        number = tried % len(CASES)
        tried += 1
        out = f"{name}-{tried}"
        run = Run(checks, number, out, arguments.epochs)
        duration, expected = whole[number]
        effects, wrong = fault(run, generator, duration)
        faults += effects
        done += bool(effects)
        if not wrong:
            wrong = differences(run.results(), expected)
        if wrong:
            failures.append(out)
            print(f"  {out} ({' '.join(CASES[number][1])}): {wrong}", flush=True)
        else:
            shutil.rmtree(checks.place / out)
    print(f"{name}: {tried} runs, {faults} of these faults met {done} of them; {len(failures)} failed", flush=True)
    checks.check(name, done >= count and not failures, failures[:8])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=360)
    parser.add_argument("--full-disks", type=int, default=100)
    parser.add_argument("--signals", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(Path(arguments.program).resolve(), Path(folder))
        make(checks.place)
        whole = []
        for number in range(len(CASES)):
            run = Run(checks, number, f"whole-{number}", arguments.epochs)
            began = time.monotonic()
            wrong = run.finish()
            checks.check(f"unbroken {' '.join(CASES[number][1])}", not wrong, wrong)
            if wrong:
                checks.finish()
            whole.append((time.monotonic() - began, run.results()))
        for name, count, fault in [("kill", arguments.kills, kill), ("full-disk", arguments.full_disks, fill),
                                   ("signal", arguments.signals, send)]:
            if count:
                repeat(checks, name, count, fault, arguments, whole)
        checks.finish()


if __name__ == "__main__":
    main()
