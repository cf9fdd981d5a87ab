"""Programs that only a measurement needs, as Debian packages that are unpacked: a registry that
is pushed to, Buildah, and an emulator.

apt finds what this machine lacks of the packages they depend on. Nothing is installed, and what
was fetched once stays in the user's cache.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..engine.layout import cache_folder
from ..model.errors import EngineSetupError
from ..model.programs import Done, Runner, run
from ..private_engine import packages

if TYPE_CHECKING:
    from ..engine.client import Engine

# Not below /root/.cache: where a step mounts a cache there, Buildah 1.28 empties the whole stage.
STORE: Final = Path("/var/cache/numaflow-udf-bench")
_WAIT_SECONDS: Final = 20.0
_REGISTRY: Final = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "{host}", secret: "of no use"}}
"""


_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_QEMU: Final = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def fetch(package: str, suite: str = "") -> Path:
    """The folder with a package of this machine's Debian, and with what it needs, unpacked.

    ``suite`` is another Debian release than this machine's.

    Raises :class:`EngineSetupError` where this machine is no Debian or cannot reach a mirror.
    """
    packages.require_host()
    suite = suite or packages.candidates()[0][1]
    folder = cache_folder(os.environ) / "bench-tools" / f"{package}-{suite}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            work = Path(name)
            packages.source(work, suite)
            options = ("--yes", "--download-only", "--no-install-recommends")
            argv = ["apt-get", "install", "-q", *options, package, "runc"]
            packages.run(argv, f"fetching {package}", packages.apt_env(work))
            for deb in (work / "archives").glob("*.deb"):
                packages.run(["dpkg-deb", "-x", deb, work / "tree"], f"unpacking {deb.name}")
            with contextlib.suppress(OSError):  # another run was faster
                (work / "tree").rename(folder)
    return folder


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry that runs on this machine, without login or TLS."""

    host: str
    folder: Path

    def stored(self) -> int:
        """The bytes that it holds."""
        return sum(file.stat().st_size for file in self.folder.rglob("data") if file.is_file())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """A registry with its data in ``folder``, ended and removed afterwards."""
    program = fetch("docker-registry") / "usr/bin/docker-registry"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    data = folder / "blobs"
    data.mkdir(parents=True)
    found = Registry(host=f"127.0.0.1:{port}", folder=data)
    config, log = folder / "config.yml", folder / "log"
    config.write_text(_REGISTRY.format(data=data, host=found.host), encoding="utf-8")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us alone
        ) as process,
    ):
        try:
            _wait(port, process, log)
            yield found
        finally:
            process.terminate()
    shutil.rmtree(folder)


@contextlib.contextmanager
def emulator(platform: str) -> Iterator[None]:
    """The kernel runs programs for ``platform`` by QEMU, in containers as well.

    That is a setting of the whole machine, and so undone afterwards. Raises
    :class:`EngineSetupError` where it cannot be made.
    """
    name = _QEMU[platform]
    tree = fetch("qemu-user", packages.SUITE)  # the first release in which it needs no library
    listed = tree / f"usr/share/qemu/binfmt.d/qemu-{name}.conf"
    entry = _BINFMT / f"numaflow-udf-{name}"
    with contextlib.ExitStack() as stack:
        if not (_BINFMT / "register").exists():
            argv = ["mount", "-t", "binfmt_misc", "none", str(_BINFMT)]
            packages.run(argv, f"registering an emulator of {platform}")
            stack.callback(packages.run, ["umount", _BINFMT], "unmounting binfmt_misc")
        # :name:type:offset:magic:mask:interpreter:flags
        _, _, *match, _, flags = listed.read_text(encoding="utf-8").strip().split(":")
        line = [*("", entry.name), *match, f"{tree}/usr/bin/qemu-{name}", flags]
        try:
            if entry.exists():  # of a run that was killed
                entry.write_text("-1")
            (_BINFMT / "register").write_text(":".join(line))
        except OSError as error:
            what = f"no emulator of {platform} can be registered: {error.strerror}"
            step = "run it as root of the machine, not in a container"
            raise EngineSetupError(what, next_step=step) from error
        stack.callback(entry.write_text, "-1")
        yield


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    what = "the registry for the measurement does not answer"
    step = "see the lines above, or leave out the scenarios that push"
    raise EngineSetupError(what, next_step=step, detail=log.read_text(errors="replace"))


@dataclass(frozen=True, kw_only=True)
class Buildah:
    """Buildah, with its store in a folder of its own. It needs no engine.

    The driver is the kernel's overlay, as Buildah's own documentation advises for root.
    """

    program: Path
    folder: Path
    run: Runner = run

    def argv(self, *words: str) -> list[str]:
        """The argv of one command."""
        name, *rest = words
        tree, folder = self.program, self.folder
        libraries = [
            str(path)
            for path in (tree / "usr/lib", tree / "lib")
            for path in path.glob("*-linux-gnu")
        ]
        # Its cache mounts are below TMPDIR.
        environ = {
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PATH": f"{tree}/usr/bin:{tree}/usr/sbin:{os.environ['PATH']}",
            "TMPDIR": str(folder / "tmp"),
        }
        store = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        settings = ["--storage-driver", "overlay", "--registries-conf", f"{folder}/registries.conf"]
        signature = ["--signature-policy", f"{folder}/policy.json"]
        signed = signature if name in ("build", "pull", "push") else []
        pairs = [f"{key}={value}" for key, value in environ.items()]
        return ["env", *pairs, "buildah", *store, *settings, name, *signed, *rest]

    def call(self, *words: str) -> Done:
        """Run one command; its output is captured."""
        return self._checked(self.run(self.argv(*words)), words[0])

    def have(self, engine: Engine, image: str) -> None:
        """Have an image of the engine in the store."""
        if not self.run(self.argv("inspect", "--type", "image", image)):
            archive = self.folder / "image.tar"
            argv = [*engine.endpoint.docker, "image", "save", "--output", str(archive), image]
            self._checked(self.run(argv, environ=engine.endpoint.environ()), "save")
            self.call("pull", f"docker-archive:{archive}")
            archive.unlink()

    def empty(self) -> None:
        """Remove all images and the build cache."""
        for name in ("root", "run", "tmp"):
            _unmount(self.folder / name)
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "tmp").mkdir(mode=0o700, parents=True)

    @staticmethod
    def _checked(done: Done, what: str) -> Done:
        if not done:
            failed = f"`{what}` failed while images were prepared for Buildah: {done.problem}"
            step = "leave out the approach: `invoke bench --strategies ...`"
            raise EngineSetupError(failed, next_step=step, detail=done.stderr)
        return done


@contextlib.contextmanager
def buildah(folder: Path = STORE) -> Iterator[Buildah]:
    """Buildah with an empty store, which is removed afterwards."""
    found = Buildah(program=fetch("buildah"), folder=folder)
    found.empty()  # of a run that was killed
    policy = '{"default": [{"type": "insecureAcceptAnything"}]}'
    (folder / "policy.json").write_text(policy, encoding="utf-8")
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    try:
        yield found
    finally:
        found.empty()
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """Unmount what is mounted below a folder: Buildah leaves its layers mounted."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split()[1] for line in lines]
    for point in sorted(points, reverse=True):
        if point.startswith(f"{folder}/"):
            run(["umount", "--lazy", point])
