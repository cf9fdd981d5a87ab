"""What a measurement is taken on, and what the machine needs for builds by hand.

Nothing here names the machine: no host, no user, no path, no index.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ..model.programs import run

MIRROR: Final = "POETRY_PYPI_MIRROR_URL"
"""What the plugin poetry-plugin-pypi-mirror reads: an index to take in place of the default."""

_SECONDS: Final = 20.0
# Where pip keeps the default index, under names that it has had for years.
_PIP: Final = """\
import json, pip
from pip._internal.models.index import PyPI
print(json.dumps({"simple": PyPI.simple_url, "json": PyPI.pypi_url, "version": pip.__version__}))
"""


def machine() -> dict[str, Any]:
    """Cores, memory in bytes, processor and system."""
    return {
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "processor": _processor(),
        "system": _system(),
        "kernel": platform.release().partition("-")[0],
    }


def versions() -> dict[str, str]:
    """The versions of what the tasks themselves run on."""
    return {"python": platform.python_version(), "invoke": metadata.version("invoke")}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def index(environ: Mapping[str, str]) -> dict[str, str]:
    """What the index of this machine asks of builds, as environment variables.

    An index that pip's configuration files name holds for the builds as well. Poetry asks the
    default index for JSON, which not every mirror of it has; then it is told to take its
    files' list, as pip does.
    """
    found: dict[str, str] = {}
    url = environ.get("PIP_INDEX_URL", "") or _pip("-m", "pip", "config", "get", "global.index-url")
    if url:
        found["PIP_INDEX_URL"] = url
    mirror = environ.get(MIRROR, "") or url or _mirror_of_default()
    if mirror:
        found[MIRROR] = mirror
    return found


def _mirror_of_default() -> str:
    text = _pip("-c", _PIP)
    if not text:
        return ""
    default = json.loads(text)
    try:
        page = f"{default['json']}/pip/{default['version']}/json"
        with urllib.request.urlopen(page, timeout=_SECONDS):  # noqa: S310 (pip's own address)
            return ""
    except urllib.error.HTTPError:
        return str(default["simple"])
    except OSError:
        return ""  # not reached at all: the build itself will say so best


def _pip(*arguments: str) -> str:
    done = run([sys.executable, *arguments])
    return done.stdout.strip() if done else ""
