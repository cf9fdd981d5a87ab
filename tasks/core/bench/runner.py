"""Measures strategies in scenarios, in rounds: a noisy moment hits all strategies alike."""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from ..build.specs import base_of
from ..engine.bake import LOG
from ..inputs import credentials
from ..inputs.fingerprint import short
from ..model import labels
from ..model.contract import CONTRACTS
from ..model.errors import BuildFailedError
from ..model.progress import Say
from ..model.settings import REPOSITORY, Settings
from ..model.udf import image_name, scan
from ..plan.specs import BASE_REPOSITORY, python_version
from . import host, process, readiness
from .lab import HandBuild, Lab, build_argv, versions
from .layers import Layer, layers_of
from .results import Results, Sample
from .scenarios import (
    NEIGHBOUR,
    PACKAGES,
    QUICK_UDFS,
    SCENARIOS,
    SDKS,
    UDF,
    Scenario,
)
from .strategies import BASE, STRATEGIES, Strategy
from .transfer import context_bytes
from .workspace import ROOT, Workspace, pinned, sdk_of, snapshot

INVOKE: Final = (sys.executable, "-m", "invoke")
"""How the tasks are called: with the Python that runs this, from the folder it runs in."""

# containerd's collector may take a layer that an export is just unpacking on.
_FAULT: Final = re.compile(r"snapshot \S+ does not exist: not found")

_TOOLS: Final = "127.0.0.1:1/bench-tools"
_RELOCK: Final = f"""\
FROM {_TOOLS} AS locking
COPY pyproject.toml poetry.lock /project/
RUN --mount=type=bind,source=dockerfiles/base/host-settings.sh,target=/scripts/host-settings.sh \\
    --mount=type=secret,id=ca --mount=type=secret,id=netrc --mount=type=secret,id=host-env \\
    . /scripts/host-settings.sh \\
    && if [ -n "${{{host.MIRROR}:-}}" ]; then \\
        uv pip install --quiet --python /opt/poetry/bin/python poetry-plugin-pypi-mirror; \\
    fi \\
    && poetry --no-ansi --directory /project lock
FROM scratch
COPY --from=locking /project/poetry.lock /
"""


class EngineFaultError(BuildFailedError):
    """A build failed by no fault of its own, and may succeed when it is run again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to measure: one strategy in one scenario, once."""

    scenario: Scenario
    strategy: Strategy
    round: int


def jobs(
    scenarios: Sequence[Scenario], strategies: Sequence[Strategy], *, quick: bool, rounds: int = 0
) -> list[Job]:
    """What is measured, in its order. Each round begins with another strategy."""
    found = []
    for scenario in scenarios:
        mine = [each for each in strategies if each.name in scenario.strategies]
        number = rounds or (scenario.quick if quick else scenario.full)
        for turn in range(number if mine else 0):
            first = turn % len(mine)
            order = [*mine[first:], *mine[:first]]
            found += [Job(scenario=scenario, strategy=each, round=turn + 1) for each in order]
    return found


@dataclass
class Clock:
    """How long the rest will take, from what was measured and what was guessed before.

    ``warm`` are the strategies for which what others start from is built already; ``udfs`` is
    how many a job builds that builds all.
    """

    jobs: Sequence[Job]
    udfs: int = 1
    warm: set[str] = field(default_factory=set)
    _taken: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _pace: list[tuple[float, float]] = field(default_factory=list)

    def took(self, job: Job, seconds: float) -> None:
        """Take note of what a job took, with all that belongs to it."""
        self._taken.setdefault(_key(job), []).append(seconds)
        self._pace.append((seconds, self._guess(job)))

    def left(self, done: int) -> float:
        """Seconds that the jobs after the first ``done`` will take, about."""
        guessed = sum(guess for _, guess in self._pace)
        pace = sum(took for took, _ in self._pace) / guessed if guessed else 1.0
        rest = self.jobs[done:]
        cold = {job.strategy.name for job in rest if needs_warmth(job)} - self.warm
        return sum(self._expected(job, pace) for job in rest) + pace * sum(
            SCENARIOS[name].guess.get(strategy, 1.0)
            for strategy in cold
            for name in ("cold", "new-udf")
        )

    def _expected(self, job: Job, pace: float) -> float:
        taken = self._taken.get(_key(job))
        return sum(taken) / len(taken) if taken else self._guess(job) * pace

    def _guess(self, job: Job) -> float:
        seconds = job.scenario.guess.get(job.strategy.name, 1.0)
        # A second for what stands around each: changes, sizes.
        return seconds * (self.udfs if job.scenario.every else 1) + 1.0


def needs_warmth(job: Job) -> bool:
    """Whether a job starts from a UDF that was built before."""
    return not job.scenario.empty and not job.scenario.task


def _key(job: Job) -> tuple[str, str]:
    return job.scenario.name, job.strategy.name


def measure(bench: Bench, todo: Sequence[Job], results: Results, say: Say) -> None:
    """Measure ``todo`` into ``results``.

    Raises :class:`BuildFailedError` for a build that fails; what was measured before stays.
    """
    results.udfs = len(bench.udfs)
    clock = Clock(jobs=todo, udfs=len(bench.udfs), warm=bench.warm)
    for number, job in enumerate(todo):
        try:
            bench.prepare(job, todo[number:])
            start = time.perf_counter()
            sample = bench.measure(job)
        except EngineFaultError as error:
            say(f"{error.what}, by a fault of the engine: once more")
            results.repeated += 1
            bench.prepare(job, todo[number:])
            start = time.perf_counter()
            sample = bench.measure(job)
        results.samples.append(sample)
        clock.took(job, time.perf_counter() - start)
        left = clock.left(number + 1)
        say(
            f"[{number + 1}/{len(todo)}] {job.scenario.name}, {job.strategy.name}: "
            f"{sample.seconds:.2f} s{_left(left) if number + 1 < len(todo) else ''}"
        )


def _left(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"  (about {minutes:.0f} min left)" if minutes >= 1.5 else f"  (about {seconds:.0f} s left)"
    )


def describe(lab: Lab, settings: Settings, results: Results, *, quick: bool) -> None:
    """Fill in what the measurement is taken on."""
    results.measured = date.today().isoformat()
    results.quick = quick
    results.machine = host.machine()
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    about = versions(lab)
    storage = about.pop("storage")
    results.versions = {**about, **host.versions(), "pynumaflow": sdk_of(project)}
    results.engine = {
        "own": lab.own,
        "storage": storage,
        # Its registry is nobody's business.
        "python_image": settings.python_image.rpartition("/")[2],
        "python_image_state": lab.state,
    }


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Processes that ran: seconds of all, bytes of context sent, peak memory of the largest."""

    seconds: float
    sent: int
    peak: int


class Bench:
    """The state of a measurement: copies of the repository, and what their engine holds."""

    def __init__(self, *, lab: Lab, settings: Settings, quick: bool, say: Say) -> None:
        self.lab = lab
        self.settings = settings
        self.folder = lab.folder
        self.say = say
        # All copies are of one moment, whatever is edited meanwhile.
        self.repository = self.folder / "repository"
        snapshot(REPOSITORY, self.repository)
        found, _ = scan(Settings.from_config(None, root=ROOT))
        names = [udf.name for udf in found]
        self.udfs = names[:QUICK_UDFS] if quick else names
        self.environ = self._environ()
        self.secrets = self._secrets()
        self.known: dict[str, Layer] = {}
        self.counter = itertools.count(1)
        self.warm: set[str] = set()  # strategies that have built two UDFs
        self._workspaces: dict[str, Workspace] = {}
        self._roots: dict[str, tuple[str, str]] = {}
        self._held: dict[str, set[str]] = {}
        self._neighbours: dict[str, set[str]] = {}
        self._locks: dict[str, str] = {}
        self._packages: dict[str, Iterator[str]] = {}

    # --- the machine ---------------------------------------------------------------------------

    def _environ(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in self.lab.environ.items()
            if not name.startswith("INVOKE_")
        }
        clean["INVOKE_UDF_PYTHON_IMAGE"] = self.settings.python_image
        if network := self.settings.network:
            clean["INVOKE_UDF_NETWORK"] = network
        # The tasks turn attestations off for local builds; so builds by hand go without, too.
        clean["BUILDX_NO_DEFAULT_ATTESTATIONS"] = "1"
        return {**clean, **host.index(self.lab.environ)}

    def _secrets(self) -> tuple[str, ...]:
        found = credentials.gather(self.environ)
        lines = found.environment.get(credentials.HOST_ENV, "")
        if mirror := self.environ.get(host.MIRROR):
            lines += f"{host.MIRROR}={mirror}\n"
        if lines:
            self.environ[credentials.HOST_ENV] = lines
        secrets = [each for each in found.secrets if not each.startswith("id=host-env")]
        return (*secrets, *([f"id=host-env,env={credentials.HOST_ENV}"] if lines else []))

    @property
    def network(self) -> str:
        return self.settings.network or self.lab.engine.network

    def workspace(self, strategy: Strategy) -> Workspace:
        if strategy.name not in self._workspaces:
            path = self.folder / strategy.name
            python = python_version(self.settings.python_image)
            made = Workspace.copy(self.repository, path, strategy, python)
            self._workspaces[strategy.name] = made
            if strategy.task:
                # So that no measured run is the one that compiles the tasks.
                self.run([[*INVOKE, "--list"]], made, "compiling the tasks")
            if strategy.locks:
                self._lock(made, f"{ROOT}/{UDF}")
        return self._workspaces[strategy.name]

    # --- before a build ------------------------------------------------------------------------

    def prepare(self, job: Job, todo: Sequence[Job]) -> None:
        """Bring engine and copy to where the measured part begins, but for the change."""
        if job.scenario.empty:
            self.workspace(job.strategy)
            self._empty(job.strategy)
        elif needs_warmth(job) and job.strategy.name not in self.warm:
            # All at once, so that in the rounds to come none waits for another.
            for name in dict.fromkeys(each.strategy.name for each in todo if needs_warmth(each)):
                if name not in self.warm:
                    self._warm(STRATEGIES[name])
        if job.scenario.ready:
            self._ensure_base()
        unbuilt = job.scenario.every and job.strategy.name not in self._roots
        if unbuilt and job.scenario.change == "none":
            self._copy_examples(job.strategy)
            self._build_every(job.strategy, "all examples, unmeasured")

    def _empty(self, strategy: Strategy) -> None:
        self.warm.clear()
        self._held.clear()
        self._neighbours.clear()
        self._roots.clear()
        self.known.clear()
        if self.lab.own:
            self.lab.empty()
        elif strategy.task:
            # Every step is run again; what lies in cache mounts is not downloaded again.
            self.workspace(strategy).mark_scripts(f"{strategy.name} {self._mark()}")

    def _warm(self, strategy: Strategy) -> None:
        """What somebody who works with a strategy has built: two UDFs."""
        self.say(f"building two UDFs with {strategy.name}, unmeasured ...")
        workspace = self.workspace(strategy)
        if strategy.on_base:
            self._ensure_base()
        udfs = [f"{ROOT}/{NEIGHBOUR}", f"{ROOT}/{UDF}"]
        if strategy.locks:
            self._lock(workspace, udfs[0])
        commands = [self._one(workspace, udf) for udf in udfs]
        self.run(commands, workspace, f"building {UDF} with {strategy.name}")
        neighbour, mine = (self._layers(workspace, udf) for udf in udfs)
        self._neighbours[strategy.name] = {layer.name for layer in neighbour}
        self._held[strategy.name] = {layer.name for layer in (*neighbour, *mine)}
        self.warm.add(strategy.name)

    def _ensure_base(self) -> None:
        """Have the shared base, for the floor and for the client that waits for a UDF."""
        if f"{BASE}:latest" in self.lab.images():
            return
        workspace = self.workspace(STRATEGIES["shared-base"])
        self.run([[*INVOKE, "base"]], workspace, "building the base")
        self.lab.engine.tag(f"{BASE_REPOSITORY}:latest", BASE)

    def _lock(self, workspace: Workspace, *udfs: str) -> None:
        for udf in udfs:
            build = HandBuild(
                dockerfile=workspace.strategy.dockerfile,
                context=".",
                arguments=self._arguments(udf),
                target="lock",
                output=udf,
            )
            self.run([self._by_hand(build)], workspace, f"locking {udf}")

    def _copy_examples(self, strategy: Strategy) -> None:
        workspace = self.workspace(strategy)
        number = next(self.counter)
        root = workspace.copy_examples(number, self._mark(), self.udfs)
        self._roots[strategy.name] = (root, f"{_tag(strategy)}-{number}")
        if strategy.locks:
            self._lock(workspace, *(f"{root}/{name}" for name in self.udfs))

    def _sdk_lock(self, version: str) -> str:
        """The Poetry lock of this project with another version of the SDK."""
        if version not in self._locks:
            self.say(f"locking pynumaflow {version} ...")
            workspace = self.workspace(STRATEGIES["shared-base"])
            place = self.folder / f"lock-{version}"
            place.mkdir()
            (place / "dockerfiles/base").mkdir(parents=True)
            for name in ("poetry.lock", "dockerfiles/base/host-settings.sh"):
                (place / name).write_bytes((self.repository / name).read_bytes())
            project = (self.repository / "pyproject.toml").read_text(encoding="utf-8")
            (place / "pyproject.toml").write_text(pinned(project, version), encoding="utf-8")
            (place / "Dockerfile").write_text(_RELOCK, encoding="utf-8")
            tools = HandBuild(
                dockerfile="Dockerfile.base",
                context=".",
                image=_TOOLS,
                arguments={"PYTHON_IMAGE": self.settings.python_image},
                target="tools",
            )
            lock = HandBuild(
                dockerfile=f"{place}/Dockerfile", context=str(place), output=str(place)
            )
            commands = [self._by_hand(tools), self._by_hand(lock)]
            self.run(commands, workspace, f"locking pynumaflow {version}")
            self._locks[version] = (place / "poetry.lock").read_text(encoding="utf-8")
        return self._locks[version]

    # --- the measured part ---------------------------------------------------------------------

    def measure(self, job: Job) -> Sample:
        """Make the change and build, measured; then look at the image."""
        strategy, scenario = job.strategy, job.scenario
        workspace = self.workspace(strategy)
        if scenario.task:
            run = self.run([[*INVOKE, scenario.task]], workspace, scenario.task)
            return _sample(job, run.seconds)
        if scenario.every:
            if scenario.change != "none":
                self._copy_examples(strategy)
            run = self._build_every(strategy, f"{scenario.name} with {strategy.name}")
            return _sample(job, run.seconds, run.sent)
        if scenario.ready:
            return self._until_ready(job, workspace)
        udf = self._change(job, workspace)
        command = self._one(workspace, udf, cold=scenario.empty)
        run = self.run([command], workspace, f"{scenario.name} with {strategy.name}")
        sample = _sample(job, run.seconds, run.sent)
        if scenario.change == "none" and not scenario.empty:
            return sample
        self._note_base(workspace, udf)
        return self._with_sizes(sample, workspace, udf)

    def _note_base(self, workspace: Workspace, udf: str) -> None:
        """Let an engine in use forget the base in the end, where it is none of the user's."""
        if self.lab.own or workspace.strategy.task != ("image-fast",):
            return
        name = _image(workspace.strategy, udf)
        base = labels.recorded(self.lab.engine.images([name])[name].labels).base_fingerprint
        if base != base_of(self.settings).fingerprint:
            self.lab.made.add(f"{BASE_REPOSITORY}:{short(base)}")

    def _change(self, job: Job, workspace: Workspace) -> str:
        """What happens before the build; the UDF that is built then."""
        udf = f"{ROOT}/{UDF}"
        change = job.scenario.change
        if change == "line":
            workspace.edit(self._mark())
        elif change == "package":
            packages = self._packages.setdefault(job.strategy.name, itertools.cycle(PACKAGES))
            workspace.add_package(next(packages))
            if job.strategy.locks:
                self._lock(workspace, udf)
        elif change == "udf":
            udf = workspace.add_udf(next(self.counter), self._mark())
        elif change == "sdk":
            self._change_sdk(job, workspace, udf)
        return udf

    def _change_sdk(self, job: Job, workspace: Workspace, udf: str) -> None:
        project = (workspace.path / "pyproject.toml").read_text(encoding="utf-8")
        version = next(each for each in SDKS if each != sdk_of(project))
        mark = f"{job.strategy.name} {self._mark()}"
        workspace.set_sdk(version, self._sdk_lock(version), mark)
        if job.strategy.locks:
            self._lock(workspace, udf)
            workspace.mark_lock(udf, mark)

    def _until_ready(self, job: Job, workspace: Workspace) -> Sample:
        udf = f"{ROOT}/{UDF}"
        contract = CONTRACTS["map", "main"]
        method = f"/{contract.service}/IsReady"
        what = f"{job.scenario.name} with {job.strategy.name}"
        with readiness.waiting(self.lab.engine, BASE, contract.socket, method) as client:
            start = time.perf_counter()
            workspace.edit(self._mark())
            run = self.run([self._one(workspace, udf)], workspace, what)
            ready = client.start(_image(workspace.strategy, udf))
        return _sample(job, ready - start, run.sent)

    def _build_every(self, strategy: Strategy, what: str) -> Measured:
        workspace = self.workspace(strategy)
        root, tag = self._roots[strategy.name]
        if strategy.task_all:
            command = [*INVOKE, *strategy.task_all]
            environ = {"INVOKE_UDF_ROOT": root, "INVOKE_UDF_TAG": tag}
            return self.run([command], workspace, what, environ)
        commands = [self._one(workspace, f"{root}/{name}") for name in self.udfs]
        return self.run(commands, workspace, what)

    # --- commands ------------------------------------------------------------------------------

    def _one(self, workspace: Workspace, udf: str, *, cold: bool = False) -> list[str]:
        """The command that builds one UDF, as a user types it."""
        strategy = workspace.strategy
        if strategy.task:
            return [*INVOKE, *strategy.task, "--udf", udf]
        build = HandBuild(
            dockerfile=strategy.dockerfile,
            context=".",
            image=_image(strategy, udf),
            arguments=self._arguments(udf),
        )
        return self._by_hand(build, no_cache=cold and not self.lab.own)

    def _by_hand(self, build: HandBuild, *, no_cache: bool = False) -> list[str]:
        return build_argv(
            self.lab, build, network=self.network, secrets=self.secrets, no_cache=no_cache
        )

    def _arguments(self, udf: str) -> dict[str, str]:
        return {"PYTHON_IMAGE": self.settings.python_image, "EXAMPLE_PATH": udf}

    def run(
        self,
        commands: Sequence[Sequence[str]],
        workspace: Workspace,
        what: str,
        environ: Mapping[str, str] | None = None,
    ) -> Measured:
        """Run commands one after the other."""
        log, builds = self.folder / "log.txt", self.folder / "builds.txt"
        for path in (log, builds):
            path.write_text("", encoding="utf-8")
        mine = {"INVOKE_UDF_TAG": _tag(workspace.strategy), LOG: str(builds)}
        seconds, peak = 0.0, 0
        for command in commands:
            run = process.run(
                command,
                environ={**self.environ, **mine, **(environ or {})},
                cwd=workspace.path,
                log=log,
            )
            seconds += run.seconds
            peak = max(peak, run.peak)
            if run.code:
                failed = f"{what} failed"
                step = "see the lines above; nothing of your repository was changed"
                detail = process.tail(log, 30)
                if _FAULT.search(detail + process.tail(builds, 30)):
                    raise EngineFaultError(failed, next_step=step, detail=detail)
                raise BuildFailedError(failed, next_step=step, detail=detail)
        lines = itertools.chain.from_iterable(_lines(path) for path in (log, builds))
        return Measured(seconds=seconds, sent=context_bytes(lines), peak=peak)

    def _mark(self) -> str:
        return f"{os.getpid()}-{next(self.counter)}"

    # --- sizes ---------------------------------------------------------------------------------

    def _layers(self, workspace: Workspace, udf: str) -> list[Layer]:
        return layers_of(self.lab.engine, _image(workspace.strategy, udf), self.known)

    def _with_sizes(self, sample: Sample, workspace: Workspace, udf: str) -> Sample:
        """The sample with the sizes of its image; looked at in the first round only."""
        if sample.round > 1:
            return sample
        layers = self._layers(workspace, udf)
        held = self._held.get(sample.strategy, set())
        neighbour = self._neighbours.get(sample.strategy)
        new = [layer for layer in layers if layer.name not in held]
        if neighbour is not None:
            held |= {layer.name for layer in layers}
        own = [layer for layer in layers if layer.name not in (neighbour or ())]
        return Sample(
            scenario=sample.scenario,
            strategy=sample.strategy,
            round=sample.round,
            seconds=sample.seconds,
            context_bytes=sample.context_bytes,
            image_bytes=sum(layer.size for layer in layers),
            unique_bytes=None if neighbour is None else sum(layer.size for layer in own),
            new_bytes=sum(layer.size for layer in new),
            push_bytes=sum(layer.compressed for layer in new),
        )


def _tag(strategy: Strategy) -> str:
    return f"bench-{strategy.name}"


def _image(strategy: Strategy, udf: str) -> str:
    """The image of a UDF, with a path that starts with its root."""
    return f"{image_name(udf.partition('/')[2])}:{_tag(strategy)}"


def _sample(job: Job, seconds: float, sent: int | None = None) -> Sample:
    return Sample(
        scenario=job.scenario.name,
        strategy=job.strategy.name,
        round=job.round,
        seconds=seconds,
        context_bytes=sent,
    )


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file
