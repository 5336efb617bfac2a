"""Download packages through pip and npm, with the registries that these are set up for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

from errors import FetchError
from folders import sha256, temporary
from package import Package

DOWNLOADS = "downloads"
NETWORK = "Is the network there, and does the registry have this version?"


def download(package: Package, out: Path) -> Path:
    """Return the package's file, which is downloaded unless it is there already."""
    target = out / DOWNLOADS / package.file
    if target.is_file():
        if sha256(target) == package.sha256:
            return target
        print(f"  {target} is damaged or of another version: downloading it again")
        target.unlink()
    target.parent.mkdir(exist_ok=True)
    with temporary(out) as folder:
        print(
            f"  downloading {package.title} ({package.size / 1e6:.1f} MB)", flush=True
        )
        arguments = {"pypi": _pip, "npm": _npm}[package.registry](package, folder)
        failure = f"could not download {package.title}"
        run(arguments, folder, failure, hint=NETWORK, size=package.size)
        _verified(folder / package.file, package).rename(target)
    return target


def _pip(package: Package, folder: Path) -> list[str]:
    """Give the command that saves a wheel; it builds nothing."""
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    requirement = f"{package.name}=={package.version}"
    return [*pip(), "download", *options, "--dest", str(folder), requirement]


def _npm(package: Package, folder: Path) -> list[str]:
    """Give the command that saves a tarball; it runs no scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"npm is not there (it comes with Node.js); it gets {package.title}. "
            f"Or put {package.file} into the folder {DOWNLOADS} by hand"
        )
    # A cache of its own: npm's would keep the file a second time.
    options = ["--ignore-scripts", "--cache", str(folder / "npm")]
    return [npm, "pack", *options, f"{package.name}@{package.version}"]


def pip() -> list[str]:
    """Give the command that runs pip."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def run(
    arguments: list[str], folder: Path, failure: str, hint: str = "", size: int = 0
) -> None:
    """Run a program in a folder, with its temporary files there too.

    Shows the progress towards `size` bytes in a terminal. Raises `failure` with `hint`
    and the program's last words.
    """
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, folder, size)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode == 0:
            return
        output.seek(0)
        words = _telling(output)
    if any("No space left on device" in line or "ENOSPC" in line for line in words):
        raise FetchError(f"{failure}: the disk of {folder.parent} is full")
    command = Path(arguments[0]).name
    said = "\n".join(f"    {line}" for line in words[-6:])
    raise FetchError(
        f"{failure}: {command} ended with {process.returncode}. {hint}\n"
        f"  Its last words:\n{said}"
    )


def _telling(output: Iterable[str]) -> list[str]:
    """Keep the lines that say something, and of these what fits a terminal."""
    # npm's log is in the folder that is about to be removed.
    empty = {"", "npm error", "npm error }"}
    lines = (line.strip() for line in output)
    return [
        textwrap.shorten(line, 180, placeholder=" …")
        for line in lines
        if line not in empty and "A complete log of this run" not in line
    ]


def _wait(process: subprocess.Popen, folder: Path, size: int) -> None:
    """Wait for the end of a program."""
    if not (size and sys.stdout.isatty()):
        process.wait()
        return
    while process.poll() is None:
        done = min(_size(folder), size)
        print(f"\r  {done / 1e6:.1f} of {size / 1e6:.1f} MB", end="", flush=True)
        time.sleep(0.3)
    print("\r\033[K", end="", flush=True)


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder that others write to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            # Renamed or removed meanwhile.
            continue
    return total


def _verified(file: Path, package: Package) -> Path:
    """Return the file if it is the pinned one."""
    if not file.is_file():
        raise FetchError(f"{package.title}: the registry gave no {package.file}")
    found = sha256(file)
    if found != package.sha256:
        raise FetchError(
            f"{package.title}: {package.file} is not the pinned file and was removed; "
            f"SHA-256\n    expected {package.sha256}\n    found    {found}"
        )
    return file
