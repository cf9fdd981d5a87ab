"""The tasks: what ``invoke -l`` lists. This module only assembles them."""

from __future__ import annotations

import os
import sys

# Invoke turns bytecode off: every run would compile every module of this package anew.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

from .core.model.quiet import Quietly  # noqa: E402  (it is what is compiled)

with Quietly():
    from invoke.collection import Collection

    from . import (
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
    from .core.model import settings_file
    from .core.model.places import repository
    from .core.model.settings import DEFAULTS
    from .core.output import ending

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
