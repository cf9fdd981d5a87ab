"""What can be deleted in a registry, by a registry in this process and a history in git."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from invoke.program import Program

from tasks import ns
from tasks.core.build import publish
from tasks.core.inputs.files import sha256
from tasks.core.model import labels
from tasks.core.model.errors import ConfigError
from tasks.core.model.reference import ImageReference
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
from tasks.core.registry.client import Registry
from tasks.core.upkeep import registry_tags
from tasks.core.upkeep.leftovers import Leftover, check_alone
from tests.unit.fake_registry import FakeRegistry, Fault, digest_of, fake_registry

DAY = 86400.0
NOW = time.time()
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
UDF, BASE = "team/map-a", "team/numaflow-python-base"


def content_tag(number: int) -> str:
    return f"fp-{number:012x}"


def base_tag(number: int) -> str:
    return f"{number:012x}"


@dataclass
class Place:
    """A registry in which a test puts images, and reads what is left."""

    registry: Registry

    def put(
        self,
        repository: str,
        *tags: str,
        code: str = "",
        base: int = 0,
        age: float = 0,
        mark: int = 0,
    ) -> str:
        """An image under ``tags``, made ``age`` days ago; its digest."""
        own = {labels.BASE_FINGERPRINT: base_tag(base) + "0" * 52} if base else {}
        if code:
            states = {"file example.py": f"644 {sha256(code.encode())[:12]}"}
            own[labels.INPUTS] = json.dumps(states)
        config = json.dumps({"config": {"Labels": own}, "mark": mark}).encode()
        blob = self.blob(repository, config)
        data = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": []}
        created = datetime.fromtimestamp(NOW - age * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        data["annotations"] = {"org.opencontainers.image.created": created}
        return self.manifest(repository, MANIFEST, data, *tags)

    def index(self, repository: str, tag: str, *parts: str, note: str = "") -> str:
        entries = [{"mediaType": MANIFEST, "digest": part, "size": 1} for part in parts]
        data = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        data["annotations"] = {"note": note}
        return self.manifest(repository, INDEX, data, tag)

    def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        digest = digest_of(content)
        connection = self.registry.connection
        answer = connection.send("POST", f"v2/{repository}/blobs/uploads/", "")
        place = connection.location(answer, repository)
        glue = "&" if "?" in place else "?"
        kind = {"Content-Type": "application/octet-stream"}
        done = connection.send(
            "PUT", f"{place}{glue}digest={digest}", "", headers=kind, body=content
        )
        assert done.ok, done.said
        return {"mediaType": "application/json", "digest": digest, "size": len(content)}

    def manifest(self, repository: str, kind: str, data: dict[str, Any], *tags: str) -> str:
        content = json.dumps(data).encode()
        for target in (digest_of(content), *tags):
            done = self.registry.connection.send(
                "PUT",
                f"v2/{repository}/manifests/{target}",
                "",
                headers={"Content-Type": kind},
                body=content,
            )
            assert done.ok, done.said
        return digest_of(content)

    def has(self, repository: str, target: str) -> bool:
        reference = ImageReference.parse(f"{self.registry.host}/{repository}:x")
        at = reference.with_digest(target) if ":" in target else reference.with_tag(target)
        return self.registry.manifest(at) is not None


def commit(top: Path, code: str, days: float) -> None:
    """A commit of ``days`` ago."""
    (top / "examples/map/a/example.py").write_text(code)
    when = f"@{int(NOW - days * DAY)} +0000"
    for arguments in (("add", "--all"), ("commit", "--quiet", "--message", code)):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            cwd=top,
            check=True,
            env={**os.environ, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when},
        )


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A repository with one UDF: v0 of 200 days ago, v1 of 100 and v2 of 10 days ago.

    Another branch has v5, which it replaced soon.
    """
    top = tmp_path / "repository"
    (top / "examples/map/a").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(top)], check=True)
    for code, days in (("v0", 200.0), ("v1", 100.0), ("v2", 10.0)):
        commit(top, code, days)
    for argv in (["checkout", "--quiet", "-b", "other"], ["checkout", "--quiet", "-"]):
        subprocess.run(["git", *argv], cwd=top, check=True)
        if "other" in argv:
            commit(top, "v5", 8.0)
            commit(top, "v6", 5.0)
    (top / "deploy.yaml").write_text(f"image: r.test/{UDF}:{content_tag(7)}\n")
    return top


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


@pytest.fixture
def place(fake: FakeRegistry) -> Place:
    return Place(Registry(fake.host, sleep=lambda _: None))


def scenario(place: Place, top: Path) -> dict[str, str]:
    """Images of each kind; the digests of those that can go, by a name."""
    put = place.put
    # No tag names it, but a manifest of the cluster does, and it shares a part with another.
    pinned = put(UDF, code="v0", age=170, mark=4)
    index = place.index(UDF, "moved", pinned, note="pinned")
    place.index(UDF, "moved", pinned, note="another")
    (top / "pinned.yaml").write_text(f"image: {place.registry.host}/{UDF}@{index}\n")
    gone = {
        "of an old commit": put(UDF, content_tag(0), code="v0", base=10, age=200),
        "on an earlier base": put(UDF, content_tag(1), code="v1", base=11, age=100),
    }
    put(UDF, content_tag(2), code="v1", base=12, age=50)  # in use until 10 days ago
    put(UDF, content_tag(3), "stable", code="v2", base=13, age=10)
    put(UDF, content_tag(4), "v1.0", code="v0", base=14, age=190)  # a release
    put(UDF, content_tag(5), code="of a branch", base=15, age=3)
    put(UDF, content_tag(7), code="v0", base=17, age=180)  # named in deploy.yaml
    put(UDF, content_tag(9), code="v5", base=18, age=170)  # a commit of another branch
    shared = put(UDF, code="v0", age=170, mark=1)
    alone = put(UDF, code="v0", age=170, mark=2)
    gone["an index"] = place.index(UDF, content_tag(8), shared, alone, pinned)
    # The tag of the pinned index goes on to another: only the file holds it and its part.
    place.index(UDF, "moved", put(UDF, code="v0", age=170, mark=5), note="x")
    gone["a part of it"] = alone
    place.index(UDF, "edge", shared, note="another with the same part")
    about = gone["of an old commit"].replace(":", "-")
    gone["a signature"] = put(UDF, f"{about}.sig", age=199, mark=3)
    gone["a signature of cosign 3"] = put(UDF, age=199, mark=6)
    gone["a signature's index"] = place.index(UDF, about, gone["a signature of cosign 3"])
    for number in (11, 12, 13, 14, 15, 17, 18):
        digest = put(BASE, base_tag(number), age=300, mark=number)
        if number == 11:
            gone["a base without images"] = digest
    put(BASE, "latest", age=300, mark=99)
    put(BASE, base_tag(21), age=5, mark=21)  # young: its images may be on their way
    put(BASE, "packages-x", age=300, mark=22)
    return gone


def settings_of(top: Path, host: str) -> Settings:
    return Settings.from_config(object(), root=str(top / "examples"), registry=f"{host}/team")


def find(place: Place, top: Path) -> list[Leftover]:
    given = settings_of(top, place.registry.host)
    return registry_tags.find(place.registry, given, discover(given), older=30 * DAY, now=NOW)


def remove(place: Place, top: Path, found: list[Leftover]) -> list[Leftover]:
    return registry_tags.remove(place.registry, settings_of(top, place.registry.host), found)


def state(place: Place) -> set[tuple[str, str]]:
    """All tags, with their repositories."""
    names = [ImageReference.parse(f"{place.registry.host}/{name}:x") for name in (UDF, BASE)]
    return {(name.repository, tag) for name in names for tag in place.registry.tags(name)}


def check_scenario(place: Place, top: Path) -> None:
    gone = scenario(place, top)
    before = state(place)
    found = find(place, top)
    assert state(place) == before  # nothing is deleted by looking
    assert {each.id.partition("@")[2] for each in found} == {
        digest
        for name, digest in gone.items()
        if name != "a part of it" and not name.startswith("a signature")
    }
    done = remove(place, top, found)
    assert [each.failure for each in done] == [""] * len(found)
    went = before - state(place)
    assert {tag for repository, tag in went if repository == UDF} == {
        *(content_tag(number) for number in (0, 1, 8)),
        *(f"{gone['of an old commit'].replace(':', '-')}{end}" for end in ("", ".sig")),
    }
    assert {tag for repository, tag in went if repository == BASE} == {base_tag(11)}
    assert not any(place.has(UDF, digest) for name, digest in gone.items() if "base" not in name)
    # What a file names by its digest is there, with its part.
    (index,) = re.findall("sha256:[0-9a-f]{64}", (top / "pinned.yaml").read_text())
    held = place.registry.manifest(
        ImageReference.parse(f"{place.registry.host}/{UDF}:x").with_digest(index)
    )
    assert held
    assert all(place.has(UDF, each["digest"]) for each in held.data["manifests"])
    # The part that another index holds is there.
    edge = place.registry.manifest(ImageReference.parse(f"{place.registry.host}/{UDF}:edge"))
    assert edge
    assert all(place.has(UDF, each["digest"]) for each in edge.data["manifests"])


def test_what_nothing_uses_goes(place: Place, history: Path) -> None:
    check_scenario(place, history)


def test_a_tag_that_moved_meanwhile(place: Place, history: Path) -> None:
    digest = scenario(place, history)["of an old commit"]
    found = find(place, history)
    old = ImageReference.parse(f"{place.registry.host}/{UDF}").with_digest(digest)
    place.registry.copy_tag(old, "stable")
    removed = remove(place, history, found)
    done = {each.id.partition("@")[2]: each.failure for each in removed}
    assert done[digest] == "a tag names it since it was found"
    assert place.has(UDF, "stable")


def test_what_the_registry_refuses_is_said(place: Place, history: Path, fake: FakeRegistry) -> None:
    scenario(place, history)
    fake.faults.append(Fault("DELETE ", status=405, times=99))
    done = remove(place, history, find(place, history))
    assert done
    assert all("does not allow images to be deleted" in each.failure for each in done)


@pytest.mark.parametrize("how", ["shallow", "none"])
def test_without_the_whole_history(place: Place, history: Path, tmp_path: Path, how: str) -> None:
    top = tmp_path / "other"
    if how == "shallow":
        argv = ["git", "clone", "--quiet", "--depth", "1", f"file://{history}", str(top)]
        subprocess.run(argv, check=True)
    else:
        (top / "examples").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"commits used"):
        find(place, top)


def test_a_repository_that_does_not_exist(place: Place, history: Path) -> None:
    assert find(place, history) == []


def test_files_that_are_recorded_as_one() -> None:
    """Whether their code is that of a commit is not known: the next image tells."""
    old, young = 100 * DAY, 5 * DAY
    first = registry_tags.Content(digest="a", created=NOW - old)
    then = registry_tags.Content(digest="b", created=NOW - old + DAY)
    last = registry_tags.Content(digest="c", created=NOW - young)
    since = NOW - 30 * DAY
    assert registry_tags.used_since([first, then, last], [], since, ()) == {"b", "c"}
    unknown = registry_tags.Content(digest="d")
    assert registry_tags.used_since([unknown], [], since, ()) == {"d"}


def test_it_is_cleaned_by_itself() -> None:
    check_alone(("registry",))
    with pytest.raises(ConfigError, match="cleaned by itself"):
        check_alone(("registry", "cache"))


@pytest.mark.parametrize(
    ("flags", "deleted"),
    [
        ((), 0),
        (("--apply",), 1),
        (("--apply", "--dry-run"), 0),
        (("--apply", "--only", "cache"), 0),
    ],
    ids=["shown first", "applied", "a dry run", "another part"],
)
def test_only_apply_deletes(
    flags: tuple[str, ...],
    deleted: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"r.test/{UDF}"
    found = Leftover(part="registry", name=f"{name}:x", id=f"{name}@sha256:1", why="nothing")
    asked: list[list[Leftover]] = []

    def remove(_: object, __: object, leftovers: list[Leftover]) -> list[Leftover]:
        asked.append(leftovers)
        return leftovers

    monkeypatch.setattr(sys.modules["tasks.clean"], "connect", lambda _: None)
    monkeypatch.setattr(publish, "registry_of", lambda *_: None)
    monkeypatch.setattr(registry_tags, "find", lambda *_, **__: [found])
    monkeypatch.setattr(registry_tags, "remove", remove)
    argv = ["invoke", "clean", "--only", "registry", "--registry", "r.test/team", *flags]
    with contextlib.suppress(SystemExit):
        Program(namespace=ns, name="invoke", binary="invoke").run(argv)
    assert len(asked) == deleted
    said = capsys.readouterr()
    word = "cleaned by itself" if "cache" in flags else "removed" if deleted else "would be removed"
    assert word in said.out + said.err
