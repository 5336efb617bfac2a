"""A file of a registry, with its checksum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A file of a registry."""

    registry: str
    """`pypi` or `npm`."""
    name: str
    version: str
    file: str
    size: int
    sha256: str

    @property
    def title(self) -> str:
        """Name the package for a person."""
        registry = {"pypi": "PyPI", "npm": "npm"}[self.registry]
        return f"{registry} {self.name} {self.version}"
