"""Verifies images of UDFs, several at a time."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..engine import Engine, store
from ..model.contract import CONTRACTS
from ..model.errors import UdfError
from ..model.progress import Say
from . import logs, probing
from .candidates import Candidate
from .conditions import Conditions
from .judge import judge
from .load import load_of
from .preparation import Preparation, uninterrupted
from .verdict import Part, Verdict


def verify(
    engine: Engine,
    candidates: Sequence[Candidate | Verdict],
    conditions: Conditions,
    *,
    say: Say,
    jobs: int = 0,
    preparation: Preparation | None = None,
) -> list[Verdict]:
    """The verdict on each of ``candidates``, in their order; a given verdict stays as it is.

    ``jobs`` is how many are verified at a time; 0 is as many as the machine has cores, from 2 to
    4. Nothing stays on the engine, also after an interrupt.
    """
    run_id = preparation.run_id if preparation else secrets.token_hex(8)
    jobs = jobs or max(2, min(4, os.cpu_count() or 2))
    pool = ThreadPoolExecutor(max_workers=max(1, min(jobs, len(candidates))))
    futures: list[Future[Verdict]] = []

    def one(candidate: Candidate | Verdict) -> Verdict:
        if isinstance(candidate, Verdict):
            return candidate
        start = time.monotonic()
        try:
            parts = _parts(engine, run_id, candidate, conditions, preparation)
            error = None
        except UdfError as problem:
            parts, error = (), problem
        return Verdict(
            udf=candidate.udf.name,
            kind=candidate.udf.kind,
            image=candidate.image,
            parts=parts,
            seconds=time.monotonic() - start,
            error=error,
            relaxed=candidate.udf.bounds.changes,
        )

    try:
        futures = [pool.submit(one, each) for each in candidates]
        _wait(futures, say if len(candidates) > 1 else lambda _: None)
        return [future.result() for future in futures]
    except BaseException:
        _abandon(engine, run_id, pool, futures)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(futures: Sequence[Future[Verdict]], say: Say) -> None:
    """Wait for all, and tell of each as it comes."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            verdict = future.result()
            say(f"{'ok' if verdict else 'FAILED':<6} {verdict.udf} ({verdict.seconds:.1f} s)")


def _abandon(
    engine: Engine, run_id: str, pool: ThreadPoolExecutor, futures: Sequence[Future[Verdict]]
) -> None:
    """End what still runs, and leave nothing of it."""
    with uninterrupted():
        pool.shutdown(wait=False, cancel_futures=True)
        running = [future for future in futures if not future.cancelled()]
        # Without their containers, the workers end. A worker that is creating some right now
        # has created them by the next look.
        while wait(running, timeout=0).not_done:
            store.remove_run(engine, run_id)
            wait(running, timeout=0.2)
        store.remove_run(engine, run_id)


def _parts(
    engine: Engine,
    run_id: str,
    candidate: Candidate,
    conditions: Conditions,
    preparation: Preparation | None,
) -> tuple[Part, ...]:
    parts: list[Part] = []
    for container in candidate.cases.containers():
        wanted = candidate.probe_run(container, conditions)
        prepared = preparation.take(wanted) if preparation else None
        observed = probing.run(engine, run_id, wanted, prepared)
        checks = judge(
            CONTRACTS[candidate.udf.kind, container],
            candidate.cases.of(container),
            observed,
            conditions,
        )
        errors = logs.critical_errors(observed)
        part = Part(
            container=container,
            checks=(*(() if parts else candidate.checks), *checks),
            startup=logs.startup(observed),
            load=load_of(observed),
            stop_ms=observed.stop_ms,
            log=tuple(logs.plain_log(observed)),
            traceback=logs.traceback(observed, checks),
            critical_errors=tuple((each["file"], each["text"]) for each in errors),
        )
        parts.append(part)
    return tuple(parts)
