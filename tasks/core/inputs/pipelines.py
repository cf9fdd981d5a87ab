"""Numaflow's manifests: the containers of UDFs that they run, and how they run them.

Manifests of other kinds, and vertices that run no image, give nothing. What is read are
``Pipeline``, ``MonoVertex`` and ``ServingPipeline`` of ``numaflow.numaproj.io/v1alpha1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..model.errors import PipelineError, UdfError
from ..model.reading import read_bytes, read_text, shown
from ..model.reference import ImageReference
from ..model.udf import Udf

if TYPE_CHECKING:
    from yaml.nodes import Node

    from .selection import Selected

Place = Literal[
    "source", "transformer", "udf", "sink", "fallback", "onSuccess", "side input", "store"
]

API: Final = "numaflow.numaproj.io/"
MAPS: Final = ("map", "mapstream", "batchmap")
_KINDS: Final[Mapping[Place, tuple[str, ...]]] = {
    "source": ("source",),
    "transformer": ("sourcetransform",),
    "sink": ("sink",),
    "fallback": ("sink",),
    "onSuccess": ("sink",),
    "side input": ("sideinput",),
    "store": (),
}
_OF_WINDOWS: Final[Mapping[str, tuple[str, ...]]] = {"session": (), "accumulator": ("accumulator",)}
ENDINGS: Final = (".yaml", ".yml")
"""How the name of a file with manifests ends."""
_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, kw_only=True)
class Use:
    """One container of a manifest: what its vertex runs, and where that stands.

    ``env`` gives ``None`` for a value that the cluster has, such as that of a Secret. ``window``
    is that of a vertex that groups: ``fixed``, ``sliding``, ``session`` or ``accumulator``.
    """

    path: Path
    line: int
    resource: str
    vertex: str
    place: Place
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    window: str = ""
    streaming: bool = False

    @property
    def where(self) -> str:
        """The file and the line of the image, as a person reads them."""
        return f"{shown(self.path)}:{self.line}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of UDF that can stand there; none where the SDK has no server for it."""
        if self.place != "udf":
            return _KINDS[self.place]
        if self.window in ("fixed", "sliding"):
            return ("reducestream",) if self.streaming else ("reduce",)
        return _OF_WINDOWS.get(self.window, MAPS)

    @property
    def literal_env(self) -> dict[str, str]:
        """The environment variables whose values are in the manifest."""
        return {name: value for name, value in self.env.items() if value is not None}

    def names(self, udf: Udf) -> bool:
        """Whether the image is that of ``udf``, in whatever registry and with whatever tag."""
        name = ImageReference.parse(self.image).familiar_name
        return name == udf.repository or name.endswith(f"/{udf.repository}")


def manifests(folder: Path) -> list[Path]:
    """The manifests of Numaflow in a folder, without those in folders below it."""
    found = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    return [path for path in found if is_manifest(path)]


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of Numaflow, valid or not."""
    try:
        return API.encode() in read_bytes(path)
    except UdfError:
        return False


def uses_of(udf: Udf) -> list[Use]:
    """What the manifests in the folder of a UDF say of its image."""
    return [use for path in manifests(udf.path) for use in read(path) if use.names(udf)]


def read(path: Path) -> list[Use]:
    """The containers of a file with manifests; :class:`PipelineError` where it is not YAML."""
    return list(parse(read_text(path, error=PipelineError), path))


def named(selected: Selected, uses: Iterable[Use], name: str) -> Selected:
    """Those of the selected UDFs whose image ``uses`` name; ``name`` is the manifest's in errors.

    Raises :class:`PipelineError` where there is none.
    """
    uses = list(uses)
    udfs = tuple(udf for udf in selected.udfs if any(use.names(udf) for use in uses))
    if not udfs:
        images = ", ".join(sorted({use.image for use in uses})) or "no image of a UDF"
        what = f"{name} names the image of no UDF that is selected: it names {images}"
        raise PipelineError(what, next_step="correct the image there, or select its UDF")
    return replace(selected, udfs=udfs, invalid=())


def parse(text: str, path: Path) -> Iterator[Use]:
    """The same of the text of such a file."""
    for document in documents(text, shown(path)):
        root = _table(document)
        if not _text(root.get("apiVersion")).startswith(API):
            continue
        kind, spec = _text(root.get("kind")), _table(root.get("spec"))
        name = _text(_table(root.get("metadata")).get("name"))
        reader = _Reader(path, f"{kind} {name}".strip())
        if kind == "Pipeline":
            yield from reader.pipeline(spec)
        elif kind == "MonoVertex":
            yield from reader.vertex(spec, name)
        elif kind == "ServingPipeline":
            store = _table(_table(spec.get("serving")).get("store"))
            yield from reader.container(store, "serving", "store")
            yield from reader.pipeline(_table(spec.get("pipeline")))


def documents(text: str, name: str) -> list[Node]:
    """The documents of YAML; raises :class:`PipelineError`. ``name`` is the file's in errors."""
    import yaml

    try:
        return [each for each in yaml.compose_all(text, Loader=yaml.SafeLoader) if each is not None]
    except (yaml.YAMLError, RecursionError) as error:  # the latter: nested too deep
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        what = f"{name}{place} is not valid YAML: {getattr(error, 'problem', '') or error}"
        raise PipelineError(what, next_step="fix that line") from error


class _Reader:
    """Walks the parts of one manifest that can hold a container."""

    def __init__(self, path: Path, resource: str) -> None:
        self.path = path
        self.resource = resource

    def pipeline(self, spec: Mapping[str, Node]) -> Iterator[Use]:
        for each in _list(spec.get("sideInputs")):
            table = _table(each)
            yield from self.container(table, _text(table.get("name")), "side input")
        for each in _list(spec.get("vertices")):
            table = _table(each)
            yield from self.vertex(table, _text(table.get("name")))

    def vertex(self, table: Mapping[str, Node], name: str) -> Iterator[Use]:
        source, sink = _table(table.get("source")), _table(table.get("sink"))
        yield from self.container(_table(source.get("udsource")), name, "source")
        yield from self.container(_table(source.get("transformer")), name, "transformer")
        yield from self.container(_table(table.get("udf")), name, "udf")
        yield from self.container(_table(sink.get("udsink")), name, "sink")
        others: tuple[Place, ...] = ("fallback", "onSuccess")
        for place in others:
            other = _table(_table(sink.get(place)).get("udsink"))
            yield from self.container(other, name, place)

    def container(self, holder: Mapping[str, Node], name: str, place: Place) -> Iterator[Use]:
        container = _table(holder.get("container"))
        image = container.get("image")
        if image is None or not _text(image):
            return
        window, streaming = _window(_table(holder.get("groupBy")))
        yield Use(
            path=self.path,
            line=image.start_mark.line + 1,
            resource=self.resource,
            vertex=name,
            place=place,
            image=_text(image),
            command=_texts(container.get("command")),
            args=_texts(container.get("args")),
            env=dict(_variables(container.get("env"))),
            mounts=tuple(
                _text(_table(each).get("mountPath"))
                for each in _list(container.get("volumeMounts"))
            ),
            window=window,
            streaming=streaming,
        )


def _window(group: Mapping[str, Node]) -> tuple[str, bool]:
    for name, options in _table(group.get("window")).items():
        return name, _text(_table(options).get("streaming")).lower() == "true"
    return "", False


def _variables(node: Node | None) -> Iterator[tuple[str, str | None]]:
    for each in _list(node):
        table = _table(each)
        if name := _text(table.get("name")):
            yield name, None if "valueFrom" in table else _text(table.get("value"))


def _table(node: Any) -> dict[str, Node]:  # noqa: ANN401 (a node of any kind, or none)
    """The values of a mapping by their keys, those that it merges in (``<<``) as well."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return {}
    merged: dict[str, Node] = {}
    own: dict[str, Node] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for each in _list(value) or [value]:
                merged |= {name: item for name, item in _table(each).items() if name not in merged}
        elif isinstance(key, yaml.ScalarNode):
            own[key.value] = value
    return merged | own


def _list(node: Node | None) -> Iterable[Node]:
    import yaml

    return node.value if isinstance(node, yaml.SequenceNode) else []


def _text(node: Node | None) -> str:
    import yaml

    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _texts(node: Node | None) -> tuple[str, ...]:
    return tuple(map(_text, _list(node)))
