"""The tasks: what ``invoke -l`` lists. This module only assembles them."""

from __future__ import annotations

import os
import sys

from invoke.collection import Collection

# Invoke turns bytecode off: every run would compile every module of this package anew.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

from . import (  # noqa: E402  (they are what is compiled)
    bench,
    build,
    clean,
    deps,
    dev,
    doctor,
    engine,
    init,
    listing,
    migrate,
    new,
    pipeline,
    push,
    sbom,
    verify,
    why,
)
from .core.model import settings_file  # noqa: E402
from .core.model.places import repository  # noqa: E402
from .core.model.settings import DEFAULTS  # noqa: E402
from .core.output import ending  # noqa: E402

__all__ = ["ns"]

ending.install()
settings_file.check(repository())

ns = Collection(
    bench.bench,
    build.base,
    build.image,
    build.image_all,
    build.image_fast,
    clean.clean,
    deps.deps,
    dev.dev,
    doctor.doctor,
    engine.engine,
    init.init,
    listing.list_udfs,
    migrate.migrate,
    new.new,
    pipeline.pipeline,
    push.push,
    sbom.sbom,
    verify.verify,
    why.why,
)
ns.configure({"udf": dict(DEFAULTS)})
