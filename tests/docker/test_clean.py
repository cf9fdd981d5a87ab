"""`invoke clean` on a real engine: what is ours goes, what is not is never touched."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.engine import Engine, store
from tasks.core.model import labels
from tasks.core.plan.specs import LOCAL_REGISTRY
from tasks.core.upkeep import cleaning, stale_images
from tasks.core.upkeep.deps.gather import PACKAGES_LAYER
from tests.conftest import Invoke
from tests.docker.repository import add_udf


class Images:
    """Images from nothing, that a test makes and that are gone after it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.made: list[str] = []
        self.containers: list[str] = []

    def build(self, text: str, *tags: str, content: str = "", **labels: str) -> str:
        """The id of an image of the Dockerfile ``text``; it can copy from the stage `udf`."""
        context = self.folder / uuid.uuid4().hex
        context.mkdir()
        (context / "udf").mkdir()
        for name in ("x", "udf/x"):
            (context / name).write_text(content or self.mark)
        argv = [*self.engine.endpoint.buildx, "build", "--builder", self.engine.endpoint.builder]
        argv += ["--load", "--provenance=false", f"--build-context=udf={context}"]
        argv += [f"--label={name}={value}" for name, value in labels.items()]
        argv += [f"--tag={tag}" for tag in tags]
        told = context.with_suffix(".json")
        done = subprocess.run(
            [*argv, f"--metadata-file={told}", "--file=-", str(context)],
            env=self.engine.endpoint.environ(),
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # The classic image store names an image by its configuration, the other by its manifest.
        digests = json.loads(told.read_text())
        names = [digests[f"containerimage.{name}"] for name in ("digest", "config.digest")]
        (image,) = {each.id for each in self.engine.images(names).values()}
        self.made.append(image)
        return image

    def create(self, image: str, *options: str) -> str:
        """A container that was never started, as good as one that has stopped."""
        done = self.engine.docker("create", "--network=none", *options, image, "/x")
        assert done.code == 0, done.stderr
        self.containers.append(done.stdout.strip())
        return done.stdout.strip()

    def there(self) -> set[str]:
        return {image.id for _, image in self.engine.every_image()} & set(self.made)


@pytest.fixture
def images(engine: Engine, tmp_path: Path) -> Iterator[Images]:
    made = Images(engine, tmp_path)
    yield made
    for container in made.containers:
        engine.docker("rm", "--force", container)
    for image in reversed(made.made):
        engine.docker("image", "rm", "--force", image)


OURS = "FROM scratch\nCOPY --link --from=udf /*/ /udf/\n"


def marked(mark: str) -> dict[str, str]:
    return {labels.FINGERPRINT: mark, labels.NAME: f"map/{mark}"}


def test_only_what_is_ours_and_unused_goes(
    engine: Engine, images: Images, invoke: Invoke, registry: str
) -> None:
    mark = images.mark
    digest = mark[:12]
    base_labels = {labels.BASE_FINGERPRINT: mark * 2}
    tags = [
        f"{registry}/numaflow-python-base:{digest}",
        f"{registry}/numaflow-python-base:latest",
        f"{LOCAL_REGISTRY}/numaflow-python-base:{digest}",
    ]
    replaced = images.build(OURS, content="old", **marked(mark))
    unused = images.build("FROM scratch\nCOPY x /base\n", *tags, **base_labels)

    current = images.build(OURS, f"{registry}/map-x:stable", content="new", **marked(mark))
    in_use = images.build(OURS, content="stopped", **marked(mark))
    images.create(in_use)
    # Somebody's own: nameless on top of ours, on a base, and one that has nothing to do with us.
    on_ours = images.build(f"FROM {registry}/map-x:stable\nCOPY x /mine\n")
    foreign = images.build("FROM scratch\nCOPY x /foreign\n", f"{registry}/foreign:1")
    nameless = images.build("FROM scratch\nCOPY x /nameless\n")
    stopped = images.create(foreign)
    theirs = {current, in_use, on_ours, foreign, nameless}
    assert images.there() == theirs | {replaced, unused}
    cache = _foreign_cache(engine)

    dry = invoke("clean", "--registry", registry, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert images.there() == theirs | {replaced, unused}
    found = {row["id"]: row for row in json.loads(dry.stdout)}
    assert theirs & set(found) == set()
    assert found[replaced]["part"] == "images"
    assert found[replaced]["name"] == f"map/{mark}"
    assert found[unused]["part"] == "bases"
    assert all(found[each]["bytes"] > 0 for each in (replaced, unused))

    done = invoke("clean", "--registry", registry)
    assert done.returncode == 0, done.stderr
    assert "removed," in done.stdout
    assert images.there() == theirs
    assert not engine.images(tags)
    assert stopped in {each.id for each in store.containers(engine)}
    assert cache <= _foreign_cache(engine)


def test_a_base_with_an_image_on_it_stays(images: Images, invoke: Invoke, registry: str) -> None:
    name = f"{registry}/numaflow-python-base:{images.mark[:12]}"
    used = images.build(
        "FROM scratch\nCOPY x /base\n", name, **{labels.BASE_FINGERPRINT: images.mark * 2}
    )
    # Inherits the base's label, as any image on it does.
    images.build(f"FROM {name}\nCOPY x /mine\n", f"{registry}/mine:1")
    done = invoke("clean", "--registry", registry, "--only", "bases")
    assert (done.returncode, done.stdout) == (0, "nothing to clean\n"), done.stderr
    assert used in images.there()


def test_leftovers_of_a_killed_run(engine: Engine, images: Images) -> None:
    run_id = f"test{images.mark}"
    label = f"{labels.VERIFY_RUN}={run_id}"
    image = images.build("FROM scratch\nCOPY x /x\n")
    container = images.create(image, "--label", label)
    volume = engine.docker("volume", "create", "--label", label).stdout.strip()
    made = store.volumes(engine, label)
    assert [each.name for each in made] == [volume]
    mine = [each for each in store.containers(engine) if each.id == container]
    now = mine[0].created
    # A run that has just begun is left alone; two hours later it cannot be going on.
    assert cleaning.abandoned_runs(mine, made, now=now + 60) == []
    found = cleaning.abandoned_runs(mine, made, now=now + 7200)
    assert [(each.id, each.name) for each in found] == [(run_id, "1 container, 1 volume")]
    assert cleaning.remove(engine, found)[0].failure == ""
    assert container not in {each.id for each in store.containers(engine)}
    assert store.volumes(engine, label) == []


def test_build_cache_of_others_stays(engine: Engine, images: Images) -> None:
    before = {each.id for each in store.build_cache(engine)}
    images.build(OURS, content=f"ours {images.mark}")
    images.build("FROM scratch\nCOPY x /foreign\n", content=f"foreign {images.mark}")
    for image in images.made:  # so that no image holds the bytes
        engine.docker("image", "rm", "--force", image)
    records = [each for each in store.build_cache(engine) if each.id not in before]
    foreign = {each.id for each in records if each.description.endswith("COPY x /foreign")}
    assert foreign
    now = max(each.used for each in records)
    found = cleaning.unused_cache(records, older=0, now=now)
    assert found
    assert not foreign & {each.id for each in found}
    done = cleaning.remove(engine, found)
    assert [each.failure for each in done] == [""] * len(found)
    after = {each.id for each in store.build_cache(engine)}
    assert foreign <= after
    assert not {each.id for each in found} & after


def test_downloads_of_our_steps_can_be_cleaned(engine: Engine, base: str, images: Images) -> None:
    before = {each.id for each in store.build_cache(engine)}
    names = [f"numaflow-udf-test-{images.mark}", f"other-{images.mark}"]
    mounts = " ".join(f"--mount=type=cache,id={name},target=/at/{name}" for name in names)
    images.build(f"FROM {base}\nUSER 0\nRUN --network=none {mounts} true\n")
    made = [each for each in store.build_cache(engine) if each.id not in before]
    mounted = [each for each in made if any(name in each.description for name in names)]
    now = max(each.used for each in mounted)
    found = cleaning.unused_cache(mounted, older=0, now=now)
    assert [each.name for each in found] == [f"downloads: {names[0]}"]
    assert [each.failure for each in cleaning.remove(engine, found)] == [""]
    left = {each.id for each in store.build_cache(engine)}
    assert {each.id for each in mounted if names[1] in each.description} <= left
    assert found[0].id not in left


@pytest.mark.parametrize("how", [("image-fast",), ("image-fast", "--no-assemble"), ("image",)])
def test_what_the_tasks_make_is_known_as_theirs(
    how: tuple[str, ...], engine: Engine, base: str, invoke: Invoke, root: Path, tag: str
) -> None:
    assert base
    # It adds a package, so that every kind of layer is there.
    add_udf(root, "map/one", project='dependencies = ["iniconfig==2.0.0"]\n')
    done = invoke(*how, "--root", str(root), "--tag", tag, "--udf", "map/one")
    assert done.returncode == 0, done.stderr
    image = f"map-one:{tag}"
    assert stale_images.is_ours(store.history(engine, image))
    assert stale_images.is_ours(store.history(engine, base)) is False
    (layer,) = [
        each
        for each in store.history(engine, image)
        if any(mark in each.made_by for mark in PACKAGES_LAYER)
    ]
    assert layer.size > 0
    records = store.build_cache(engine)
    known = {each.id for each in cleaning.unused_cache(records, older=-1, now=time.time())}
    copies = ("--from=env /rootfs/ /", "--from=dependencies /layer/ /", "--from=udf /*/ /udf/")
    own = [
        each
        for each in records
        if each.description.endswith(copies) and not each.in_use and not each.shared
    ]
    assert own
    assert {each.id for each in own} <= known


def test_an_image_that_came_into_use_meanwhile_stays(engine: Engine, images: Images) -> None:
    image = images.build(OURS, **marked(images.mark))
    found = [
        each
        for each in stale_images.replaced_images(engine.every_image(), store.containers(engine))
        if each.id == image
    ]
    images.create(image)
    (kept,) = cleaning.remove(engine, found)
    assert kept.failure == "a container uses it"
    assert image in images.there()


def test_nothing_is_removed_for_a_wrong_flag(engine: Engine, invoke: Invoke) -> None:
    assert invoke("clean", "--older", "soon").returncode == 10
    assert invoke("clean", "--only", "all").returncode == 10


def _foreign_cache(engine: Engine) -> set[str]:
    """Records that this file has made with steps that are not ours, still there."""
    names = ("COPY x /mine", "COPY x /foreign", "COPY x /nameless")
    return {each.id for each in store.build_cache(engine) if each.description.endswith(names)}
