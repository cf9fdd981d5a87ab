"""Small facts that are costly to find out, kept in files: one JSON value for each key.

What is not as it was written counts as absent: an entry that was truncated, that is garbage, or
that another version of this project wrote. Two runs may write one entry at the same moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .blob import canonical

_LARGEST: Final = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Records:
    """A folder of records. It is made when the first one is written."""

    folder: Path

    def get(self, key: str) -> Any:  # noqa: ANN401 (any JSON value)
        """The value under ``key``, or ``None``."""
        try:
            with self._path(key).open("rb") as file:
                head, _, body = file.read(_LARGEST).partition(b"\n")
            if head.decode("ascii") != _sum(body):
                return None
            record = json.loads(body)
            return record["value"] if record["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, value: object) -> None:
        """Keep ``value``, a JSON value. A folder that cannot be written to keeps nothing."""
        body = canonical({"key": key, "value": value})
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".new-", delete=False) as file:
                made = Path(file.name)
                try:
                    file.write(_sum(body).encode("ascii") + b"\n" + body)
                    file.flush()
                    made.replace(self._path(key))
                except OSError:
                    made.unlink(missing_ok=True)
                    raise

    def _path(self, key: str) -> Path:
        return self.folder / f"{_sum(key.encode())[:32]}.json"


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
