"""Verify images of UDFs: read their cases, run them with a probe, judge what happened."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ..engine import Engine, sandbox
from ..model.contract import CONTRACTS, SIDE_INPUTS_FOLDER, Contract
from ..model.errors import NotBuiltError, ProjectFileError, VerifyFailedError
from ..model.progress import Say
from ..model.settings import Settings
from ..model.udf import KINDS, Udf
from . import cases, judge
from .options import Options as Options

# A probe waits for its UDF no longer than the UDF may take to be ready.
_PREPARED_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """The verdict on one container; only a sink has more than the main one."""

    container: str
    checks: tuple[judge.Check, ...]
    startup: judge.Startup
    stop_ms: float | None = None
    log: tuple[str, ...] = ()
    traceback: str = ""
    critical_errors: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return all(self.checks)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one UDF's image. It is true where no check failed."""

    udf: str
    kind: str
    image: str
    parts: tuple[Part, ...]
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return all(self.parts)

    @property
    def checks(self) -> list[judge.Check]:
        return [check for part in self.parts for check in part.checks]

    @property
    def failed(self) -> list[judge.Check]:
        return [check for check in self.checks if not check]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One UDF with all that a verification needs, read and checked before anything runs."""

    udf: Udf
    image: str
    probe_image: str
    cases: cases.Cases = field(repr=False)


def subjects(
    engine: Engine, settings: Settings, udfs: Sequence[Udf], probe_images: Sequence[str] = ()
) -> list[Subject]:
    """Each of ``udfs`` with its cases and its image.

    The probe runs in the image of ``probe_images`` that belongs to the UDF if the engine has
    it, else in the UDF's own: both have gRPC and the stubs. Raises an error for a kind that
    is not known, for a ``cases.toml`` that cannot be used, and for an image that is not built.
    """
    found = [(udf, _cases(udf)) for udf in udfs]
    images = [udf.image(settings) for udf in udfs]
    there = engine.images([*images, *dict.fromkeys(probe_images)])
    missing = [udf for udf, image in zip(udfs, images, strict=True) if image not in there]
    if missing:
        raise _not_built(missing, settings)
    probes = dict(zip((udf.name for udf in udfs), probe_images, strict=False))
    return [
        Subject(
            udf=udf,
            image=image,
            probe_image=probe if (probe := probes.get(udf.name, "")) in there else image,
            cases=read,
        )
        for (udf, read), image in zip(found, images, strict=True)
    ]


def _cases(udf: Udf) -> cases.Cases:
    if not udf.kind:
        what = (
            f"the kind of {udf.name} is not known: neither its path nor its pyproject.toml says it"
        )
        step = f'set kind under [tool.numaflow-udf], such as kind = "map": {", ".join(KINDS)}'
        raise ProjectFileError(what, next_step=step)
    return cases.load(udf.path / "cases.toml", udf.kind)


def _not_built(missing: Sequence[Udf], settings: Settings) -> NotBuiltError:
    names = ", ".join(udf.image(settings) for udf in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    what = f"not built yet: {names}{more}"
    flags = " ".join(f"--udf {udf.name}" for udf in missing)
    return NotBuiltError(
        what, next_step=f"run `invoke image-fast {flags}`" if not more else "run `invoke image-all`"
    )


class Preparation:
    """The sandbox of a subject, made in the background while its image is built."""

    def __init__(self, engine: Engine, subject: Subject, options: Options) -> None:
        self.run_id = secrets.token_hex(8)
        container = subject.cases.containers()[0]
        contract = CONTRACTS[subject.udf.kind, container]
        self._job = _job(subject, contract, subject.cases.of(container), options)
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._since = time.monotonic()
        self._future = self._pool.submit(sandbox.prepare, engine, self.run_id, self._job)
        self._taken = False

    def take(self, job: sandbox.Job) -> sandbox.Prepared | None:
        """The sandbox, once, if it is for this job and its probe has not waited too long."""
        if self._taken or job != self._job or time.monotonic() - self._since > _PREPARED_SECONDS:
            return None
        self._taken = True
        return self._future.result()

    def close(self) -> None:
        """Remove what nobody has taken."""
        self._pool.shutdown()
        if not self._taken and self._future.exception() is None:
            with self._future.result():
                self._taken = True


@contextmanager
def preparing(
    engine: Engine, subject: Subject | None, options: Options
) -> Iterator[Preparation | None]:
    """Prepare the verification of ``subject`` while the body builds its image."""
    if subject is None:
        yield None
        return
    preparation = Preparation(engine, subject, options)
    try:
        yield preparation
    finally:
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            preparation.close()
        finally:
            signal.signal(signal.SIGINT, old)


def verify(
    engine: Engine,
    subjects: Sequence[Subject],
    options: Options,
    *,
    say: Say,
    preparation: Preparation | None = None,
) -> list[Verdict]:
    """The verdict on each of ``subjects``, several of them at a time, in their order.

    Nothing of it stays on the engine, also where it is interrupted.
    """
    run_id = preparation.run_id if preparation else secrets.token_hex(8)
    pool = ThreadPoolExecutor(max_workers=max(1, min(options.jobs, len(subjects))))
    futures: list[Future[Verdict]] = []
    try:
        futures = [
            pool.submit(_verify, engine, run_id, each, options, preparation) for each in subjects
        ]
        _wait(futures, say if len(subjects) > 1 else lambda _: None)
        return [future.result() for future in futures]
    except BaseException:
        _abandon(engine, run_id, pool, futures)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(futures: Sequence[Future[Verdict]], say: Say) -> None:
    """Wait for all, telling of each as it comes. The first that raises ends it."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            verdict = future.result()
            say(f"{'ok' if verdict else 'FAILED':<6} {verdict.udf} ({verdict.seconds:.1f} s)")


def _abandon(
    engine: Engine, run_id: str, pool: ThreadPoolExecutor, futures: Sequence[Future[Verdict]]
) -> None:
    """End what still runs, and leave nothing of it. A second Ctrl-C must not cut it short."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pool.shutdown(wait=False, cancel_futures=True)
        running = [future for future in futures if not future.cancelled()]
        # Without their containers the workers come to an end. One that is just making some
        # has made them by the next look.
        while wait(running, timeout=0).not_done:
            sandbox.sweep(engine, run_id)
            wait(running, timeout=0.2)
        sandbox.sweep(engine, run_id)
    finally:
        signal.signal(signal.SIGINT, old)


def _verify(
    engine: Engine,
    run_id: str,
    subject: Subject,
    options: Options,
    preparation: Preparation | None,
) -> Verdict:
    start = time.monotonic()
    parts = []
    for container in subject.cases.containers():
        contract = CONTRACTS[subject.udf.kind, container]
        mine = subject.cases.of(container)
        job = _job(subject, contract, mine, options)
        prepared = preparation.take(job) if preparation else None
        outcome = sandbox.run(engine, run_id, job, prepared)
        checks = judge.judge(
            contract, mine, outcome, grace=options.grace, numaflow=options.numaflow
        )
        parts.append(
            Part(
                container=container,
                checks=tuple(checks),
                startup=judge.startup(outcome),
                stop_ms=outcome.stop_ms,
                log=tuple(judge.plain_log(outcome)),
                traceback=judge.traceback(outcome, checks),
                critical_errors=tuple(
                    (item["file"], item["text"]) for item in judge.critical_errors(outcome)
                ),
            )
        )
    return Verdict(
        udf=subject.udf.name,
        kind=subject.udf.kind,
        image=subject.image,
        parts=tuple(parts),
        seconds=time.monotonic() - start,
    )


def _job(
    subject: Subject, contract: Contract, mine: Sequence[cases.Case], options: Options
) -> sandbox.Job:
    reads_side_inputs = bool(subject.cases.side_inputs) or any(c.side_inputs for c in mine)
    spec = {
        "kind": contract.kind,
        "container": contract.container,
        "ready_seconds": options.ready,
        "answer_seconds": options.answer,
        "side_inputs_folder": SIDE_INPUTS_FOLDER if reads_side_inputs else "",
        "side_inputs": cases.encoded(subject.cases.side_inputs),
        "cases": [case.spec() for case in mine],
    }
    within = sum(case.within_ms for case in mine if case.side_inputs) / 1000
    return sandbox.Job(
        image=subject.image,
        probe_image=subject.probe_image,
        spec=spec,
        env={**_POD, **_IMPORTS, "NUMAFLOW_UD_CONTAINER_TYPE": contract.type, **subject.cases.env},
        grace=options.grace,
        # A probe that hangs for a reason of its own must not hang the whole run.
        limit=options.ready + options.answer * (len(mine) + 3) + within + options.grace + 30,
    )


# What Numaflow's controller sets in the pod of a vertex, and a UDF may read.
_POD: Final = {
    "NUMAFLOW_NAMESPACE": "default",
    "NUMAFLOW_PIPELINE_NAME": "verify",
    "NUMAFLOW_VERTEX_NAME": "udf",
    "NUMAFLOW_POD": "verify-udf-0",
    "NUMAFLOW_REPLICA": "0",
}

# Python then writes the time of each import to stderr. It adds a few hundredths of a second.
_IMPORTS: Final = {"PYTHONPROFILEIMPORTTIME": "1"}


def failed(verdicts: Sequence[Verdict], detail: str = "") -> VerifyFailedError | None:
    """The error that tells of the UDFs that failed, or ``None``."""
    bad = [verdict for verdict in verdicts if not verdict]
    if not bad:
        return None
    names = ", ".join(f"{verdict.udf} ({verdict.failed[0].name})" for verdict in bad[:3])
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    step = "see docs/verify.md for what each check asks for"
    return VerifyFailedError(f"verify failed: {names}{more}", next_step=step, detail=detail)


def jobs_by_default() -> int:
    """How many UDFs at a time: a UDF mostly waits, but its start is work."""
    return max(2, min(4, os.cpu_count() or 2))
