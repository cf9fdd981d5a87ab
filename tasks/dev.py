"""Work on one UDF: on each save, its image is built and verified."""

from __future__ import annotations

import os
import sys
import time

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.model.contract import ANSWER_SECONDS, GRACE_SECONDS, READY_SECONDS
from .core.model.errors import ConfigError, UnknownUdfError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible

with lazily():
    from .core.verification import conditions as reading
    from .core.verification import watch

_ENDED = "dev has ended; its containers and volumes are removed"


@options.verb(
    settings=("root", "registry", "tag", "python-image", "network", "builder", "sdk"),
    help={
        "udf": "the UDF to work on, by its path, such as map/even_odd",
        "ready": "seconds until the UDF must be ready",
        "answer": "seconds that an answer may take",
        "grace": "seconds from SIGTERM until the UDF must have ended",
    },
)
def dev(
    c: Context,
    settings: Settings,
    udf: str = "",
    ready: int = READY_SECONDS,
    answer: int = ANSWER_SECONDS,
    grace: int = GRACE_SECONDS,
) -> None:
    """Build and verify a UDF on each save of its files, until Ctrl-C."""

    def show(done: watch.Round) -> None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        report.show(watch.text(done, at=time.time(), colour=colour))

    if not udf:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd")
    if not settings.builds:
        what = "dev builds on an engine, and with --builder none images are made in a registry"
        raise ConfigError(what, next_step="give --builder default, which builds with Docker")
    conditions = reading.read(ready=ready, answer=answer, grace=grace, restart=False)
    with interruptible(_ENDED):
        engine = connect(settings.builder)
        workbench = watch.Workbench(engine, settings, udf, conditions, say=report.say)
        report.say(f"watching {workbench.udf.name}; Ctrl-C ends it")
        watch.follow(workbench, show=show)
