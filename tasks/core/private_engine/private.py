"""A private Docker engine, for a Debian machine without Docker.

Its files are in the user's cache folder, and it has a socket of its own. It installs no package
and creates no firewall rule and no network. Therefore builds use the host's network, and
containers have the host's or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ..engine.endpoint import Endpoint
from ..engine.find import DEFAULT_SOCKET, find_private, ping
from ..engine.layout import Layout
from ..model.errors import EngineSetupError
from ..model.progress import Say
from . import packages, processes

_START_SECONDS: Final = 60.0
# dockerd gives its containers 10 s to stop, and itself 5 s more.
_STOP_SECONDS: Final = 30.0

# The variables that the engine gets, to reach a registry. It outlives the shell that starts it,
# and must not get the secrets in its environment.
_PASSED_ON: Final = frozenset(
    {"HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
)

# dockerd and containerd create these in any case, for the sockets of containers and plugins.
_SHARED_FOLDERS: Final = tuple(
    Path("/run") / name for name in ("containerd/s", "containerd", "docker/plugins", "docker")
)


def bring_up(say: Say, environ: Mapping[str, str] | None = None) -> Endpoint:
    """The private engine, downloaded and started if necessary.

    It may be called twice at the same time, and after a start that was killed.
    Raises :class:`EngineSetupError` if this machine cannot run one.
    """
    environ = os.environ if environ is None else environ
    layout = Layout.of(environ)
    if (endpoint := find_private(environ)) and not packages.missing(layout):
        return endpoint
    packages.require_host()
    with locked(layout, say):
        clear_remains(layout)
        packages.ensure(layout, say)
        _start(layout, environ, say)
    endpoint = find_private(environ)
    if endpoint is None:
        what = "the private engine stopped right after its start"
        raise EngineSetupError(what, next_step=f"read its log, {layout.log}")
    return endpoint


def fetch_programs(say: Say, environ: Mapping[str, str] | None = None) -> None:
    """Make sure that the client programs are unpacked, for the user's own engine."""
    layout = Layout.of(os.environ if environ is None else environ)
    packages.require_host()
    with locked(layout, say):
        packages.ensure(layout, say)


def upgrade(say: Say, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Replace the programs where the mirror has other versions: which, as ``1.0 -> 1.1``.

    An engine that runs is stopped with its containers, and started again; its images stay.
    """
    environ = os.environ if environ is None else environ
    layout = Layout.of(environ)
    packages.require_host()
    with locked(layout, say):
        with packages.timed(say, "asking the mirror for newer programs"):
            newer = packages.outdated(layout, say)
        if newer:
            ran = _stop(layout, say)
            packages.ensure(layout, say, anew=True)
            if ran:
                _start(layout, environ, say)
    return newer


def stop(say: Say, environ: Mapping[str, str] | None = None) -> bool:
    """Stop the private engine with its containers; its images stay. Whether it was running.

    Only processes of the engine's own programs are signalled. Raises
    :class:`EngineSetupError` if one does not end.
    """
    layout = Layout.of(os.environ if environ is None else environ)
    if not layout.root.exists():
        return False
    with locked(layout, say):
        return _stop(layout, say)


def remove(say: Say, environ: Mapping[str, str] | None = None) -> bool:
    """Stop the private engine and delete all its files. Whether it had any."""
    layout = Layout.of(os.environ if environ is None else environ)
    if not layout.root.exists():
        return False
    with locked(layout, say):
        _stop(layout, say)
        _unmount(layout.root)
        with packages.timed(say, f"deleting {layout.root}"):
            shutil.rmtree(layout.root)
        if not DEFAULT_SOCKET.exists():
            _remove_empty(_SHARED_FOLDERS)
        layout.lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the project may have other files in it
        layout.lock.parent.rmdir()
    return True


@contextlib.contextmanager
def locked(layout: Layout, say: Say) -> Iterator[None]:
    """Hold the lock of the private engine; wait for another run that has it."""
    while True:
        layout.lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another run that is setting up the engine ...")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_file(descriptor, layout.lock):
                continue  # `--remove` deleted the file meanwhile: lock the new one
            layout.root.mkdir(exist_ok=True)
            layout.root.chmod(0o700)  # it holds registry logins, and what root runs
            for folder in layout.root.glob(".*-*"):  # half-made by a run that was killed
                _unmount(folder)
                shutil.rmtree(folder)
            yield
            return
        finally:
            os.close(descriptor)


def argv(layout: Layout) -> list[str]:
    """How dockerd is started."""
    return [
        str(layout.bin / "dockerd"),
        f"--config-file={layout.daemon_config}",
        f"--host=unix://{layout.socket}",
        # By default the socket would belong to the group "docker", if it exists.
        "--group=root",
        f"--data-root={layout.data}",
        f"--exec-root={layout.exec}",
        f"--pidfile={layout.pidfile}",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--log-level=warn",
    ]


def daemon_config(snapshotter: str = "") -> dict[str, object]:
    """The content of ``daemon.json``."""
    config: dict[str, object] = {
        # containerd's image store, which holds images of several platforms.
        "features": {"containerd-snapshotter": True},
        "builder": {"gc": {"enabled": True, "defaultKeepStorage": "20GB"}},
    }
    if snapshotter:
        config["storage-driver"] = snapshotter
    return config


def daemon_environ(environ: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """The environment of dockerd: its own programs first, proxies and certificates."""
    passed = {name: value for name, value in environ.items() if name.upper() in _PASSED_ON}
    path = environ.get("PATH") or os.defpath
    # iptables, mount and their like are in the sbin folders, which a user's PATH may lack.
    return {**passed, "PATH": f"{layout.bin}:{path}:/usr/local/sbin:/usr/sbin:/sbin"}


def clear_remains(layout: Layout) -> None:
    """Remove what a crashed engine left: processes, mounts, sockets."""
    own = processes.own(layout.programs)
    if daemons := processes.daemon(own):
        # Not stopped here, since it may be building.
        if processes.wait(lambda: not ping(layout.socket), 10.0):
            return
        what = f"the private engine runs (pid {daemons[0].pid}) but does not answer"
        raise EngineSetupError(what, next_step="`invoke engine --stop`, then try again")
    if not processes.end(own, 5.0):
        what = "processes of an earlier private engine do not end"
        raise EngineSetupError(what, next_step=f"see `ps {own[0].pid}`, or reboot")
    _clear_state(layout)


def _start(layout: Layout, environ: Mapping[str, str], say: Say) -> None:
    if not ping(layout.socket):
        return  # another run has brought it up
    layout.exec.mkdir(mode=0o700, parents=True)
    layout.state.chmod(0o700)
    layout.data.mkdir(mode=0o710, exist_ok=True)
    plugins = layout.config / "cli-plugins"
    plugins.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = plugins / "docker-buildx"
    link.unlink(missing_ok=True)
    link.symlink_to(layout.buildx)
    snapshotter = "" if _overlay_works(layout) else "native"
    if snapshotter:
        say("overlayfs does not work on this file system: the engine copies each layer (slow)")
    layout.daemon_config.write_text(json.dumps(daemon_config(snapshotter), indent=2) + "\n")
    opt = Path("/opt/containerd")
    had_opt = opt.exists()
    with packages.timed(say, "starting the private engine"):
        # In a session of its own and without this process's files: it has to outlive this run,
        # and readers of this run's output must not wait for it.
        with layout.log.open("w", encoding="utf-8") as log:
            subprocess.run(
                ["setsid", "--fork", *argv(layout)],  # noqa: S607 (essential on Debian)
                env=daemon_environ(environ, layout),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )
        if not processes.wait(lambda: not ping(layout.socket) or _is_dead(layout), _START_SECONDS):
            _fail(layout, f"the private engine does not answer within {_START_SECONDS:.0f} s")
        if ping(layout.socket):
            _fail(layout, "the private engine did not start")
        layout.socket.chmod(0o600)
    if not had_opt:
        # containerd creates these empty folders for plugins, which are not used here.
        _remove_empty((opt / "bin", opt / "lib", opt))


def _is_dead(layout: Layout) -> bool:
    """Whether dockerd has ended. Right after the fork it may not run yet."""

    def begun() -> bool:
        return bool(processes.daemon(processes.own(layout.programs)))

    return not processes.wait(begun, 1.0)


def _fail(layout: Layout, what: str) -> None:
    log = layout.log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    _end(layout)
    step = f"read its log, {layout.log}; a private engine needs the rights to mount file systems"
    raise EngineSetupError(what, next_step=step, detail="\n".join(log[-8:]))


def _stop(layout: Layout, say: Say) -> bool:
    if not processes.own(layout.programs):
        _clear_state(layout)
        return False
    with packages.timed(say, "stopping the private engine"):
        _end(layout)
    return True


def _end(layout: Layout) -> None:
    """Stop dockerd, which stops its containers and containerd; then what is left."""
    own = processes.own(layout.programs)
    processes.end(processes.daemon(own), _STOP_SECONDS)
    left = processes.own(layout.programs)
    known = {(each.pid, each.started) for each in left}
    left += [each for each in own if (each.pid, each.started) not in known]
    if not processes.end(left, 5.0):
        pids = ", ".join(str(each.pid) for each in left)
        what = f"processes of the private engine do not end: {pids}"
        raise EngineSetupError(
            what, next_step="wait until their work is done, then run `invoke engine --stop` again"
        )
    _clear_state(layout)


def _clear_state(layout: Layout) -> None:
    _unmount(layout.state)
    _unmount(layout.data)
    if layout.state.exists():
        shutil.rmtree(layout.state)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """The mount points at or below ``folder``, the last mounted first (proc_pid_mountinfo(5))."""
    top = os.path.realpath(folder)
    points = [_unescaped(line.split()[4]) for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point == top or point.startswith(top + "/")]


def _unmount(folder: Path) -> None:
    """Unmount everything at or below ``folder``, so that nothing is deleted through a mount."""
    mountinfo = Path("/proc/self/mountinfo")
    for point in mounts_below(folder, mountinfo.read_text(encoding="utf-8")):
        packages.run(["umount", point], f"unmounting {point}")
    left = mounts_below(folder, mountinfo.read_text(encoding="utf-8"))
    if left:
        what = f"still mounted below {folder}: {left[0]}"
        raise EngineSetupError(what, next_step=f"`umount {left[0]}`, then try again")


def _unescaped(point: str) -> str:
    # The kernel writes a space, tab, newline and backslash in octal.
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def _overlay_works(layout: Layout) -> bool:
    """Whether overlayfs works in the data folder; inside a container it may not."""
    work = layout.root / ".try-overlay"
    lower, upper, inner, target = (work / name for name in ("lower", "upper", "work", "target"))
    for folder in (lower, upper, inner, target):
        folder.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={inner}"
    try:
        # In a mount namespace of its own, so the mount is gone with the process.
        packages.run(
            ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, target],
            "mounting an overlay",
        )
    except EngineSetupError:
        return False
    else:
        return True
    finally:
        shutil.rmtree(work)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # missing, or not empty
            folder.rmdir()


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
