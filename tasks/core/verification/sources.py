"""Whether images to verify are made from their UDFs as they are; builds those first that are not.

What passes is otherwise the image of yesterday, or that of another UDF.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..build import execute
from ..build.gather import plan_images
from ..build.results import failed
from ..build.specs import specs_of
from ..engine import Engine, Image
from ..inputs.fingerprint import difference
from ..inputs.recipe import Strategy
from ..inputs.selection import Selected
from ..model import labels
from ..model.errors import ImageNameError
from ..model.progress import Say
from ..model.settings import Settings
from ..model.udf import InvalidUdf, Udf
from ..plan.specs import ImageSpec
from .candidates import Candidate
from .checks import CheckResult
from .verdict import Verdict

CHECK = "source"


def built(engine: Engine, settings: Settings, selected: Selected, say: Say) -> Selected:
    """Build the images of UDFs that changed; a UDF whose build fails stands among the invalid."""
    plan = plan_images(engine, settings, selected)
    invalid = {each.name: each for each in plan.invalid}
    for result in execute.build(engine, settings, plan, say=say):
        if error := failed([result]):
            invalid.setdefault(result.name, InvalidUdf(name=result.name, error=error))
    good = tuple(udf for udf in selected.udfs if udf.name not in invalid)
    return replace(selected, udfs=good, invalid=tuple(invalid.values()))


def compared(
    engine: Engine,
    settings: Settings,
    udfs: Iterable[Udf],
    candidates: Sequence[Candidate | Verdict],
) -> list[Candidate | Verdict]:
    """``candidates`` with a warning where an image is not that of its UDF as it is.

    ``udfs`` are theirs. The image of another UDF is an error. Of an image that says nothing of
    its inputs, nothing is known: it was built by other means.
    """
    known = {udf.path: udf for udf in udfs}
    names = dict.fromkeys(each.image for each in candidates if isinstance(each, Candidate))
    images = engine.images(list(names)) if names else {}
    changed = _changed(settings, known.values(), images)

    def one(each: Candidate | Verdict) -> Candidate | Verdict:
        if isinstance(each, Verdict) or each.image not in images:
            return each
        udf = known[each.udf.path]
        owner = images[each.image].labels.get(labels.NAME, udf.name)
        if owner != udf.name:
            what = f"{each.image} is the image of UDF {owner}, and not of {udf.name}"
            step = f"build it with `invoke image-fast --udf {udf.name}`"
            error = ImageNameError(what, next_step=step)
            return Verdict(udf=each.udf.name, kind=each.udf.kind, image=each.image, error=error)
        if not (why := changed.get(udf.name)):
            return each
        detail = f"the image is not made from the UDF as it is: {why}; --build builds it first"
        warning = CheckResult(name=CHECK, status="warning", detail=detail)
        return replace(each, checks=(warning, *each.checks))

    return [one(each) for each in candidates]


def _changed(
    settings: Settings, udfs: Iterable[Udf], images: Mapping[str, Image]
) -> dict[str, str]:
    """What differs between UDFs and their images, in a few words, by the name of the UDF."""
    by_strategy: dict[Strategy, list[Udf]] = {"shared-base": [], "optimized": []}
    for udf in udfs:
        image = images.get(udf.image(settings))
        if image and image.labels.get(labels.FINGERPRINT):
            is_own = image.labels.get(labels.STRATEGY) == "optimized"
            by_strategy["optimized" if is_own else "shared-base"].append(udf)
    return {
        spec.udf.name: why
        for strategy, some in by_strategy.items()
        for spec in specs_of(settings, some, strategy)[0]
        if (why := _difference(spec, images[spec.image]))
    }


def _difference(spec: ImageSpec, image: Image) -> str:
    was = labels.recorded(image.labels)
    if was.fingerprint == spec.fingerprint or not was.inputs:
        return ""
    now = labels.files_as_one(spec.inputs) if labels.FILES in was.inputs else spec.inputs
    # An image may be for more platforms than are asked for here.
    names = [name for name, *_ in difference(was.inputs, now) if name != "platforms"]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]} changed{more}" if names else ""
