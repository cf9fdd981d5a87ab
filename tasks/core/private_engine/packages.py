"""The private engine's programs: Debian packages, unpacked into a folder of their own.

Nothing is installed. apt downloads with a configuration of its own: it checks every package
against the Debian keyring and leaves the system's sources, lists and hooks alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..engine.layout import Layout
from ..model import programs
from ..model.errors import EngineSetupError
from ..model.progress import Say
from . import processes

SUITE: Final = "trixie"
"""The Debian release whose Docker is used: the first one that has buildx."""

PACKAGES: Final = ("docker.io", "docker-cli", "docker-buildx", "containerd", "tini", "debootstrap")
HOST_PACKAGES: Final = ("runc",)
"""Taken from the machine's own release: the newer one may need a newer C library."""

PROGRAMS: Final = (
    "dockerd",
    "docker",
    "docker-buildx",
    "docker-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "runc",
    "debootstrap",
)
_INIT: Final = "docker-init"
_VERSIONS: Final = "versions.json"
_FOLDERS: Final = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/libexec/docker/cli-plugins")

_KEYRINGS: Final = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_INSTALL_STEP: Final = "install Docker with its buildx plugin, start it, and try again"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A mirror of Debian, and the release of this machine that it has."""

    mirror: str
    suite: str
    keyring: Path


def require_host() -> None:
    """Raise :class:`EngineSetupError` if this machine cannot run a private engine."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        what = "a private engine needs Debian, and apt-get was not found"
        raise EngineSetupError(what, next_step=_INSTALL_STEP)
    if os.geteuid() != 0:
        what = "a private engine needs root"
        step = f"{_INSTALL_STEP}; or run `invoke engine` as root"
        raise EngineSetupError(what, next_step=step)


def suits_host() -> bool:
    """Whether :func:`require_host` passes."""
    try:
        require_host()
    except EngineSetupError:
        return False
    return True


def run(
    argv: Sequence[str | Path], what: str, env: Mapping[str, str] | None = None, cwd: str = "/"
) -> str:
    """The output of one step; :class:`EngineSetupError` with its last lines if it fails."""
    words = [str(word) for word in argv]
    environ = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    done = programs.run(words, environ=environ, folder=Path(cwd))
    if not done:
        lines = [*done.stdout.rstrip().splitlines(), *done.stderr.rstrip().splitlines()]
        ended = f"`{Path(words[0]).name}` ended with code {done.code}"
        failed = f"{what} failed: {done.problem if done.code == programs.NOT_FOUND else ended}"
        raise EngineSetupError(failed, next_step=_INSTALL_STEP, detail="\n".join(lines[-12:]))
    return done.stdout


@contextlib.contextmanager
def timed(say: Say, doing: str, note: str = "") -> Iterator[None]:
    """Say what is being done, and then how long it took."""
    say(f"{doing} ...{note}")
    start = time.monotonic()
    yield
    say(f"{doing}: {time.monotonic() - start:.1f} s")


def ensure(layout: Layout, say: Say, *, anew: bool = False) -> None:
    """Make sure that the programs are unpacked, all of them. Call it with the lock held.

    Of an engine that runs, only programs that are missing are put back; ``anew`` replaces those
    of one that does not.
    """
    stamp = layout.programs / "packages"
    wanted = "\n".join((SUITE, *PACKAGES, *HOST_PACKAGES))
    is_whole = not missing(layout)
    is_current = stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted
    runs = bool(processes.own(layout.programs))
    if is_whole and not anew and (is_current or runs):
        return  # what an engine runs is updated at its next start
    require_host()
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=layout.root) as name:
        work = Path(name)
        with timed(
            say,
            f"downloading Docker's packages of Debian {SUITE}",
            " (80 MB, nothing is installed)",
        ):
            found = source(work, SUITE)
            versions = newest(work, found, say)
            debs = _download(work, found, versions)
        with timed(say, "unpacking the packages"):
            tree = work / "programs"
            for deb in debs:
                run(["dpkg-deb", "-x", deb, tree], f"unpacking {deb.name}")
            _link(tree)
        for program in ("dockerd", "runc"):
            run([tree / "bin" / program, "--version"], f"running Debian {SUITE}'s Docker here")
        if runs:
            _fill(tree, layout.programs)
            return
        (tree / "packages").write_text(wanted, encoding="utf-8")
        (tree / _VERSIONS).write_text(json.dumps(versions), encoding="utf-8")
        # Renamed in one step, so that the folder is complete or does not exist.
        if layout.programs.exists():
            layout.programs.rename(work / "old")
        tree.rename(layout.programs)


def missing(layout: Layout) -> list[str]:
    """The programs that are not there, or are empty."""
    return [
        name
        for name in (*PROGRAMS, _INIT)
        if not (layout.bin / name).is_file() or not (layout.bin / name).stat().st_size
    ]


def _fill(tree: Path, place: Path) -> None:
    """Put into ``place`` what it lacks. What is there stays: an engine runs it."""
    for path in sorted(tree.rglob("*")):
        target = place / path.relative_to(tree)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(target) or (target.is_file() and not target.stat().st_size):
            path.replace(target)


def unpacked(layout: Layout) -> dict[str, str]:
    """The versions of the packages that are unpacked; empty where they were not recorded."""
    try:
        found = json.loads((layout.programs / _VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def outdated(layout: Layout, say: Say) -> dict[str, str]:
    """What the mirror has other than what is unpacked: ``{"runc": "1.1.5 -> 1.1.6"}``.

    Raises :class:`EngineSetupError` where no mirror can be asked.
    """
    before = unpacked(layout)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=layout.root) as name:
        now = newest(Path(name), source(Path(name), SUITE), say)
    return {
        package: f"{before.get(package, 'unknown')} -> {version}"
        for package, version in now.items()
        if before.get(package) != version
    }


def newest(work: Path, found: Source, say: Say) -> dict[str, str]:
    """The newest version of each package in its release, security updates included."""
    _add_security(work, found, say)
    wanted = dict.fromkeys(PACKAGES, SUITE) | dict.fromkeys(HOST_PACKAGES, found.suite)
    listed = run(["apt-cache", "madison", *wanted], "asking for versions", apt_env(work))
    versions = newest_of(listed, wanted)
    if absent := [name for name in wanted if name not in versions]:
        what = f"{absent[0]} was not found in Debian {wanted[absent[0]]} at {found.mirror}"
        raise EngineSetupError(what, next_step=_INSTALL_STEP)
    return versions


def newest_of(listed: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """The first version of each package that is of its release, in the output of ``madison``.

    apt lists the newest version first.
    """
    versions: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, rest = (part.strip() for part in line.partition("|"))
        version, _, origin = (part.strip() for part in rest.partition("|"))
        suite = origin.split()[1].partition("/")[0] if len(origin.split()) > 1 else ""
        if suite.removesuffix("-security") == wanted.get(name):
            versions.setdefault(name, version)
    return versions


def _add_security(work: Path, found: Source, say: Say) -> None:
    """Add the security suites of the mirrors that this machine uses, where they answer."""
    lists = work / "sources.list"
    before = lists.read_text(encoding="utf-8")
    uris = run(["apt-get", "--print-uris", "update"], "asking apt for its mirrors")
    lines = [
        f"deb [signed-by={found.keyring}] {mirror} {suite}-security main\n"
        for mirror in security_mirrors(uris)
        for suite in dict.fromkeys((SUITE, found.suite))
    ]
    doing = "reading the lists of security updates"
    lists.write_text(before + "".join(lines), encoding="utf-8")
    try:
        if lines:
            run(["apt-get", "update", "-q"], doing, apt_env(work))
            return
    except EngineSetupError as error:
        say(f"{error.what}: the programs come without them")
    else:
        say("no mirror in this machine's apt sources has security updates")
    lists.write_text(before, encoding="utf-8")
    run(["apt-get", "update", "-q"], doing, apt_env(work))


def security_mirrors(uris: str) -> list[str]:
    """The mirrors of security updates in the output of ``apt-get --print-uris update``."""
    found = re.findall(r"^'(\S+)/dists/[a-z]+-security/InRelease'", uris, flags=re.MULTILINE)
    return list(dict.fromkeys(found))


def sources(uris: str, codename: str) -> list[tuple[str, str]]:
    """``(mirror, suite)`` for each release in the output of ``apt-get --print-uris update``.

    The machine's own release comes first. Suites beside a release (``-updates``,
    ``-security``) are left out, since they do not carry every package.
    """
    found = re.findall(r"^'(\S+)/dists/([a-z]+)/InRelease'", uris, flags=re.MULTILINE)
    return sorted(dict.fromkeys(found), key=lambda pair: pair[1] != codename)


def candidates() -> list[tuple[str, str]]:
    """The mirrors that this machine uses itself, as ``(mirror, suite)``."""
    # `apt-get indextargets` would need an `apt-get update` first. This downloads nothing.
    uris = run(["apt-get", "--print-uris", "update"], "asking apt for its mirrors")
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    match = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", release, flags=re.MULTILINE)
    return sources(uris, match.group(1) if match else "")


def source(work: Path, wanted: str = SUITE, architecture: str = "") -> Source:
    """The mirror of this machine that has the release ``wanted``, checked with the keyring.

    Writes an apt configuration for this mirror alone to ``work``; ``architecture`` is another
    one than this machine's.
    """
    keyring = _keyring()
    refused: list[str] = []
    for mirror, suite in candidates():
        configure(work, mirror, dict.fromkeys((wanted, suite)), keyring, architecture)
        try:
            run(["apt-get", "update", "-q"], f"reading the lists of {mirror}", apt_env(work))
        except EngineSetupError as error:
            refused.append(error.detail)
            continue
        return Source(mirror=mirror, suite=suite, keyring=keyring)
    what = f"no mirror in this machine's apt sources has Debian {wanted}"
    step = f"a private engine needs Debian 12 or later; else {_INSTALL_STEP}"
    raise EngineSetupError(what, next_step=step, detail="\n".join(refused))


def configure(
    work: Path, mirror: str, suites: Iterable[str], keyring: Path, architecture: str = ""
) -> None:
    """Write an apt configuration for one mirror to ``work``."""
    for folder in ("lists/partial", "archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    lines = [f"deb [signed-by={keyring}] {mirror} {suite} main\n" for suite in suites]
    (work / "sources.list").write_text("".join(lines), encoding="utf-8")
    # Kept of the machine's own configuration: proxies, certificates, and whether an archive of
    # old packages may be used (Check-Valid-Until). Its hooks would change the system's cache.
    dump = run(["apt-config", "dump", "Acquire"], "asking apt for its configuration")
    kept = r"Acquire::(https?|ForceIP|Check-)"
    reach = [line for line in dump.splitlines() if re.match(kept, line)]
    mine = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work,
        "Dir::Cache::archives": work / "archives",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        # Otherwise apt downloads as its own user, who cannot write here.
        "APT::Sandbox::User": "root",
    }
    if architecture:
        mine |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    lines = [*reach, *(f'{key} "{value}";' for key, value in mine.items())]
    (work / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def apt_env(work: Path) -> dict[str, str]:
    """The environment in which apt reads the configuration in ``work``."""
    return {"APT_CONFIG": str(work / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}


def _keyring() -> Path:
    for path in _KEYRINGS:
        if path.is_file():
            return path
    what = "the Debian keyring was not found, so packages cannot be checked"
    step = f"on Debian, `apt-get install debian-archive-keyring`; elsewhere {_INSTALL_STEP}"
    raise EngineSetupError(what, next_step=step)


def _download(work: Path, found: Source, versions: Mapping[str, str]) -> list[Path]:
    folder = work / "debs"
    folder.mkdir()
    names = [f"{name}={version}" for name, version in versions.items()]
    doing = f"downloading packages from {found.mirror}"
    run(["apt-get", "download", "-q", *names], doing, apt_env(work), cwd=str(folder))
    return sorted(folder.glob("*.deb"))


def _link(tree: Path) -> None:
    """Make ``bin``: every program under the name that dockerd and Docker use."""
    (tree / "bin").mkdir()
    names = {name: name for name in PROGRAMS}
    names[_INIT] = "tini-static"
    for name, program in names.items():
        place = next((f for f in _FOLDERS if (tree / f / program).is_file()), None)
        if place is None:
            what = f"{program} was not found in the packages of Debian {SUITE}"
            raise EngineSetupError(what, next_step=_INSTALL_STEP)
        (tree / "bin" / name).symlink_to(Path("..") / place / program)
