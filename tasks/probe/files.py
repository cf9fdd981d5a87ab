"""Files that the probe shares with the UDF: side inputs, the info file, and critical errors."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from pathlib import Path


class SideInputs:
    """The side inputs' folder, written as Numaflow's sidecar writes it.

    Each name is a link to a file with its value. A new value is a new file, and the link changes
    in one step, so that a reader never sees half a value.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.names: set[str] = set()

    def reset(self, values: Mapping[str, str]) -> None:
        """Have ``values`` alone, as a UDF finds them at its first start."""
        for name in self.names:
            link = self.folder / name
            link.resolve().unlink(missing_ok=True)
            link.unlink()
        self.names.clear()
        self.write(values)

    def write(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            stamp = time.time_ns()
            file = self.folder / f"{name}_{stamp}"
            file.write_bytes(base64.b64decode(value))
            file.chmod(0o644)
            link = self.folder / name
            old = link.resolve() if link.is_symlink() else None
            fresh = self.folder / f"{name}_temp{stamp}"
            fresh.symlink_to(file)
            fresh.rename(link)
            self.names.add(name)
            if old:
                old.unlink(missing_ok=True)


def critical_errors(folder: Path) -> list[dict[str, str]]:
    """The files that the SDK's ``persist_critical_error`` wrote below ``folder``."""
    return [
        {"file": str(path), "text": read(path)}
        for path in sorted(folder.rglob("*.json"))
        if path.is_file()
    ]


def read(path: Path) -> str:
    """The text of a file, or ``""`` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
