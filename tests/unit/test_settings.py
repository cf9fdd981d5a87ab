"""Settings: where a value comes from, which one wins, and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.config import Config

from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import DEFAULTS, Settings
from tests import REPOSITORY

Configure = Callable[..., Config]

SDK = "pynumaflow-source"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A real configuration of Invoke: files and environment in, ``c.config`` out."""

    def make(
        project: object = None,
        *,
        user: object = None,
        runtime: object = None,
        environment: Mapping[str, str] | None = None,
        collection: Mapping[str, Any] | None = None,
    ) -> Config:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(f"INVOKE_UDF_{name}", value)
        home, folder = tmp_path / "home", tmp_path / "project"
        for place in (home, folder):
            place.mkdir()
        # JSON is YAML as well, and keeps the types as they are given here.
        if project is not None:
            (folder / "invoke.yaml").write_text(json.dumps({"udf": project}))
        if user is not None:
            (home / ".invoke.yaml").write_text(json.dumps({"udf": user}))
        path = tmp_path / "runtime.yaml"
        if runtime is not None:
            path.write_text(json.dumps({"udf": runtime}))
        config = Config(
            system_prefix=str(tmp_path / "nowhere/"),
            user_prefix=f"{home}/.",
            project_location=folder,
            runtime_path=path if runtime is not None else None,
        )
        # In the order in which Invoke's own command line loads them.
        config.load_base_conf_files()
        config.load_collection({"udf": dict(DEFAULTS) if collection is None else collection})
        config.load_project()
        config.load_shell_env()
        config.load_runtime()
        return config

    return make


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    folder = tmp_path / SDK
    (folder / "pynumaflow").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    return folder


class TestDefaults:
    def test_every_key(self, configure: Configure) -> None:
        settings = Settings.from_config(configure())
        assert settings.root == REPOSITORY / "examples"
        assert settings.tag == "stable"
        assert settings.python_image == "python:3.13-slim-trixie"
        assert (settings.registry, settings.network, settings.builder) == ("", "", "")
        assert settings.platforms == ()
        assert settings.sdk is None

    def test_every_key_says_that_it_is_the_default(self, configure: Configure) -> None:
        assert Settings.from_config(configure()).sources == dict.fromkeys(DEFAULTS, "default")

    def test_without_any_configuration(self) -> None:
        assert Settings.from_config(object()).tag == "stable"

    def test_rows_show_every_key_once(self, configure: Configure, sdk: Path) -> None:
        settings = Settings.from_config(
            configure({"platforms": "linux/amd64,linux/arm64"}), sdk=str(sdk)
        )
        rows = {key: (value, source) for key, value, source in settings.rows()}
        assert set(rows) == set(DEFAULTS)
        assert rows["platforms"] == ("linux/amd64,linux/arm64", "invoke file of the repository")
        assert rows["sdk"] == (str(sdk), "flag --sdk")
        assert rows["network"] == ("", "default")


GOOD = [
    ("root", "docs", REPOSITORY / "docs"),
    ("root", "./docs/../docs/", REPOSITORY / "docs"),
    ("root", str(REPOSITORY), REPOSITORY),
    ("registry", "ghcr.io/team", "ghcr.io/team"),
    ("registry", "localhost:5000", "localhost:5000"),
    ("registry", "[::1]:5000/a/b", "[::1]:5000/a/b"),
    ("tag", "v1.2-rc_3", "v1.2-rc_3"),
    ("tag", "a" * 128, "a" * 128),
    ("python_image", "python", "python"),
    ("python_image", "reg.example:5000/x/python:3.12-slim", "reg.example:5000/x/python:3.12-slim"),
    ("python_image", f"python:3.13@sha256:{'a' * 64}", f"python:3.13@sha256:{'a' * 64}"),
    ("network", "host", "host"),
    ("network", "none", "none"),
    ("network", "default", "default"),
    ("platforms", "linux/amd64", ("linux/amd64",)),
    ("platforms", " linux/amd64 , linux/arm/v7,linux/amd64,", ("linux/amd64", "linux/arm/v7")),
    ("builder", "my-builder_1.x", "my-builder_1.x"),
]


@pytest.mark.parametrize(("key", "given", "value"), GOOD)
class TestGoodValues:
    def test_from_the_repository(
        self, configure: Configure, key: str, given: str, value: object
    ) -> None:
        settings = Settings.from_config(configure({key: given}))
        assert getattr(settings, key) == value
        assert settings.sources[key] == "invoke file of the repository"

    def test_from_the_environment(
        self, configure: Configure, key: str, given: str, value: object
    ) -> None:
        settings = Settings.from_config(configure(environment={key.upper(): given}))
        assert getattr(settings, key) == value
        assert settings.sources[key] == f"environment, INVOKE_UDF_{key.upper()}"

    def test_from_a_flag(self, configure: Configure, key: str, given: str, value: object) -> None:
        settings = Settings.from_config(configure(), **{key: given})
        assert getattr(settings, key) == value
        assert settings.sources[key] == f"flag --{key.replace('_', '-')}"


def test_platforms_as_a_list(configure: Configure) -> None:
    settings = Settings.from_config(configure({"platforms": ["linux/amd64", "linux/arm64"]}))
    assert settings.platforms == ("linux/amd64", "linux/arm64")


def test_sdk(configure: Configure, sdk: Path) -> None:
    assert Settings.from_config(configure({"sdk": str(sdk)})).sdk == sdk


def test_root_in_the_home_folder(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "udfs").mkdir()
    assert Settings.from_config(configure(), root="~/udfs").root == tmp_path / "udfs"


def test_root_is_what_a_link_points_to(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert Settings.from_config(configure(), root=str(tmp_path / "link")).root == tmp_path


BAD = [
    ("root", "no-such-folder", "a folder that exists"),
    ("root", "pyproject.toml", "a folder that exists"),
    ("root", "", "a folder that exists"),
    ("root", 3, "a folder that exists"),
    ("root", "~no-such-user/udfs", "a folder that exists"),
    ("root", "a\0b", "a folder that exists"),
    ("root", "x" * 5000, "a folder that exists"),
    ("registry", "ghcr.io/Team", "a registry host"),
    ("registry", "https://ghcr.io", "a registry host"),
    ("registry", "ghcr.io/", "a registry host"),
    ("registry", 5000, "a registry host"),
    ("tag", "", "a tag of at most 128"),
    ("tag", "-x", "a tag of at most 128"),
    ("tag", "a b", "a tag of at most 128"),
    ("tag", "a" * 129, "a tag of at most 128"),
    ("tag", "stable\n", "a tag of at most 128"),
    ("tag", 1.0, "a tag of at most 128"),
    ("tag", True, "a tag of at most 128"),
    ("tag", ["stable"], "a tag of at most 128"),
    ("python_image", "", "an image reference"),
    ("python_image", "Python:3.13", "an image reference"),
    ("python_image", "python:3.13@sha256:abc", "an image reference"),
    ("python_image", 3.13, "an image reference"),
    ("network", "bridge", "one of default, host, none"),
    ("network", False, "one of default, host, none"),
    ("platforms", "amd64", "platforms as os/arch"),
    ("platforms", "windows/amd64", "platforms as os/arch"),
    ("platforms", "linux/amd64;linux/arm64", "platforms as os/arch"),
    ("platforms", [64], "platforms as os/arch"),
    ("platforms", 64, "platforms as os/arch"),
    ("builder", "-x", "the name of a buildx builder"),
    ("builder", "a b", "the name of a buildx builder"),
    ("builder", 7, "the name of a buildx builder"),
    ("sdk", "examples", "a pynumaflow source tree"),
    ("sdk", "no-such-folder", "a pynumaflow source tree"),
    ("sdk", "~no-such-user", "a pynumaflow source tree"),
    ("sdk", 0.14, "a pynumaflow source tree"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD)
def test_bad_values_name_key_source_and_what_is_allowed(
    configure: Configure, key: str, value: object, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_config(configure({key: value}))
    assert f"udf.{key} is " in caught.value.what
    assert "(invoke file of the repository)" in caught.value.what
    assert allowed in caught.value.next_step


@pytest.mark.parametrize("key", DEFAULTS)
def test_null_is_the_default(configure: Configure, key: str) -> None:
    settings = Settings.from_config(configure({key: None}))
    assert settings == Settings.from_config(object())


class TestPrecedence:
    LEVELS = ("user", "project", "environment", "runtime", "flag")
    SOURCES = (
        "invoke file in the home folder",
        "invoke file of the repository",
        "environment, INVOKE_UDF_TAG",
        "file given with invoke -f",
        "flag --tag",
    )

    @pytest.mark.parametrize("strongest", range(5), ids=LEVELS)
    def test_the_strongest_wins(self, configure: Configure, strongest: int) -> None:
        given = {
            name: {"TAG": name} if name == "environment" else {"tag": name}
            for name in self.LEVELS[: strongest + 1]
        }
        flags = given.pop("flag", {})
        settings = Settings.from_config(
            configure(
                given.get("project"),
                user=given.get("user"),
                environment=given.get("environment"),
                runtime=given.get("runtime"),
            ),
            **flags,
        )
        assert settings.tag == self.LEVELS[strongest]
        assert settings.sources["tag"] == self.SOURCES[strongest]

    @pytest.mark.parametrize("nothing", [None, "", [], ()], ids=repr)
    def test_a_flag_that_is_not_given_leaves_the_rest(
        self, configure: Configure, nothing: object
    ) -> None:
        settings = Settings.from_config(configure({"tag": "mine"}), tag=nothing)
        assert (settings.tag, settings.sources["tag"]) == ("mine", "invoke file of the repository")

    def test_a_bad_value_that_is_overridden_does_no_harm(self, configure: Configure) -> None:
        assert Settings.from_config(configure({"tag": "-bad"}), tag="good").tag == "good"


class TestWrongShape:
    def test_an_unknown_key(self, configure: Configure) -> None:
        with pytest.raises(ConfigError) as caught:
            Settings.from_config(configure({"regstry": "ghcr.io"}))
        assert caught.value.what == (
            "unknown setting udf.regstry (invoke file of the repository). Did you mean 'registry'?"
        )
        assert caught.value.next_step == f"allowed keys: {', '.join(DEFAULTS)}"

    def test_a_key_that_is_no_text(self) -> None:
        loaded = SimpleNamespace(_project={"udf": {3: "x"}})
        with pytest.raises(ConfigError, match=r"unknown setting udf\.3 "):
            Settings.from_config(loaded)

    @pytest.mark.parametrize("section", ["examples", ["root"], 3], ids=repr)
    def test_the_section_is_no_table(self, section: object) -> None:
        loaded = SimpleNamespace(_project={"udf": section})
        with pytest.raises(ConfigError, match="'udf' must be a table of settings"):
            Settings.from_config(loaded)
