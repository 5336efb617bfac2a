"""Folders that are there whole or not at all."""

from __future__ import annotations

import enum
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import FetchError

SUMS = "SHA256SUMS"
README = "README.md"
TEMPORARY = ".part-"


class State(enum.Enum):
    """What is there of a folder."""

    MISSING = "missing"
    COMPLETE = "complete"
    DAMAGED = "damaged"
    """A file is missing or was changed."""
    OUTDATED = "outdated"
    """Of another version of this script."""
    FOREIGN = "foreign"
    """Not made by this script: it may be a person's own."""


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other runs out, and remove what a killed one left behind."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another fetch-data works in {out}; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for old in out.glob(f"{TEMPORARY}*"):
            # Its pip or npm may still write there; then the next run removes it.
            shutil.rmtree(old, ignore_errors=True)
        yield


@contextmanager
def temporary(out: Path) -> Iterator[Path]:
    """Give a folder on the same disk that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_folder(folder: Path, readme: str) -> State:
    """Compare a folder's files with its checksums."""
    if not folder.exists():
        return State.MISSING
    if not (folder / SUMS).is_file():
        return State.FOREIGN
    for name, expected in _read_sums(folder).items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            return State.DAMAGED
    if (folder / README).read_text(encoding="utf-8") != readme:
        return State.OUTDATED
    return State.COMPLETE


def finish(made: Path, folder: Path, readme: str) -> None:
    """Add the note and the checksums to what was made, and put it in its place."""
    (made / README).write_text(readme, encoding="utf-8")
    names = sorted(path.name for path in made.iterdir())
    lines = [f"{sha256(made / name)}  {name}\n" for name in names]
    (made / SUMS).write_text("".join(lines))
    # Temporary files are a user's own; these are for all.
    made.chmod(0o755)
    for path in made.iterdir():
        path.chmod(0o644)
    if folder.exists():
        _move_away(folder, made)
    made.rename(folder)


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_sums(folder: Path) -> dict[str, str]:
    """Read the checksums of a folder by name."""
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines]
    found = {pair[1]: pair[0] for pair in pairs if len(pair) == 2}
    # A broken list is a damaged folder, not an empty one.
    return {README: "", **found}


def _move_away(folder: Path, made: Path) -> None:
    """Move a folder that is to be replaced, unless it holds files of a person."""
    known = {path.name for path in made.iterdir()} | set(_read_sums(folder))
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if foreign:
        raise FetchError(
            f"{folder} is to be made anew, but holds other files ({', '.join(foreign)}); "
            "move them away"
        )
    folder.rename(made.with_name("old"))
