"""The Dockerfiles: what they have in common is the same text, and what keeps them fast."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.core.inputs.ignore import Ignore
from tasks.core.inputs.recipe import BASE_DOCKERFILE, DOCKERFILES
from tasks.core.model.settings import DEFAULTS
from tests import REPOSITORY

BASE = REPOSITORY / BASE_DOCKERFILE
OPTIMIZED = REPOSITORY / DOCKERFILES["optimized"]
SHARED = REPOSITORY / DOCKERFILES["shared-base"]
OURS = (BASE, OPTIMIZED, SHARED)
LOCK = REPOSITORY / "dockerfiles" / "lock" / "Dockerfile"
EVERY = [BASE, *sorted((REPOSITORY / "dockerfiles").glob("Dockerfile.*"))]
EVERY = [path for path in EVERY if path.suffix != ".dockerignore"]


class Stage(NamedTuple):
    name: str
    base: str
    text: str

    @property
    def instructions(self) -> list[str]:
        """The instructions without comments, continued lines as one."""
        lines = [line for line in self.text.splitlines() if not line.startswith("#")]
        joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
        return [" ".join(line.split()) for line in joined.splitlines() if line.strip()]


def stages(path: Path) -> dict[str, Stage]:
    """The stages by name, each with the comment that stands above it; the last has no name.

    Where an argument says what a stage starts from, that is its default.
    """
    found: dict[str, Stage] = {}
    defaults = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)$", path.read_text(encoding="utf-8")))
    for block in re.findall(
        r"(?m)^((?:#.*\n)*FROM .*\n(?:(?!(?:#.*\n)*FROM ).*\n)*)", path.read_text(encoding="utf-8")
    ):
        match = re.search(r"(?m)^FROM (?:--\S+ )?(\S+)(?: AS (\S+))?$", block)
        assert match, block
        base = re.sub(r"\$\{(TOOLS|INSTALLER)\}", lambda name: defaults[name[1]], match[1])
        found[match[2] or ""] = Stage(name=match[2] or "", base=base, text=block.strip())
    return found


def runs(path: Path) -> list[str]:
    return [
        line
        for stage in stages(path).values()
        for line in stage.instructions
        if line.startswith("RUN ")
    ]


def by_name(path: Path) -> str:
    return path.name


# --- written once -----------------------------------------------------------------------------


def test_the_parser_sees_every_stage() -> None:
    assert list(stages(BASE)) == [
        *("sdk", "python-build", "python-target", "uv", "tools", "lock", "python", "env"),
        "runtime",
    ]
    assert len(stages(SHARED)) == SHARED.read_text().count("\nFROM ")


@pytest.mark.parametrize("name", list(stages(BASE)))
def test_the_optimised_form_has_the_stages_of_the_base(name: str) -> None:
    assert stages(OPTIMIZED)[name].text == stages(BASE)[name].text


def test_both_forms_end_with_the_same_stages() -> None:
    # They differ in what they start from, and in nothing else.
    text = SHARED.read_text(encoding="utf-8")
    tail = text[text.index("# The UDF's files,") :]
    tail = tail.replace("${BASE_IMAGE}", "runtime").replace("${BUILDER_IMAGE}", "env")
    assert OPTIMIZED.read_text(encoding="utf-8").endswith(tail)


def test_all_start_from_the_image_of_the_settings() -> None:
    line = f"ARG PYTHON_IMAGE={DEFAULTS['python_image']}\n"
    for path in (BASE, OPTIMIZED):
        assert line in path.read_text(encoding="utf-8")


# --- what keeps them fast and correct ---------------------------------------------------------


@pytest.mark.parametrize("path", EVERY, ids=by_name)
def test_no_frontend_is_pulled(path: Path) -> None:
    assert not re.search(r"(?im)^#\s*syntax\s*=", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_stages_of_the_target_platform_run_nothing(path: Path) -> None:
    found = stages(path)

    def on_target(stage: Stage) -> bool:
        """Whether a stage has the target's platform: it ends in an image of that platform."""
        if "--platform=$BUILDPLATFORM" in stage.text:
            return False
        if stage.base in found:
            return on_target(found[stage.base])
        return stage.base != "${BUILDER_IMAGE}"

    runs = {
        stage.name
        for stage in found.values()
        if on_target(stage) and any(line.startswith("RUN ") for line in stage.instructions)
    }
    # By hand, what the UDF adds is installed on the base; tasks name another image for that.
    assert runs <= {"system-some", "builder"}
    assert path != SHARED or found["dependencies"].base == "${BUILDER_IMAGE}"


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_secrets_are_mounted_and_never_arguments(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    arguments = set(re.findall(r"(?m)^ARG (\w+)", text))
    assert not {name for name in arguments if re.search("TOKEN|PASS|SECRET|INDEX|PROXY|CERT", name)}
    for line in runs(path):
        found = set(re.findall(r"--mount=type=secret,id=([\w-]+)", line))
        if "install-tools.sh" in line or "install-system-packages.sh" in line:
            # Debian's repositories ask for no password of an index: what it installs sees none.
            assert found == {"ca", "proxy"}, line
        elif "poetry --no-ansi" in line:
            assert found == set()  # it reads two files, and fetches nothing
        else:
            assert found == {"ca", "netrc", "host-env"}, line


def test_caches_are_apart() -> None:
    """No cache by the name that its path gives it: every Dockerfile on the engine shares that."""
    caches = [
        (match[1], line.split()[-1])
        for path in (*OURS, LOCK)
        for line in runs(path)
        for match in re.finditer(r"--mount=type=cache,(\S+)", line)
    ]
    assert caches
    assert all(re.match(r"id=numaflow-udf-[\w${}-]+,target=", cache) for cache, _ in caches)
    # One name is one step's.
    by_step = {(cache.partition(",")[0], step) for cache, step in caches}
    assert len(by_step) == len({name for name, _ in by_step})
    # What installs wheels and what builds from source differ by an argument.
    assert {name for name, _ in by_step if "$" in name} <= {
        "id=numaflow-udf-base-${INSTALLER}",
        "id=numaflow-udf-packages-${CACHE}",
    }


@pytest.mark.parametrize(
    ("script", "condition"),
    [
        ("base/install-env.sh", '"$INSTALLER" = uv'),
        ("udf/install-dependencies.sh", '"$CACHE" = wheels'),
    ],
)
def test_a_shared_cache_is_for_wheels_only(script: str, condition: str) -> None:
    text = (REPOSITORY / "dockerfiles" / script).read_text(encoding="utf-8")
    branch = text[text.index(f"if [ {condition} ]") :]
    assert "--only-binary :all:" in branch[: branch.index("\nfi\n")]


@pytest.mark.parametrize("name", ["uv", "poetry"])
def test_what_installs_is_pinned_by_hash(name: str) -> None:
    text = (REPOSITORY / f"dockerfiles/base/{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^#.*\n", "", text).strip())
    assert any(entry.startswith(f"{name}==") for entry in entries)
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text
    script = (REPOSITORY / f"dockerfiles/base/install-{name}.sh").read_text(encoding="utf-8")
    assert "--require-hashes" in script
    assert "--only-binary :all:" in script


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_what_is_fetched_is_kept_in_a_cache(path: Path) -> None:
    for line in runs(path):
        if "poetry --no-ansi" not in line:
            assert "--mount=type=cache" in line


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_files_of_other_stages_are_linked(path: Path) -> None:
    copies = [
        line
        for stage in stages(path).values()
        for line in stage.instructions
        if line.startswith("COPY ") and "--from=" in line
    ]
    assert copies
    assert all("--link" in line for line in copies)


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_scripts_are_mounted_and_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    sources = re.findall(r"type=bind,source=([^,\s]+)", text)
    assert sources
    assert [name for name in sources if not (REPOSITORY / name).exists()] == []


def test_the_runtime_is_no_root() -> None:
    instructions = stages(BASE)["runtime"].instructions
    assert instructions[-2:] == [
        "USER 10001:10001",
        'ENTRYPOINT ["dumb-init", "--", "start-udf"]',
    ]
    # Only Debian packages need another user, and give it back.
    users = [line for line in stages(SHARED)["system-some"].instructions if "USER" in line]
    assert users == ["USER 0", "USER 10001:10001"]


def test_every_argument_of_the_tasks_is_declared() -> None:
    for path, names in (
        (BASE, {"PYTHON_IMAGE", "INSTALLER", "TOOLS"}),
        (
            OPTIMIZED,
            {
                "PYTHON_IMAGE",
                "INSTALLER",
                "TOOLS",
                "CACHE",
                "SYSTEM",
                "SYSTEM_PACKAGES",
                "SYSTEM_PACKAGES_DATE",
                "DEPENDENCIES",
            },
        ),
        (
            SHARED,
            {
                "BASE_IMAGE",
                "BUILDER_IMAGE",
                "CACHE",
                "SYSTEM",
                "SYSTEM_PACKAGES",
                "SYSTEM_PACKAGES_DATE",
                "DEPENDENCIES",
            },
        ),
    ):
        declared = set(re.findall(r"(?m)^ARG (\w+)", path.read_text(encoding="utf-8")))
        assert names <= declared, path.name


# --- the context ------------------------------------------------------------------------------


class TestContext:
    @pytest.fixture
    def ignore(self) -> Ignore:
        return Ignore((REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines())

    def test_an_allow_list(self) -> None:
        lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        # After what is allowed, only what never is; the lock of this project is the exception.
        never = rules[next(i for i, rule in enumerate(rules) if rule.startswith("**/")) :]
        assert [rule for rule in never if not rule.startswith("**/")] == ["!poetry.lock"]

    @pytest.mark.parametrize(
        "name",
        [
            "pyproject.toml",
            "poetry.lock",
            "dockerfiles/base/install-env.sh",
            "dockerfiles/udf/install-dependencies.sh",
            "examples/map/even_odd/example.py",
            "examples/map/even_odd/pyproject.toml",
            "examples/sideinput/simple_sideinput/greeting.txt",
        ],
    )
    def test_what_a_build_gets(self, ignore: Ignore, name: str) -> None:
        assert not ignore.ignores(name)

    @pytest.mark.parametrize(
        "name",
        [
            ".git/config",
            ".venv/bin/python",
            ".env",
            "tasks/core/plan/plan.py",
            "tests/conftest.py",
            "README.md",
            "docs/architecture.md",
            "Dockerfile.base",
            "dockerfiles/Dockerfile.optimized",
            "examples/map/even_odd/README.md",
            "examples/map/even_odd/cases.toml",
            "examples/map/even_odd/pipeline.yaml",
            "examples/map/even_odd/pipeline-mono-vertex.yaml",
            "examples/map/even_odd/cases.variant.toml",
            "examples/map/even_odd/.env",
            "examples/map/even_odd/tls.key",
            "examples/map/even_odd/poetry.lock",
            "examples/map/even_odd/tests/data/x.json",
            "examples/map/even_odd/__pycache__/example.cpython-313.pyc",
            "examples/map/even_odd/venv/lib/x.py",
        ],
    )
    def test_what_it_does_not_get(self, ignore: Ignore, name: str) -> None:
        assert ignore.ignores(name)
