"""What counts as left behind, and what is somebody else's: from values alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.engine import Image, client_process, store
from tasks.core.engine.store import CacheRecord, Container, Layer, Volume
from tasks.core.migration import journal
from tasks.core.migration.journal import Change
from tasks.core.model import labels
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import Settings
from tasks.core.plan.specs import LOCAL_REGISTRY
from tasks.core.upkeep import cleaning, leftovers, stale_images

DIGEST = "0123456789ab" + "c" * 52
NOW = 1_000_000.0
BASE_NAME = "numaflow-python-base"
BASE_TAGS = (
    f"{BASE_NAME}:{DIGEST[:12]}",
    f"{BASE_NAME}:latest",
    f"{LOCAL_REGISTRY}/{BASE_NAME}:{DIGEST[:12]}",
)


def image(
    name: str, *layers: str, size: int = 100, labels: Mapping[str, str] | None = None
) -> Image:
    return Image(id=f"sha256:{name}", labels=labels or {}, layers=layers, size=size)


def udf(name: str, *layers: str, size: int = 100) -> Image:
    own = {labels.FINGERPRINT: DIGEST, labels.NAME: "map/x", labels.BASE_FINGERPRINT: DIGEST}
    return image(name, *layers, size=size, labels=own)


def container(of: Image, *, reference: str = "", state: str = "running") -> Container:
    return Container(id="1", image=reference or of.id, image_id=of.id, state=state, created=NOW - 5)


# --- images -----------------------------------------------------------------------------------

BASE = image("base", "python", "env", size=300, labels={labels.BASE_FINGERPRINT: DIGEST})
PYTHON = image("python", "python", size=200)


class TestReplacedImages:
    def test_one_without_a_tag_goes(self) -> None:
        old = udf("old", "python", "env", "a", size=310)
        (found,) = stale_images.replaced_images([((), old), (BASE_TAGS, BASE)], [])
        assert (found.id, found.name, found.bytes) == (old.id, "map/x", 10)
        assert found.why == "replaced (0123456789ab)"

    def test_one_with_a_tag_stays(self) -> None:
        assert stale_images.replaced_images([(("map-x:stable",), udf("new", "a"))], []) == []

    def test_one_without_our_label_stays(self) -> None:
        assert stale_images.replaced_images([((), image("foreign", "a"))], []) == []

    @pytest.mark.parametrize("state", ["running", "exited", "created", "paused"])
    def test_one_that_a_container_uses_stays(self, state: str) -> None:
        old = udf("old", "a")
        assert stale_images.replaced_images([((), old)], [container(old, state=state)]) == []


HISTORIES = [
    pytest.param("numaflow-udf code map/x: 2 files, 1 kB", True, id="ours, assembled"),
    pytest.param("COPY /*/ /udf/ # buildkit", True, id="ours"),
    pytest.param("COPY --link --from=udf /*/ /udf/ # buildkit", True, id="ours, as written"),
    pytest.param("COPY / /udf/ # buildkit", True, id="ours, as it was"),
    pytest.param("COPY x /x # buildkit", False, id="built on ours"),
    pytest.param('CMD ["sh"]', False, id="another command on ours"),
    pytest.param("COPY /*/ /udf/x/ # buildkit", False, id="another folder"),
]


def test_a_working_folder_on_ours_is_ours() -> None:
    own = Layer(made_by="COPY /*/ /udf/ # buildkit", size=1)
    folder = Layer(made_by="WORKDIR /udf/app", size=0)
    assert stale_images.is_ours([folder, own]) is True
    assert stale_images.is_ours([folder, Layer(made_by="COPY x /x", size=1), own]) is False
    assert stale_images.is_ours([folder]) is False


@pytest.mark.parametrize(("last", "ours"), HISTORIES)
def test_an_image_built_on_ours_is_not_ours(last: str, ours: bool) -> None:
    steps = [Layer(made_by=last, size=1), Layer(made_by="COPY /*/ /udf/ # buildkit", size=1)]
    assert stale_images.is_ours(steps) is ours


def test_an_image_without_history_is_not_ours() -> None:
    assert stale_images.is_ours([]) is False


class TestUnusedBases:
    @staticmethod
    def found(
        *images: stale_images.Stored,
        running: tuple[Container, ...] = (),
        repository: str = BASE_NAME,
        current: tuple[str, ...] = (),
    ) -> list[leftovers.Leftover]:
        return stale_images.unused_bases(images, running, repository=repository, current=current)

    def test_one_that_nothing_uses_goes_with_its_three_tags(self) -> None:
        (found,) = self.found((BASE_TAGS, BASE), (("python:3.13",), PYTHON))
        assert (found.id, found.tags, found.bytes) == (BASE.id, BASE_TAGS, 100)

    def test_one_that_the_next_build_starts_from_stays(self) -> None:
        assert self.found((BASE_TAGS, BASE), current=(BASE_TAGS[0],)) == []

    def test_one_with_an_image_on_it_stays_whoever_made_that(self) -> None:
        theirs = image("theirs", "python", "env", "x")
        assert self.found((BASE_TAGS, BASE), (("theirs:1",), theirs)) == []

    def test_one_that_a_container_uses_stays(self) -> None:
        probe = container(BASE, reference=BASE_TAGS[0], state="exited")
        assert self.found((BASE_TAGS, BASE), running=(probe,)) == []

    def test_one_with_a_name_that_a_person_gave_stays(self) -> None:
        assert self.found(((*BASE_TAGS, "my-base:keep"), BASE)) == []

    def test_one_with_a_tag_that_a_person_gave_stays(self) -> None:
        assert self.found(((*BASE_TAGS, f"{BASE_NAME}:keep"), BASE)) == []

    def test_an_image_built_on_a_base_is_no_base(self) -> None:
        theirs = image("theirs", "python", "env", "x", labels={labels.BASE_FINGERPRINT: DIGEST})
        assert self.found((("theirs:1",), theirs)) == []

    def test_one_by_name_alone_stays(self) -> None:
        assert self.found((BASE_TAGS, image("fake", "python"))) == []

    def test_that_of_another_registry_stays(self) -> None:
        tags = (f"registry.example/{BASE_NAME}:{DIGEST[:12]}", BASE_TAGS[2])
        assert self.found((tags, BASE)) == []
        (found,) = self.found((tags, BASE), repository=f"registry.example/{BASE_NAME}")
        assert found.tags == tags


# --- runs -------------------------------------------------------------------------------------


def run_of(name: str, age: float) -> tuple[Container, Volume]:
    marks = {labels.VERIFY_RUN: name}
    made = NOW - age
    return (
        Container(id="c", image="x", image_id="y", state="exited", created=made, labels=marks),
        Volume(name="v", created=made, labels=marks),
    )


def test_only_a_run_that_cannot_be_going_on_is_abandoned() -> None:
    old, new = run_of("old", 7200), run_of("new", 60)
    foreign = Container(id="f", image="x", image_id="y", state="running", created=0.0)
    found = cleaning.abandoned_runs([old[0], new[0], foreign], [old[1], new[1]], now=NOW)
    assert [(each.id, each.name) for each in found] == [("old", "1 container, 1 volume")]


def test_a_run_that_has_just_made_something_is_alive() -> None:
    first, _ = run_of("long", 7200)
    later, _ = run_of("long", 30)
    assert cleaning.abandoned_runs([first, later], [], now=NOW) == []


def test_the_run_of_a_process_that_has_ended_is_abandoned_at_once() -> None:
    mine = client_process.this_process()
    ended = mine[: mine.rindex(" ")] + " 1"
    for name, age, abandoned in ((ended, 1, True), (mine, 7200, False)):
        container, volume = run_of("r", age)
        labelled = {**container.labels, labels.VERIFY_CLIENT: name}
        things = [replace(container, labels=labelled)], [replace(volume, labels=labelled)]
        assert bool(cleaning.abandoned_runs(*things, now=NOW)) is abandoned


# --- the build cache --------------------------------------------------------------------------


def record(
    id_: str,
    description: str,
    *parents: str,
    kind: str = "regular",
    age: float = 864000,
    in_use: bool = False,
    shared: bool = False,
) -> CacheRecord:
    return CacheRecord(
        id=id_,
        parents=parents,
        type=kind,
        description=description,
        size=10,
        used=NOW - age,
        in_use=in_use,
        shared=shared,
    )


TOOLS = record("tools", "mount / from exec /bin/sh -c sh /scripts/install-tools.sh", "python")
MOUNT = record(
    "mount",
    "cached mount /root/.cache from exec /bin/sh -c sh /scripts/install-uv.sh with id "
    '"/numaflow-udf-pip"',
    kind="exec.cachemount",
)
LOCK = record(
    "lock",
    "mount / from exec /bin/sh -c poetry --no-ansi --directory /project export --only udf "
    "--output /requirements.txt",
    "tools",
)
ENV = record("env", "mount / from exec /bin/sh -c sh /scripts/install-env.sh", "tools")
DEPS = record("deps", "mount / from exec /bin/sh -c sh /scripts/install.sh", "env")
CODE = record("code", "[stage-7 1/1] LINK COPY --link --from=udf /*/ /udf/")


def cache(*records: CacheRecord, older: float = 86400) -> set[str]:
    return {each.id for each in cleaning.unused_cache(records, older=older, now=NOW)}


def test_the_steps_of_our_dockerfiles_are_ours() -> None:
    assert cache(TOOLS, LOCK, ENV, DEPS, CODE) == {"tools", "lock", "env", "deps", "code"}


FOREIGN = [
    record("copy", "[2/2] COPY . /app"),
    record("script", "mount / from exec /bin/sh -c sh /scripts/install.sh", "debian"),
    record("source", "local source for context", kind="source.local"),
    record("image", "pulled from docker.io/library/debian:13"),
    record(
        "mount",
        'cached mount /root/.cache from exec sh /scripts/install-tools.sh with id "x"',
        kind="exec.cachemount",
    ),
    record(
        "mount without a name",
        "cached mount /root/.cache from exec sh /scripts/install-uv.sh",
        kind="exec.cachemount",
    ),
    record("empty", ""),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda each: each.id)
def test_foreign_cache_stays(foreign: CacheRecord) -> None:
    assert cache(TOOLS, LOCK, foreign) == {"tools", "lock"}


def test_downloads_of_our_steps_go_and_say_whose_they_are() -> None:
    (found,) = cleaning.unused_cache([MOUNT], older=86400, now=NOW)
    assert (found.id, found.name, found.bytes) == ("mount", "downloads: numaflow-udf-pip", 10)


def test_cache_that_is_young_in_use_or_part_of_an_image_stays() -> None:
    text = CODE.description
    young = record("young", text, age=60)
    used = record("used", text, in_use=True)
    shared = record("shared", text, shared=True)
    assert cache(young, used, shared, CODE) == {"code"}
    assert cache(young, older=0) == {"young"}


# --- files ------------------------------------------------------------------------------------


def context(folder: Path, name: str, age: float) -> Path:
    path = folder / name
    (path / "files").mkdir(parents=True)
    (path / "files" / "example.py").write_text("12345")
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_old_contexts(tmp_path: Path) -> None:
    context(tmp_path, "young", 3600)
    old = context(tmp_path, "old", 90000)
    killed = context(tmp_path, ".new-killed", 7200)
    context(tmp_path, ".new-going-on", 5)
    found = cleaning.old_contexts(tmp_path, older=86400, now=NOW)
    assert [(each.id, each.bytes) for each in found] == [(str(killed), 5), (str(old), 5)]


def test_old_layers(tmp_path: Path) -> None:
    for name, age in (("old.tar", 90000), ("young.tar", 60), (".new-x", 7200), (".new-y", 60)):
        (tmp_path / name).write_text("12345")
        os.utime(tmp_path / name, (NOW - age, NOW - age))
    context(tmp_path, ".installing-x", 7200)
    context(tmp_path, "records", 90000)
    found = cleaning.old_contexts(tmp_path, older=86400, now=NOW)
    assert {each.name: each.bytes for each in found} == {
        "old.tar": 5,
        ".new-x": 5,
        ".installing-x": 5,
    }


def test_a_context_of_a_build_that_may_run_now_stays(tmp_path: Path) -> None:
    context(tmp_path, "just-staged", 30)
    assert cleaning.old_contexts(tmp_path, older=0, now=NOW) == []


def test_no_contexts_at_all(tmp_path: Path) -> None:
    assert cleaning.old_contexts(tmp_path / "none", older=0, now=NOW) == []


def test_backups_of_migrate(tmp_path: Path) -> None:
    folder = tmp_path / "udfs/map/x"
    folder.mkdir(parents=True)
    (folder / "Makefile").write_bytes(b"all:\n")
    (folder / "Dockerfile").write_bytes(b"FROM x\n")
    changes = [
        Change(path=folder / "Makefile", before=b"all:\n", after=None),
        Change(path=folder / "Dockerfile", before=b"FROM x\n", after=b"FROM y\n"),
        Change(path=folder / "cases.toml", before=None, after=b""),
    ]
    journal.apply(folder, changes, {})
    (folder / "notes.backup").write_text("mine\n")
    (folder / "Dockerfile.backup").write_text("somebody has changed it\n")
    settings = Settings.from_config({}, root=str(tmp_path / "udfs"))
    found = cleaning.backup_files(settings)
    assert [(each.name, each.part) for each in found] == [
        ("udfs/map/x/Makefile.backup", "backups"),
        ("udfs/map/x/.numaflow-migration.json", "backups"),
    ]
    for each in found:
        assert cleaning._remove_path(Path(each.id)) == ""
    left = {path.name for path in folder.iterdir()}
    assert left == {"Dockerfile", "Dockerfile.backup", "cases.toml", "notes.backup"}
    assert cleaning.backup_files(settings) == []


# --- what is asked for ------------------------------------------------------------------------


def test_backups_go_only_when_they_are_named() -> None:
    assert "backups" not in leftovers.parts_of([])
    assert leftovers.parts_of([], backups=True) == (*leftovers.DEFAULT_PARTS, "backups")
    assert leftovers.parts_of(["backups"], backups=True) == ("backups",)
    assert leftovers.parts_of(["cache"]) == ("cache",)


def test_an_unknown_part() -> None:
    with pytest.raises(ConfigError, match="--only 'everything'"):
        leftovers.parts_of(["everything"])


AGES = [("0s", 0), ("90s", 90), ("30min", 1800), ("12h", 43200), ("7d", 604800), ("2 w", 1209600)]


@pytest.mark.parametrize(("text", "seconds"), AGES)
def test_ages(text: str, seconds: float) -> None:
    assert leftovers.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "7 days"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ConfigError, match="not a length of time"):
        leftovers.seconds_of(text)


def test_records_of_older_engines_name_their_parent_otherwise() -> None:
    data = {"ID": "a", "Type": "regular", "Size": 1, "InUse": False, "Shared": True}
    assert store._record(data).parents == ()
    for key, value in (("Parent", "p"), ("Parents", ["p"]), (" Parents", ["p"])):
        assert store._record({**data, key: value}).parents == ("p",)
