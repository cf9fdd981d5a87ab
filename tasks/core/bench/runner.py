"""Measures approaches in scenarios: what has to stand before, the change, the build, the sizes."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..build.specs import python_of
from ..engine.bake import LOG
from ..model.contract import CONTRACTS
from ..model.errors import BuildFailedError
from ..model.progress import Say
from ..model.settings import Settings
from ..plan.specs import BASE_REPOSITORY
from . import process, readiness, tools
from .approaches import APPROACHES, BASE, Approach
from .commands import INVOKE, NOWHERE, Build, Machine
from .jobs import Job
from .lab import Lab
from .layers import StoredLayer, layers_of
from .results import Sample
from .scenarios import SDKS
from .state import Measured, State
from .tools import Buildah, Registry
from .transfer import context_bytes
from .workspace import DATA_UDF, Place, Workspace, pinned, sdk_of

_UV_LOCK: Final = "dockerfiles/Dockerfile.uv-example"
_LOCK: Final = "dockerfiles/lock"
_TOOLS: Final = f"{NOWHERE}/tools"


class Runner:
    """The state of a measurement: copies of the repository, and what their engine holds."""

    def __init__(
        self,
        *,
        lab: Lab,
        settings: Settings,
        say: Say,
        place: Place,
        buildah: Buildah | None = None,
        registry: Registry | None = None,
        python_for: Mapping[str, str] | None = None,
    ) -> None:
        self.lab = lab
        self.settings = settings
        self.say = say
        self.place = place
        self.registry = registry
        self.python_for = python_for or {}
        self.machine = Machine.of(lab, settings, buildah)
        self._counter = itertools.count(1)
        self._known: dict[str, StoredLayer] = {}
        self._states: dict[str, State] = {}
        self._locks: dict[str, str] = {}

    def state(self, approach: Approach) -> State:
        """What an approach has; its copy is made when it is first asked for."""
        if approach.name not in self._states:
            _, python = python_of(self.settings)
            path = self.lab.folder / approach.name
            made = State(workspace=Workspace.copy(self.place.repository, path, approach, python))
            self._states[approach.name] = made
            if approach.tool == "invoke":
                # So that no measured run is the one that compiles the tasks.
                self.run([[*INVOKE, "--list"]], made.workspace, "compiling the tasks")
            if approach.tool == "buildah" and self.machine.buildah:
                self.machine.buildah.have(self.lab.engine, self.settings.python_image)
            self._lock(made, self.place.udf)
        return self._states[approach.name]

    # --- before a build ------------------------------------------------------------------------

    def prepare(self, job: Job, todo: Sequence[Job]) -> None:
        """Bring engine and copy to where the measured part begins, but for the change."""
        scenario, state = job.scenario, self.state(job.approach)
        empty = scenario.empty or (scenario.job and job.approach.tool == "buildah")
        if empty:
            self._empty(state)
        elif scenario.warm and not state.warm:
            # All at once, so that in the rounds to come none waits for another.
            for each in dict.fromkeys(each.approach for each in todo if each.scenario.warm):
                self._warm(self.state(each))
        if scenario.ready:
            self._ensure_base()
        if scenario.pushed and not (scenario.every or empty or state.pushed):
            self._edit(state)
            self._build(state, self._one(state, push=True), "pushing once")
            state.pushed = True
        if scenario.data:
            self._have_data(state, scenario.data)
        else:
            state.workspace.drop_udf(DATA_UDF)
        if scenario.every and scenario.change == "none" and not state.all:
            self._copy_examples(state)
            self._build(state, state.all, "building all examples")
        if scenario.change == "python":
            if not state.all:
                self._copy_examples(state)
            self._build(state, self._all_pushed(state), "pushing all examples")
            state.moved = self.patched_python()

    def _empty(self, state: State) -> None:
        approach = state.workspace.approach
        if approach.tool == "buildah" and self.machine.buildah:
            state.forget()
            self.machine.buildah.empty()
            self.machine.buildah.have(self.lab.engine, self.settings.python_image)
            return
        for each in self._states.values():
            each.forget()
        self._known.clear()
        if self.lab.own:
            self.lab.empty()
        elif approach.tool == "invoke":
            # Every step is run again; what lies in cache mounts is not downloaded again.
            state.workspace.mark_scripts(f"{approach.name} {self._mark()}")

    def _warm(self, state: State) -> None:
        """What somebody who works with an approach has built: two UDFs, where there are."""
        if state.warm:
            return
        self.say(f"building with {state.workspace.approach.name}, unmeasured ...")
        if state.workspace.approach.on_base:
            self._ensure_base()
        if self.place.neighbour:
            self._lock(state, self.place.neighbour)
            self._build(state, self._one(state, self.place.neighbour), "building another UDF")
            state.neighbour = set(self._held(state, self.place.neighbour))
        self._build(state, self._one(state), "building the UDF")
        state.held = (state.neighbour or set()) | self._held(state, self.place.udf)
        state.warm = True

    def _ensure_base(self) -> None:
        """Have the shared base, for the floor and for the client that waits for a UDF."""
        if f"{BASE}:latest" not in self.lab.images():
            state = self.state(APPROACHES["assembled"])
            self.run([[*INVOKE, "base"]], state.workspace, "building the base")
            self.lab.engine.tag(f"{NOWHERE}/{BASE_REPOSITORY}:latest", BASE)

    def _have_data(self, state: State, size: int) -> None:
        if (state.workspace.path / self.place.root / DATA_UDF).is_dir():
            return
        state.workspace.add_udf(DATA_UDF, self._mark(), data=size)
        self._lock(state, DATA_UDF)
        self._build(state, self._one(state, DATA_UDF), "building a UDF with data")
        state.held |= self._held(state, DATA_UDF)

    def _lock(self, state: State, *udfs: str, root: str = "", first: bool = False) -> None:
        """Make the uv.lock of UDFs, with the engine, whatever the approach builds with.

        Where an approach needs none, only those are made that exist, or a ``first`` one.
        """
        for udf in udfs:
            folder = f"{root or self.place.root}/{udf}"
            exists = (state.workspace.path / folder / "uv.lock").is_file()
            if first or exists or state.workspace.approach.locks:
                output = ("--target", "lock", "--output", folder)
                argv = self.machine.docker(_UV_LOCK, ".", *output, udf=folder)
                self.run([argv], state.workspace, f"locking {udf}")

    def _copy_examples(self, state: State) -> None:
        number, udfs = next(self._counter), self.place.udfs
        root = state.workspace.copy_examples(number, self._mark(), list(udfs))
        tag = f"{state.workspace.approach.name}-{number}"
        state.all = Build(root=root, udfs=udfs, tag=tag, every=True)
        self._lock(state, *udfs, root=root)

    def _sdk_lock(self, version: str) -> str:
        """The Poetry lock of this project with another version of the SDK."""
        if version not in self._locks:
            self.say(f"locking pynumaflow {version} ...")
            state = self.state(APPROACHES["assembled"])
            place = Path(tempfile.mkdtemp(prefix="lock-", dir=self.lab.folder))
            for name in ("poetry.lock", f"{_LOCK}/lock.sh", "dockerfiles/base/host-settings.sh"):
                shutil.copy2(self.place.repository / name, place)
            project = (self.place.repository / "pyproject.toml").read_text(encoding="utf-8")
            (place / "pyproject.toml").write_text(pinned(project, version), encoding="utf-8")
            docker, folder = self.machine.docker, str(place)
            tools = docker("Dockerfile.base", ".", "--target", "tools", "--tag", _TOOLS)
            more = ("--build-context", f"tools=docker-image://{_TOOLS}", "--output", folder)
            lock = docker(f"{_LOCK}/Dockerfile", folder, *more)
            self.run([tools, lock], state.workspace, f"locking pynumaflow {version}")
            self._locks[version] = (place / "poetry.lock").read_text(encoding="utf-8")
        return self._locks[version]

    # --- the measured part ---------------------------------------------------------------------

    def measure(self, job: Job) -> Sample:
        """Make the change and build, measured; then look at the image."""
        scenario, state = job.scenario, self.state(job.approach)
        what = f"{scenario.name} with {job.approach.name}"
        if scenario.task:
            return _sample(job, self.run([[*INVOKE, scenario.task]], state.workspace, what))
        before = self.registry.stored() if self.registry else 0
        if scenario.change == "python":
            build = replace(self._all_pushed(state), python_image=state.moved)
            return self._pushed(_sample(job, self._build(state, build, what)), before)
        if scenario.every:
            if scenario.change != "none":
                self._copy_examples(state)
            return _sample(job, self._build(state, state.all, what))
        if scenario.ready:
            return self._until_ready(job, state, what)
        udf = self._change(job, state)
        build = self._one(state, udf, push=scenario.pushed, fresh=scenario.empty)
        if not job.approach.engine:
            name = f"alone-{next(self._counter)}" if scenario.job else "alone"
            build = replace(build, alone=self.lab.folder / name)
        if platform := scenario.platform:
            assert self.registry
            place = f"{self.registry.host}/bench-{next(self._counter)}"  # has nothing of it yet
            build = build.pushed_for(platform, self.python_for[platform], place)
            # Registered for those that need it, and for no build of the tasks.
            with nullcontext() if job.approach.tool == "invoke" else tools.emulator(platform):
                return _sample(job, self._build(state, build, what))
        sample = _sample(job, self._build(state, build, what))
        if scenario.pushed:
            return self._pushed(sample, before)
        if job.round > 1 or (scenario.change == "none" and not scenario.empty):
            return sample
        return self._with_sizes(sample, state, udf)

    def _change(self, job: Job, state: State) -> str:
        """What happens before the build; the UDF that is built then."""
        scenario, workspace, udf = job.scenario, state.workspace, self.place.udf
        folder = f"{self.place.root}/{udf}"
        if scenario.data:
            udf = DATA_UDF
        if scenario.change == "line":
            self._edit(state, udf)
        elif scenario.change == "package":
            package = next(state.shared if scenario.shared else state.packages)
            locks = job.approach.tool == "invoke"  # as the page on dependencies tells users to
            if scenario.shared:
                workspace.add_package(package, f"{self.place.root}/{self.place.neighbour}")
                self._lock(state, self.place.neighbour, first=locks)
                other = self._one(state, self.place.neighbour)
                self._build(state, other, "adding the package to another UDF")
                state.held |= self._held(state, self.place.neighbour)
            workspace.add_package(package, folder)
            self._lock(state, udf, first=locks)
        elif scenario.change == "udf":
            udf = f"{udf}_{next(self._counter)}"
            workspace.add_udf(udf, self._mark())
        elif scenario.change == "sdk":
            project = (workspace.path / "pyproject.toml").read_text(encoding="utf-8")
            version = next(each for each in SDKS if each != sdk_of(project))
            mark = f"{job.approach.name} {self._mark()}"
            workspace.set_sdk(version, self._sdk_lock(version), mark)
            self._lock(state, udf)
            if job.approach.locks:
                workspace.mark_lock(folder, mark)
        return udf

    def patched_python(self) -> str:
        """Another Python image, with a file more in a layer of its own."""
        folder = self.lab.folder / "patched"
        folder.mkdir(exist_ok=True)
        (folder / "patched").write_text(self._mark(), encoding="utf-8")
        text = "ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE}\nCOPY patched /etc/\n"
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        version = python_of(self.settings)[1]
        image = f"{NOWHERE}/python:{version}-{next(self._counter)}"
        argv = self.machine.docker(f"{folder}/Dockerfile", str(folder), "--tag", image)
        self.run([argv], self.state(APPROACHES["assembled"]).workspace, "patching Python")
        return image

    def _edit(self, state: State, udf: str = "") -> None:
        state.workspace.edit(self._mark(), f"{self.place.root}/{udf or self.place.udf}")

    def _until_ready(self, job: Job, state: State, what: str) -> Sample:
        contract = CONTRACTS["map", "main"]
        method = f"/{contract.service}/IsReady"
        build = self._one(state)
        with readiness.waiting(self.lab.engine, BASE, contract.socket, method) as until_ready:
            start = time.perf_counter()
            self._edit(state)
            run = self._build(state, build, what)
            ready = until_ready(build.image(self.place.udf))
        return replace(_sample(job, run), seconds=ready - start)

    def _one(
        self, state: State, udf: str = "", *, push: bool = False, fresh: bool = False
    ) -> Build:
        registry = f"{self.registry.host}/bench" if push and self.registry else NOWHERE
        return Build(
            root=self.place.root,
            udfs=(udf or self.place.udf,),
            tag=state.workspace.approach.name,
            registry=registry,
            push=push,
            fresh=fresh and not self.lab.own,
        )

    def _all_pushed(self, state: State) -> Build:
        assert state.all
        assert self.registry
        return replace(state.all, push=True, registry=f"{self.registry.host}/bench")

    def _pushed(self, sample: Sample, before: int) -> Sample:
        """The sample with the bytes that the registry has more than before."""
        assert self.registry
        return replace(sample, push_bytes=self.registry.stored() - before)

    def _build(self, state: State, build: Build | None, what: str) -> Measured:
        assert build
        workspace = state.workspace
        if workspace.approach.tool == "bake":
            self.machine.write_bake_file(workspace.path, workspace.approach, build)
        commands = self.machine.commands(workspace.approach, build)
        return self.run(commands, workspace, what, build.environ)

    def run(
        self,
        commands: Sequence[Sequence[str]],
        workspace: Workspace,
        what: str,
        environ: Mapping[str, str] | None = None,
    ) -> Measured:
        """Run commands one after the other."""
        log, builds = self.lab.folder / "log.txt", self.lab.folder / "builds.txt"
        for path in (log, builds):
            path.write_text("", encoding="utf-8")
        mine = {LOG: str(builds), "INVOKE_UDF_REGISTRY": NOWHERE}
        seconds, peak = 0.0, 0
        for command in commands:
            run = process.run(
                command,
                environ={**self.machine.environ, **mine, **(environ or {})},
                cwd=workspace.path,
                log=log,
            )
            seconds += run.seconds
            peak = max(peak, run.peak)
            if run.code:
                failed = f"{what} failed"
                step = "see the lines above; your repository was not changed"
                detail = process.tail(log, 30)
                raise BuildFailedError(failed, next_step=step, detail=detail)
        with log.open(errors="replace") as one, builds.open(errors="replace") as other:
            sent = context_bytes(itertools.chain(one, other))
        return Measured(seconds=seconds, sent=sent, peak=peak)

    def _mark(self) -> str:
        return f"{os.getpid()}-{next(self._counter)}"

    # --- sizes ---------------------------------------------------------------------------------

    def _layers(self, state: State, udf: str) -> list[StoredLayer]:
        image, file = self._one(state).image(udf), self.lab.folder / "image.tar"
        if state.workspace.approach.tool == "buildah" and self.machine.buildah:
            save = self.machine.buildah.argv("push", image, f"docker-archive:{file}")
        else:
            save = [*self.lab.engine.endpoint.docker, "image", "save", "--output", str(file), image]
        return layers_of(save, self.machine.environ, self._known, file)

    def _held(self, state: State, udf: str) -> set[str]:
        return {layer.name for layer in self._layers(state, udf)}

    def _with_sizes(self, sample: Sample, state: State, udf: str) -> Sample:
        """The sample with the sizes of its image."""
        layers = self._layers(state, udf)
        new = [layer for layer in layers if layer.name not in state.held]
        unique = None
        if state.neighbour is not None:
            state.held |= {layer.name for layer in layers}
            unique = sum(layer.size for layer in layers if layer.name not in state.neighbour)
        return replace(
            sample,
            image_bytes=sum(layer.size for layer in layers),
            unique_bytes=unique,
            new_bytes=sum(layer.size for layer in new),
            push_bytes=sum(layer.compressed for layer in new),
        )


def _sample(job: Job, run: Measured) -> Sample:
    return Sample(
        scenario=job.scenario.name,
        strategy=job.approach.name,
        round=job.round,
        seconds=run.seconds,
        context_bytes=run.sent,
        peak_bytes=run.peak,
    )
