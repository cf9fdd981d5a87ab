"""Pipelines: the pipeline.yaml of a UDF with another reference to its image. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ..model.errors import ConfigError, PipelineError
from ..model.reference import ImageReference

if TYPE_CHECKING:
    from yaml.nodes import Node, ScalarNode


def with_image(text: str, names: Collection[str], image: str, *, shown: str) -> str:
    """``text``, one or several YAML documents, with ``image`` for each image in ``names``.

    ``names`` are references without tag and digest. All else stays the same, byte for byte:
    comments, quotes, line ends, and text that only looks like such an entry. ``shown`` is the
    file's name in errors. Raises :class:`PipelineError` where the text is not valid YAML or
    names no such image.
    """
    found = list(_images(text, shown))
    wanted = {ImageReference.parse(name).name for name in names}
    mine = {_span(node): node for node in found if ImageReference.parse(node.value).name in wanted}
    if not mine:
        others = ", ".join(sorted({node.value for node in found})) or "no image at all"
        what = f"{shown} does not name the image {' or '.join(sorted(names))}: it names {others}"
        step = "correct the image there, or give the --registry that it names"
        raise PipelineError(what, next_step=step)
    parts, end = [], 0
    for (start, stop), node in sorted(mine.items()):
        # The span includes quotes and an anchor. An image reference needs no escapes, so the
        # value is in it as it is.
        at = text.rfind(node.value, start, stop)
        if at < 0:
            line = node.start_mark.line + 1
            what = f"{shown}, line {line}: the image is written with escapes"
            raise PipelineError(what, next_step="write it without backslashes, on one line")
        parts += [text[end:at], image]
        end = at + len(node.value)
    return "".join([*parts, text[end:]])


def pushed(content: str, udf: str, *, shown: str) -> str:
    """The reference by digest of a UDF's image, from the metadata that a push has written.

    ``shown`` is the file's name in errors. Raises :class:`ConfigError` where the content is not
    such metadata or does not have the UDF.
    """
    try:
        rows = {row["udf"]: (row["image"], row.get("digest")) for row in json.loads(content)}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"{shown} is not a file that a push has written with --metadata"
        raise ConfigError(what, next_step="give the file of that push") from error
    image, digest = rows.get(udf, ("", ""))
    if not digest:
        what = f"{shown} has no digest for {udf}"
        step = f"push it: `invoke image-fast --push --metadata FILE --udf {udf}`"
        raise ConfigError(what, next_step=step)
    return ImageReference.parse(image).with_digest(digest).familiar


def _images(text: str, shown: str) -> Iterator[ScalarNode]:
    """Every value of a key ``image``, wherever it stands."""
    import yaml

    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:  # the latter: nested too deep
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        what = f"{shown}{place} is not valid YAML: {getattr(error, 'problem', '') or error}"
        raise PipelineError(what, next_step="fix that line") from error
    pending: list[Any] = [document for document in documents if document is not None]
    seen: set[int] = set()
    while pending:
        node: Node = pending.pop()
        if id(node) in seen:
            continue  # an alias
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "image" and isinstance(value, yaml.ScalarNode):
                    yield value
                pending.append(value)


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
