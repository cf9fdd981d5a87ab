"""Work on one UDF: at each save, its image is built and verified."""

from __future__ import annotations

import os
import sys
import time

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.engine import connect
from .core.model.errors import UnknownUdfError
from .core.model.settings import Settings
from .core.output import report
from .core.output.interrupts import interruptible
from .core.verification.options import Options

_SETTINGS = ("root", "registry", "tag", "python-image", "network", "builder", "sdk")
_ENDED = "dev has ended; its containers and volumes are removed"


@task(
    auto_shortflags=False,
    help=options.of(
        *_SETTINGS,
        udf="the UDF to work on, by its path, such as map/even_odd",
        ready="seconds that the UDF may take until it is ready",
        answer="seconds that an answer may take",
        grace="seconds that the UDF may take to end after SIGTERM",
    ),
)
@options.with_settings(*_SETTINGS)
def dev(
    c: Context,
    settings: Settings,
    udf: str = "",
    ready: int = int(Options.ready),
    answer: int = int(Options.answer),
    grace: int = int(Options.grace),
) -> None:
    """Build and verify a UDF at each save of its files, until Ctrl-C."""
    # Here, so that no other task pays for what this one needs.
    from .core.verification import watch as watching

    def show(done: watching.Round) -> None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        report.show(watching.text(done, at=time.time(), colour=colour))

    if not udf:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd")
    patience = Options(ready=ready, answer=answer, grace=grace, jobs=1)
    with interruptible(_ENDED):
        session = watching.Session(
            connect(settings.builder), settings, udf, patience, say=report.say
        )
        report.say(f"watching {session.udf.name}; Ctrl-C ends it")
        watching.follow(session, show=show)
