"""Images in the registry that nothing uses any more: found by their tags, deleted by their digest.

A registry deletes a manifest together with every tag that names it, and an index holds the
manifests of its platforms. So what any tag that stays names, or holds, is never deleted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..build.specs import base_of, bases_in_use, spec_of
from ..inputs.files import context_root
from ..inputs.fingerprint import short
from ..inputs.history import States, check_history, states_since
from ..model import labels
from ..model.errors import UdfError
from ..model.parallel import parallel
from ..model.programs import Runner, run
from ..model.reading import read_bytes
from ..model.reference import ImageReference
from ..model.settings import Settings
from ..model.udf import Udf
from ..output import report
from ..registry.client import Registry
from .leftovers import Leftover

_CONTENT: Final = re.compile(r"fp-[0-9a-f]{12}")
_BASE: Final = re.compile(r"[0-9a-f]{12}")
_SIGNATURE: Final = re.compile(r"sha256-(?P<digest>[0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_CREATED: Final = "org.opencontainers.image.created"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TEXTS: Final = (".yaml", ".yml", ".json")
_LARGEST: Final = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a digest names. ``parts`` are the manifests of an index, attestations as well.

    ``created`` is the time of its commit in seconds, 0 where it does not say.
    """

    digest: str
    parts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0

    @property
    def code(self) -> dict[str, str]:
        """The state of each file in it, by its name; empty where they are recorded as one."""
        inputs = labels.recorded(self.labels).inputs
        return {
            name.removeprefix(labels.FILE): state
            for name, state in inputs.items()
            if name.startswith(labels.FILE)
        }


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of the registry: the digest of each tag, and what each digest names.

    ``pinned`` are the digests that files of the user's repository name.
    """

    reference: ImageReference
    tags: Mapping[str, str]
    contents: Mapping[str, Content]
    pinned: frozenset[str] = frozenset()

    def held_by(self, tags: Iterable[str]) -> set[str]:
        """The digests that ``tags`` or files name, and those in the indexes among them."""
        named = {*self.pinned, *(self.tags[tag] for tag in tags)}
        return named.union(*(self.contents[digest].parts for digest in named))

    def signatures(self, digest: str) -> list[str]:
        """The tags that hold signatures and attestations about a digest."""
        return [tag for tag in self.tags if _signs(tag) == digest]


def unused(repository: Repository, kept: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The digests that can be deleted with all their tags, where the tags ``kept`` stay.

    A signature is no use of the image that it is about.
    """
    held = repository.held_by(kept)
    found: dict[str, list[str]] = {}
    for tag, digest in repository.tags.items():
        if tag not in kept and not _signs(tag) and digest not in held:
            found.setdefault(digest, []).append(tag)
    return {digest: tuple(sorted(tags)) for digest, tags in found.items()}


def used_since(
    contents: Sequence[Content], states: Sequence[States], since: float, elsewhere: Sequence[str]
) -> set[str]:
    """The digests of images that a commit after ``since`` used, or may have used.

    An image is that of a commit where it has the code of the commit. Of several with one code,
    on one base after the other, each was used until the next was made. ``elsewhere`` are the
    paths of files that do not come from the UDF's folder.
    """
    used = set()
    for each in contents:
        code = {name: state for name, state in each.code.items() if not _below(name, elsewhere)}
        matches = not code or any(code.items() <= held.items() for held in states)
        later = [
            other.created
            for other in contents
            if other.created > each.created and (not code or other.code == each.code)
        ]
        if each.created >= since or (matches and min(later, default=since) >= since):
            used.add(each.digest)
        elif not each.created and matches:
            used.add(each.digest)  # nobody knows what came after it
    return used


def _below(name: str, folders: Sequence[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _signs(tag: str) -> str:
    match = _SIGNATURE.fullmatch(tag)
    return f"sha256:{match['digest']}" if match else ""


# --- the registry -----------------------------------------------------------------------------


def find(
    registry: Registry,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    older: float,
    now: float,
    runner: Runner = run,
) -> list[Leftover]:
    """What can be deleted: images of ``udfs``, and bases, that were last used ``older`` ago.

    Raises :class:`ConfigError` without the history of the repository.
    """
    check_history(settings.root, runner=runner)
    since = now - older
    named = texts_below(context_root(settings))
    age = report.age(older)
    found: list[Leftover] = []
    bases = set()
    for udf in udfs:
        repository = _read(registry, ImageReference.parse(udf.image(settings)), named)
        ours = {tag for tag in repository.tags if _CONTENT.fullmatch(tag)}
        images = [repository.contents[repository.tags[tag]] for tag in sorted(ours)]
        images = list({each.digest: each for each in images}.values())
        states = states_since(udf.path, since, runner=runner) if images else []
        used = used_since(images, states, since, udf.include)
        own = spec_of(settings, udf).content_tag
        kept = _kept(repository, ours, used, {own}, named)
        held = repository.held_by(kept)
        bases |= {
            short(repository.contents[digest].labels.get(labels.BASE_FINGERPRINT, ""))
            for digest in held & repository.contents.keys()
        }
        why = f"no tag and no commit of the last {age} uses it"
        found += _leftovers(repository, unused(repository, kept), why)
    default = base_of(settings)
    repository = _read(registry, ImageReference.parse(default.image), named)
    ours = {tag for tag in repository.tags if _BASE.fullmatch(tag)}
    young = {each.digest for each in repository.contents.values() if each.created >= since}
    current = bases_in_use(settings, udfs)
    names = bases | {short(each.fingerprint) for each in current}
    kept = _kept(repository, ours, young, names, named)
    return [*found, *_leftovers(repository, unused(repository, kept), "no image uses it")]


def _kept(
    repository: Repository,
    ours: Collection[str],
    digests: Collection[str],
    names: Collection[str],
    named: str,
) -> set[str]:
    """The tags that stay: those that are not ours, and what is in use or named in a file."""
    kept = set()
    for tag, digest in repository.tags.items():
        if _signs(tag):
            continue
        known = (tag, digest, *repository.contents[digest].parts)
        if tag not in ours or tag in names or digest in digests or any(e in named for e in known):
            kept.add(tag)
    return kept


def _leftovers(
    repository: Repository, digests: Mapping[str, tuple[str, ...]], why: str
) -> Iterator[Leftover]:
    name = repository.reference.familiar_name
    for digest, tags in digests.items():
        yield Leftover(
            part="registry", name=f"{name}:{tags[0]}", id=f"{name}@{digest}", why=why, tags=tags
        )


def remove(registry: Registry, settings: Settings, leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Delete ``leftovers``; each is returned, with its failure where it stays.

    Tags may have moved since they were found: each repository is read again first.
    """
    named = texts_below(context_root(settings))
    done = []
    repositories: dict[str, Repository] = {}
    for each in leftovers:
        reference = ImageReference.parse(each.id)
        name = reference.familiar_name
        if name not in repositories:
            repositories[name] = _read(registry, reference, named)
        mine = [other for other in leftovers if other.name.startswith(f"{name}:")]
        gone = {tag for other in mine for tag in other.tags}
        done.append(replace(each, failure=_delete(registry, repositories[name], reference, gone)))
    return done


def _delete(
    registry: Registry, repository: Repository, reference: ImageReference, gone: Collection[str]
) -> str:
    digest = reference.digest
    kept = [tag for tag in repository.tags if tag not in gone and not _signs(tag)]
    held = repository.held_by(kept)
    if digest in held:
        return "a tag names it since it was found"
    parts = repository.contents[digest].parts if digest in repository.contents else ()
    try:
        about = [repository.tags[tag] for tag in repository.signatures(digest)]
        # Of several signatures the tag names an index, and each has a manifest in it.
        about += [part for each in about for part in _content(registry, reference, each).parts]
        # The index first: it must not be there without its parts.
        for each in (digest, *parts, *about):
            if each not in held:
                registry.delete(reference, each)
    except UdfError as error:
        return error.what
    return ""


def _read(registry: Registry, reference: ImageReference, named: str) -> Repository:
    names = [reference.with_tag(tag) for tag in registry.tags(reference)]
    digests = {name.tag: digest for name, digest in registry.digests(names).items()}
    wanted = sorted({digest for tag, digest in digests.items() if not _signs(tag)})
    lines = (line for line in named.splitlines() if reference.repository in line)
    pinned = {digest for line in lines for digest in _DIGEST.findall(line)}
    every = sorted({*wanted, *pinned})
    contents = parallel(lambda digest: _content(registry, reference, digest), every)
    return Repository(
        reference=reference,
        tags=digests,
        contents={each.digest: each for each in contents},
        pinned=frozenset(pinned),
    )


def _content(registry: Registry, reference: ImageReference, digest: str) -> Content:
    top = registry.manifest(reference.with_digest(digest))
    if top is None:
        return Content(digest=digest)
    parts = tuple(str(each["digest"]) for each in top.data.get("manifests", ()))
    said = {**(top.data.get("annotations") or {})}
    image = top
    for part in parts:
        found = registry.manifest(reference.with_digest(part))
        if found is not None and "config" in found.data:
            image = found
            break
    said = {**(image.data.get("annotations") or {}), **said}
    config = image.data.get("config") or {}
    blob = registry.blob(reference, str(config["digest"])) if "digest" in config else None
    return Content(
        digest=digest, parts=parts, labels=_labels(blob), created=_seconds(said.get(_CREATED, ""))
    )


def _labels(config: bytes | None) -> dict[str, str]:
    try:
        data: Any = json.loads(config or b"{}")
        return {str(name): str(value) for name, value in data["config"]["Labels"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def texts_below(folder: Path) -> str:
    """The YAML and JSON files of a repository as one text: pipelines name images there."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "venv"]
        for name in names:
            path = Path(place, name)
            if path.suffix in _TEXTS and path.is_file() and path.stat().st_size <= _LARGEST:
                found.append(read_bytes(path, limit=_LARGEST).decode(errors="replace"))
    return "\n".join(found)
