"""Pipelines: manifests with other references to the images of UDFs. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..inputs.pipelines import documents
from ..model.errors import ConfigError, PipelineError
from ..model.reference import ImageReference

if TYPE_CHECKING:
    from yaml.nodes import Node, ScalarNode


def named_in(text: str, names: Mapping[str, Collection[str]], udf: str, *, shown: str) -> list[str]:
    """The UDFs whose image a manifest names; ``udf`` has to be among them.

    ``names`` are the references of each UDF's image without tag and digest. ``shown`` is the file's
    name in errors. Raises :class:`PipelineError` where the text is not valid YAML or does not name
    the image of ``udf``.
    """
    images = [node.value for node in _images(text, shown)]
    found = set(map(_name, images))
    named = [name for name, own in names.items() if found & set(map(_name, own))]
    if udf not in named:
        own = " or ".join(sorted(names[udf]))
        others = ", ".join(sorted(set(images))) or "no image at all"
        what = f"{shown} does not name the image {own}: it names {others}"
        step = "correct the image there, or give the --registry that it names"
        raise PipelineError(what, next_step=step)
    return named


def with_images(text: str, images: Mapping[str, str], *, shown: str) -> str:
    """``text``, one or several YAML documents, with another reference for each of ``images``.

    These are by their reference without tag and digest. All else stays the same, byte for byte:
    comments, quotes, line ends, and text that only looks like such an entry. ``shown`` is the
    file's name in errors. Raises :class:`PipelineError` where the text is not valid YAML.
    """
    wanted = {_name(name): image for name, image in images.items()}
    mine = {_span(node): node for node in _images(text, shown) if _name(node.value) in wanted}
    parts, end = [], 0
    for (start, stop), node in sorted(mine.items()):
        # The span includes quotes and an anchor. An image reference needs no escapes, so the
        # value is in it as it is.
        at = text.rfind(node.value, start, stop)
        if at < 0:
            line = node.start_mark.line + 1
            what = f"{shown}, line {line}: the image is written with escapes"
            raise PipelineError(what, next_step="write it without backslashes, on one line")
        parts += [text[end:at], wanted[_name(node.value)]]
        end = at + len(node.value)
    return "".join([*parts, text[end:]])


def pushed(content: str, *, shown: str) -> dict[str, str]:
    """The references by digest of the UDFs that a push has written to its metadata, by UDF.

    ``shown`` is the file's name in errors. Raises :class:`ConfigError` where the content is not
    such metadata.
    """
    try:
        rows = {row["udf"]: (row["image"], row.get("digest")) for row in json.loads(content)}
        return {
            udf: ImageReference.parse(image).with_digest(digest).familiar
            for udf, (image, digest) in rows.items()
            if digest
        }
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        what = f"{shown} is not a file that a push has written with --metadata"
        raise ConfigError(what, next_step="give the file of that push") from error


def _images(text: str, shown: str) -> Iterator[ScalarNode]:
    """Every value of a key ``image``, wherever it stands."""
    import yaml

    pending: list[Any] = list(documents(text, shown))
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


def _name(image: str) -> str:
    return ImageReference.parse(image).name


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
