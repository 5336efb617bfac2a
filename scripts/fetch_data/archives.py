"""Read single files of a wheel or an npm tarball."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from errors import FetchError


def extract(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Copy members of an archive to the names in a folder that they map to.

    Nothing else of the archive is written, whatever paths it holds.
    """
    with _opened(archive) as files:
        for member, name in members.items():
            with files(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def _opened(archive: Path) -> Iterator:
    """Give a function that opens a member of the archive."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield wheel.open
        else:
            with tarfile.open(archive, "r:gz") as tarball:
                yield lambda member: _member(tarball, member)
    except KeyError as error:
        raise FetchError(f"{archive.name}: {error.args[0]}") from error
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise FetchError(f"{archive.name} cannot be read: {error}") from error


def _member(tarball: tarfile.TarFile, member: str) -> IO[bytes]:
    """Open a plain file of a tarball."""
    file = tarball.extractfile(member)
    if file is None:
        raise FetchError(f"{tarball.name}: {member} is not a file")
    return file
