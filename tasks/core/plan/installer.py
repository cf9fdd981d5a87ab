"""What installs packages: uv alone, or the tools that build them from source. Pure: no I/O.

uv takes a second to set up and runs nothing of what it installs. The tools have a compiler, git
and more, and are made only where a package has no wheel for a platform of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

Installer = Literal["uv", "tools"]

# How the platform tags of wheels call the machines.
_MACHINES: Final[Mapping[str, str]] = {
    "linux/amd64": "x86_64",
    "linux/arm64": "aarch64",
    "linux/arm/v7": "armv7l",
    "linux/386": "i686",
}
_HASHED: Final = "requirements.txt"
_MINOR: Final = re.compile(r"(?:cp|py)3(\d*)")


def installer_of(
    files: Iterable[str],
    packages: Iterable[str],
    wheels: Mapping[str, Iterable[str]],
    platforms: Iterable[str],
    python: str,
) -> Installer:
    """What installs the requirement ``files`` for ``platforms`` and a Python such as ``3.13``.

    uv alone where every one of ``packages`` is locked with its hashes, and its ``wheels`` are
    known and fit.
    """
    if set(files) - {_HASHED} or set(packages) - wheels.keys():
        return "tools"
    sources = (without_wheel(wheels, platform, python) for platform in platforms)
    return "tools" if any(sources) else "uv"


def without_wheel(
    wheels: Mapping[str, Iterable[str]], platform: str, python: str = ""
) -> tuple[str, ...]:
    """The packages for which the lock names no wheel for a platform and a Python.

    Such a package is built from source, which takes a machine of that platform. Without
    ``python``, the wheels for any will do.
    """
    machine = machine_of(platform)
    return tuple(
        sorted(
            name
            for name, names in wheels.items()
            if not any(_is_for(wheel, machine, python) for wheel in names)
        )
    )


def machine_of(platform: str) -> str:
    """``x86_64`` for ``linux/amd64``."""
    return _MACHINES.get(platform, platform.partition("/")[2])


def _is_for(wheel: str, machine: str, python: str) -> bool:
    # name-version-python-abi-platform.whl, where each of the tags may be several with dots.
    parts = wheel.removesuffix(".whl").rsplit("-", 3)
    if len(parts) < 4:
        return False
    pythons, abis, platforms = (part.split(".") for part in parts[1:])
    return any(
        tag == "any" or (tag.startswith(("manylinux", "linux")) and tag.endswith(f"_{machine}"))
        for tag in platforms
    ) and (not python or any(_runs_on(tag, abi, python) for tag in pythons for abi in abis))


def _runs_on(tag: str, abi: str, python: str) -> bool:
    """Whether CPython ``python`` loads what the Python tag and the ABI tag of a wheel say."""
    found = _MINOR.fullmatch(tag)
    if not found:
        return False
    own = int(python.partition(".")[2])
    minor = int(found[1]) if found[1] else 0
    if abi in ("abi3", "none") and (abi == "abi3" or tag.startswith("py")):
        return minor <= own
    return minor == own and abi in ("none", f"cp3{own}")
