"""Pipelines: the pipeline.yaml of a UDF with its image at another reference. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from yaml.nodes import Node, ScalarNode

_TAG: Final = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")


def with_image(text: str, names: Collection[str], image: str, *, shown: str) -> str:
    """``text``, one or several YAML documents, with ``image`` for each image in ``names``.

    ``names`` are references without tag and digest. Everything else stays as it is, byte for
    byte: comments, quotes, line ends; and so do texts that merely look like such an entry.
    ``shown`` is the file's name in errors. Raises :class:`PipelineError` where the text is no
    YAML, and where it names no such image.
    """
    found = list(_images(text, shown))
    mine = {_span(node): node for node in found if _bare(node.value) in names}
    if not mine:
        others = ", ".join(sorted({node.value for node in found})) or "no image at all"
        what = f"{shown} does not name the image {' or '.join(sorted(names))}: it names {others}"
        step = "correct the image there, or give the --registry that it names"
        raise PipelineError(what, next_step=step)
    parts, end = [], 0
    for (start, stop), node in sorted(mine.items()):
        # The span holds quotes, and an anchor before the value, too. A value of an image's
        # grammar needs no escape, so it stands there as it is.
        at = text.rfind(node.value, start, stop)
        if at < 0:
            line = node.start_mark.line + 1
            what = f"{shown}, line {line}: the image is written with escapes"
            raise PipelineError(what, next_step="write it in one piece, without backslashes")
        parts += [text[end:at], image]
        end = at + len(node.value)
    return "".join([*parts, text[end:]])


def pushed(content: str, udf: str, *, shown: str) -> str:
    """The reference by digest of a UDF's image in the metadata that a push has written.

    ``shown`` is the file's name in errors. Raises :class:`ConfigError` where it is no such
    metadata, and where it does not hold the UDF.
    """
    try:
        rows = json.loads(content)
        by_name = {row["udf"]: row for row in rows}
    except (ValueError, TypeError, KeyError) as error:
        what = f"{shown} is not what a push writes with --metadata"
        raise ConfigError(what, next_step="give the file of that push") from error
    row = by_name.get(udf, {})
    if not row.get("digest"):
        what = f"{shown} holds no digest of {udf}"
        step = f"push it: `invoke image-fast --push --metadata FILE --udf {udf}`"
        raise ConfigError(what, next_step=step)
    return at_digest(row["image"], row["digest"])


def at_digest(image: str, digest: str) -> str:
    """``image`` without its tag, at ``digest``: a reference that never means another image."""
    return f"{_bare(image)}@{digest}"


def _bare(image: str) -> str:
    return _TAG.sub("", image.partition("@")[0])


def _images(text: str, shown: str) -> Iterator[ScalarNode]:
    """Every value of a key ``image``, wherever it stands."""
    import yaml

    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        what = f"{shown}{place} is not valid YAML: {getattr(error, 'problem', '') or error}"
        raise PipelineError(what, next_step="mend that line") from error
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
