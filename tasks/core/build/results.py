"""The result of each image: built, pulled, pushed, unchanged or failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..engine import Engine, Image
from ..model.errors import BuildFailedError, UdfError
from ..model.loading import lazily
from ..model.reference import ImageReference
from ..model.settings import Settings
from ..model.udf import InvalidUdf
from ..plan.decide import Step

with lazily():
    from . import failures, publish

Outcome = Literal["built", "pulled", "pushed", "unchanged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one image. It is true where the image exists and is up to date.

    ``seconds`` is the wall time of the graph that it was in; ``added`` is what the image holds
    beyond its base, in bytes; ``shares`` is the same for images whose packages are one layer;
    ``from_base`` is that of what the UDF adds.
    ``step``, ``error`` and ``tail`` tell of a failure, and ``cause`` is that of a push.
    ``digest`` and ``tags`` are those in the registry.
    """

    name: str
    image: str
    result: Outcome
    reason: str = ""
    seconds: float | None = None
    added: int | None = None
    notes: tuple[str, ...] = ()
    step: str = ""
    error: str = ""
    tail: str = ""
    digest: str = ""
    tags: tuple[str, ...] = ()
    shares: str = ""
    from_base: tuple[tuple[str, str, str], ...] = ()
    cause: UdfError | None = None

    def __bool__(self) -> bool:
        return self.result != "failed"

    @property
    def reference(self) -> str:
        """What a command takes: the image, at its digest where it is in a registry."""
        if not self.digest:
            return self.image
        return ImageReference.parse(self.image).with_digest(self.digest).familiar

    def row(self) -> dict[str, Any]:
        """The result with the stable keys of ``--json``."""
        return {
            "udf": self.name,
            "image": self.image,
            "result": self.result,
            "reason": self.reason,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "bytes_added": self.added,
            "notes": list(self.notes),
            "digest": self.digest or None,
            "tags": list(self.tags),
            **({} if self else {"step": self.step, "error": self.error}),
        }


def unchanged(step: Step) -> Result:
    """The result of an image that need not be built."""
    return Result(
        name=step.spec.udf.name,
        image=step.spec.image,
        result="unchanged",
        added=step.added,
        shares=step.spec.shares,
        from_base=step.spec.extra.from_base,
        notes=step.notes,
    )


def of_invalid(udf: InvalidUdf) -> Result:
    """The result of a UDF that cannot be built as it is."""
    return Result(
        name=udf.name, image="", result="failed", error=udf.error.what, tail=udf.error.detail
    )


def of_push(name: str, image: str, published: publish.Published) -> Result:
    """The result of an image that was pushed as it is."""
    if error := published.error:
        return Result(
            name=name,
            image=image,
            result="failed",
            error=error.what,
            tail=error.detail,
            cause=error,
        )
    return Result(
        name=name, image=image, result="pushed", digest=published.digest, tags=published.tags
    )


def failed(results: Sequence[Result]) -> UdfError | None:
    """The error that ends a task of which some builds failed, else ``None``."""
    bad = [result for result in results if not result]
    if not bad:
        return None
    causes = [each.cause for each in bad if each.cause]
    if len(causes) == len(bad):
        first = causes[0]
        others = len(bad) - 1
        more = f" (and {others} more image{'s' if others > 1 else ''})" if others else ""
        return type(first)(f"{first.what}{more}", next_step=first.next_step, detail=first.detail)
    detail = "\n".join(
        "\n".join(filter(None, (f"--- {each.name}: {each.step or each.error}", each.tail)))
        for each in bad
    )
    names = ", ".join(result.name for result in bad)
    what = f"{len(bad)} of {len(results)} images could not be built: {names}"
    if len(bad) == 1:
        what = f"the image of {names} could not be built: {bad[0].step or bad[0].error}"
    fix = f"fix what the lines above show, then run `invoke image-fast --udf {bad[0].name}`"
    step = failures.next_step("\n".join(f"{each.error}\n{each.tail}" for each in bad), fix)
    return BuildFailedError(what, next_step=step, detail=detail)


def outputs(results: Sequence[Result]) -> str:
    """Image references as outputs of a CI step: ``images`` as JSON by UDF, and ``image`` of one.

    An image in a registry is named by its digest.
    """
    references = {result.name: result.reference for result in results if result}
    lines = [f"images={json.dumps(references, separators=(',', ':'))}"]
    if len(references) == 1:
        lines += [f"image={each}" for each in references.values()]
    return "".join(f"{line}\n" for line in lines)


def checksums(results: Sequence[Result]) -> str:
    """The digests and names of images in a registry, one a line, as ``sha256sum`` writes them."""
    return "".join(
        f"{result.digest.removeprefix('sha256:')}  {result.reference.partition('@')[0]}\n"
        for result in results
        if result and result.digest
    )


def metadata(
    engine: Engine | None, settings: Settings, results: Sequence[Result]
) -> list[dict[str, Any]]:
    """What is known of the images of a run, for other programs: see :func:`publish.metadata`.

    An image that was not pushed has no digest, and its size is that in the engine's store.
    """
    images = {result.name: result.image for result in results if result}
    published = {
        result.name: publish.Published(digest=result.digest, tags=result.tags)
        for result in results
        if result and result.digest
    }
    rows: dict[str, dict[str, Any]] = {}
    if published:
        registry = publish.registry_of(engine, settings)
        rows = {row["udf"]: row for row in publish.metadata(registry, images, published)}
    local = [image for name, image in images.items() if name not in rows]
    found: Mapping[str, Image] = engine.images(local) if local and engine else {}
    for name, image in images.items():
        if name not in rows and image in found:
            reference = ImageReference.parse(image)
            rows[name] = {
                "udf": name,
                "image": reference.familiar_name,
                "tags": [reference.tag],
                "digest": None,
                "reference": image,
                "size": found[image].size,
                "platforms": list(settings.targets),
            }
    return [rows[name] for name in images if name in rows]
