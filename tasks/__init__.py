"""The tasks: what ``invoke -l`` lists. This module only assembles them."""

from __future__ import annotations

from importlib.util import find_spec
from invoke.collection import Collection

from tasks import build, listing
from tasks.core.settings import DEFAULTS

__all__ = ["ns"]

ns = Collection(
    build.base,
    build.image_fast,
    listing.list_udfs,
)
if find_spec("tasks.engine"):
    from tasks import engine

    ns.add_task(engine.engine)
if find_spec("tasks.verify"):
    from tasks import verify

    ns.add_task(verify.verify)
ns.configure({"udf": dict(DEFAULTS)})
