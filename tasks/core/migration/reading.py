"""Reads the files of an old UDF: each that cannot be read is an error of its migration."""

from __future__ import annotations

from pathlib import Path

from ..model import reading
from ..model.errors import MigrationError


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; raises :class:`MigrationError` otherwise."""
    return reading.read_bytes(path, error=MigrationError)
