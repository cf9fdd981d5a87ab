"""The Python image that all images start from: pulled, or replaced by a stand-in.

Without a registry ``python:3.13-slim-trixie`` is not available. For trying out and for CI, the
private engine then gets an image of the same name, made of Debian packages, with a label that
says so. The user's own engine never gets one.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from ..engine.endpoint import Endpoint
from ..engine.layout import Layout
from ..model.errors import EngineSetupError
from ..model.progress import Say
from . import packages
from .packages import run, timed
from .private import locked

State = Literal["present", "stand-in", "absent"]

LABEL: Final = "io.numaflow.udf.stand-in"
PYTHONS: Final[Mapping[str, str]] = {"trixie": "3.13", "bookworm": "3.11"}
"""The Python of each Debian release of which a stand-in can be made."""

PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")

# Part of the archive's name. Increase it when :func:`tidy` changes.
_REVISION: Final = 1

# How long a registry may take to answer whether it has the image, and to send it.
_ANSWER_SECONDS: Final = 30.0
_PULL_SECONDS: Final = 900.0

_ENV: Final = (
    "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
)

# Documentation, which nobody reads in an image. The licences stay.
_UNREAD: Final = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
_EXCLUDES: Final = "".join(f"path-exclude=/{folder}/*\n" for folder in _UNREAD) + (
    "path-include=/usr/share/doc/*/copyright\n"
)

# debootstrap needs wget, which may not be installed. apt's own downloader always is, and uses
# the machine's proxies and certificates.
_WGET: Final = """\
#!/bin/sh
while [ $# -gt 1 ]; do
  case "$1" in
    -O) to=$2; shift 2 ;;
    -U) shift 2 ;;
    *) shift ;;
  esac
done
exec /usr/lib/apt/apt-helper download-file "$1" "$to"
"""


def ensure_image(
    endpoint: Endpoint, image: str, say: Say, environ: Mapping[str, str] | None = None
) -> State:
    """Make sure that the engine has the Python image: pull it, or make a stand-in.

    Gives ``present`` or ``stand-in``. Raises :class:`EngineSetupError` if the image cannot be
    pulled, and its name allows no stand-in or the engine is the user's own.
    """
    state = image_state(endpoint, image)
    if state != "absent":
        return state
    if not endpoint.needs_python_image:
        if reason := _pull(endpoint, image, say):
            what = f"the Python image {image} cannot be pulled: {reason}"
            step = "check udf.python_image, and that the engine reaches its registry"
            raise EngineSetupError(what, next_step=step)
        return "present"
    layout = Layout.of(os.environ if environ is None else environ)
    with locked(layout, say):
        state = image_state(endpoint, image)
        if state != "absent":
            return state  # another run was quicker
        reason = _pull(endpoint, image, say)
        if not reason:
            return "present"
        say(f"{image} cannot be pulled: {reason}")
        suite = suite_of(image)
        say(f"making a stand-in for it from Debian {suite}, for trying out and CI, not production")
        archive = ensure_archive(layout, suite, host_architecture(), say)
        with timed(say, f"importing the stand-in for {image}"):
            run(import_argv(endpoint, archive, image, suite), "importing it", endpoint.env)
    return "stand-in"


def publish(
    endpoint: Endpoint,
    image: str,
    name: str,
    platform: str,
    say: Say,
    environ: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """Push an index ``name``: the stand-in ``image`` of the engine, and one for ``platform``.

    Gives the names under which the engine keeps the two.
    """
    layout, suite = Layout.of(os.environ if environ is None else environ), suite_of(image)
    architecture = platform.partition("/")[2]
    with locked(layout, say):
        archive = ensure_archive(layout, suite, architecture, say)
    parts = (f"{name}-own", f"{name}-{architecture}")
    docker, doing = endpoint.docker, f"publishing {name}"
    for argv in (
        [*docker, "tag", image, parts[0]],
        import_argv(endpoint, archive, parts[1], suite, platform),
        *([*docker, "push", "--quiet", part] for part in parts),
        [*endpoint.buildx, "imagetools", "create", "--tag", name, *parts],
    ):
        run(argv, doing, endpoint.env)
    return parts


def _pull(endpoint: Endpoint, image: str, say: Say) -> str:
    start = time.monotonic()
    say(f"pulling {image} ...")
    reason = pull(endpoint, image)
    if not reason:
        say(f"pulling {image}: {time.monotonic() - start:.1f} s")
    return reason


def image_state(endpoint: Endpoint, image: str) -> State:
    """Whether the engine has ``image``, and whether that is a stand-in."""
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    done = endpoint.ask_docker("image", "inspect", "--format", template, image)
    if not done:
        if "o such image" in done.stderr:
            return "absent"
        what = f"the engine does not say whether it has {image}"
        raise EngineSetupError(what, next_step="see the lines above", detail=done.stderr)
    return "stand-in" if done.stdout.strip() else "present"


def suite_of(image: str) -> str:
    """The Debian release that the name of a Python image means.

    :class:`EngineSetupError` if it names none, or a Python that the release does not have.
    """
    repository, _, tag = image.partition("@")[0].rpartition(":")
    match = re.fullmatch(r"(?P<python>3(?:\.\d+)*)(?:-slim)?(?:-(?P<suite>[a-z]+))?", tag)
    if repository.rpartition("/")[2] == "python" and match and "@" not in image:
        python, suite = match["python"], match["suite"]
        for release, version in PYTHONS.items():
            if suite == release and python in ("3", version):
                return release
            if suite is None and python == version:
                return release
    names = ", ".join(f"python:{version}-slim-{suite}" for suite, version in PYTHONS.items())
    what = f"no stand-in for {image}: no Debian release matches its name"
    step = f"make its registry reachable, or set udf.python_image to one of {names}"
    raise EngineSetupError(what, next_step=step)


def pull(
    endpoint: Endpoint, image: str, timeout: float = _ANSWER_SECONDS, *, platform: str = ""
) -> str:
    """Pull ``image`` for ``platform``, or that of the engine; why that failed, or ``""``.

    ``timeout`` is how many seconds its registry may take to say whether it has it.
    """
    wanted = ["--platform", platform] if platform else []
    argv = [*endpoint.docker, "pull", *wanted, image]
    with (
        subprocess.Popen(
            argv,
            env=endpoint.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        selector.register(descriptor, selectors.EVENT_READ)
        # The first line comes once the registry has answered.
        deadline = time.monotonic() + timeout
        end = time.monotonic() + _PULL_SECONDS
        output = b""
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                process.kill()
                if output:
                    return f"not done within {_PULL_SECONDS:.0f} s"
                return f"no answer from its registry within {timeout:.0f} s"
            part = os.read(descriptor, 65536)
            if not part:
                break
            output += part
            deadline = end
        code = process.wait()
    if code == 0:
        return ""
    lines = output.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"docker pull ended with code {code}"
    return last.removeprefix("Error response from daemon: ")


def host_architecture() -> str:
    """This machine's architecture, as Debian names it."""
    return run(["dpkg", "--print-architecture"], "asking dpkg for the architecture").strip()


def archive_name(suite: str, architecture: str) -> str:
    """The name of a root file system's archive, different for different content."""
    return f"{suite}-{architecture}-{'+'.join(PACKAGES)}-{_REVISION}.tar"


def ensure_archive(layout: Layout, suite: str, architecture: str, say: Say) -> Path:
    """The archive of a Debian root file system with Python. It is made once and kept.

    For another architecture than this machine's, packages are unpacked and none of their
    scripts runs, so that nothing is emulated.

    Call it with the lock held, since it works in the engine's folder.
    """
    archive = layout.archives / archive_name(suite, architecture)
    if archive.is_file():
        return archive
    packages.ensure(layout, say)
    layout.archives.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rootfs-", dir=layout.root) as name:
        work = Path(name)
        tree = work / "tree"
        with timed(say, f"installing Debian {suite} with Python {PYTHONS[suite]} into a folder"):
            foreign = architecture != host_architecture()
            source = packages.source(work, suite, architecture)
            shim = work / "bin" / "wget"
            shim.parent.mkdir()
            shim.write_text(_WGET, encoding="utf-8")
            shim.chmod(0o755)
            env = {
                **packages.apt_env(work),
                "PATH": f"{shim.parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
                "DEBOOTSTRAP_DIR": str(layout.programs / "usr/share/debootstrap"),
            }
            (work / "status").touch()
            run(prefetch_argv(work, suite), f"downloading the packages of Debian {suite}", env)
            argv = bootstrap_argv(layout, source, suite, architecture, work, foreign=foreign)
            run(argv, f"installing Debian {suite} into a folder", env)
            if foreign:
                _unpack(tree)
        with timed(say, "packing the root file system"):
            tidy(tree)
            made = work / archive.name
            options = ("--sort=name", "--numeric-owner", "--one-file-system")
            run(["tar", *options, "-C", tree, "-cf", made, "."], "packing the root file system")
        made.replace(archive)
    return archive


def prefetch_argv(work: Path, suite: str) -> list[str]:
    """How apt downloads what debootstrap needs, all at once, which saves 12 s.

    debootstrap checks each package again, and downloads what is missing.
    """
    return [
        *("apt-get", "install", "-q", "-y", "--download-only", "--no-install-recommends"),
        # An empty list of installed packages: the new system's, not this machine's.
        *("-o", f"Dir::State::status={work / 'status'}"),
        *("-o", f"APT::Default-Release={suite}"),
        *("?essential", "?priority(required)", "apt", *PACKAGES),
    ]


def _unpack(tree: Path) -> None:
    """Unpack what debootstrap has fetched, and write what the scripts of packages would."""
    for deb in sorted((tree / "var/cache/apt/archives").glob("*.deb")):
        run(["dpkg-deb", "-x", deb, tree], f"unpacking {deb.name}")
    shutil.rmtree(tree / "debootstrap")
    for folder in ("etc/dpkg/dpkg.cfg.d", "usr/local/bin"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    certificates = sorted((tree / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = b"".join(path.read_bytes() for path in certificates)
    (tree / "etc/ssl/certs/ca-certificates.crt").write_bytes(bundle)


def bootstrap_argv(
    layout: Layout,
    source: packages.Source,
    suite: str,
    architecture: str,
    work: Path,
    *,
    foreign: bool = False,
) -> list[str]:
    """How debootstrap makes the folder ``tree`` in ``work``.

    It has a mount namespace of its own and ends with this process, so that a killed run leaves
    no mount and no process. With ``foreign``, it runs nothing in that folder.
    """
    return [
        *("setpriv", "--pdeathsig", "SIGKILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        str(layout.bin / "debootstrap"),
        *(["--foreign"] if foreign else []),
        "--variant=minbase",
        f"--arch={architecture}",
        f"--include={','.join(PACKAGES)}",
        f"--keyring={source.keyring}",
        "--force-check-gpg",
        f"--cache-dir={work / 'archives'}",
        suite,
        str(work / "tree"),
        source.mirror,
    ]


def tidy(tree: Path) -> None:
    """Make a fresh Debian root file system look like a Python image, and small."""
    for name in ("python", "python3"):
        (tree / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    # pip and uv may install into the image's own Python, as they may in the real image.
    for marker in (tree / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    # debootstrap copies these two from the host.
    for name in ("resolv.conf", "hostname"):
        (tree / "etc" / name).unlink(missing_ok=True)
    for folder in ("var/lib/apt/lists", "var/cache/apt", "var/log", *_UNREAD):
        for path in sorted((tree / folder).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.name != "copyright":
                path.unlink()
    (tree / "etc/dpkg/dpkg.cfg.d/unread").write_text(_EXCLUDES, encoding="utf-8")


def import_argv(
    endpoint: Endpoint, archive: Path, image: str, suite: str, platform: str = ""
) -> Sequence[str]:
    """How the archive is imported as an image, with a label that says what it is."""
    why = f"Debian {suite} with its own Python, in place of {image}, which could not be pulled"
    changes = [f"ENV {pair}" for pair in _ENV]
    changes += ['CMD ["python3"]', f'LABEL {LABEL}="{why}"']
    options = [word for change in changes for word in ("--change", change)]
    options += ["--platform", platform] if platform else []
    return [*endpoint.docker, "import", *options, "--message", "stand-in", str(archive), image]
