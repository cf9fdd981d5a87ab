"""One run of bake: what its log tells, and how the client is called.

``fixtures/buildkit`` holds logs of buildx 0.13 on a Docker 26 engine, as they were written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine.bake import BakeRun, Progress, run_bake
from tasks.core.engine.endpoint import Endpoint

LOGS = Path(__file__).with_name("fixtures") / "buildkit"

DEFINITION: dict[str, Any] = {
    "group": {"default": {"targets": ["map-a"]}},
    "target": {"map-a": {"context": "/repository"}},
}


def read(name: str, only: str = "") -> tuple[Progress, list[str]]:
    said: list[str] = []
    progress = Progress(said.append, only=only)
    for line in (LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines(keepends=True):
        progress.feed(line)
    return progress, said


class TestLogs:
    def test_success(self) -> None:
        progress, said = read("success")
        assert (progress.failed_step, progress.failed_target, progress.error) == ("", "", "")
        # A step is named when it writes something, and with its time when it took some.
        assert [line.partition("] RUN ")[0].strip() for line in said] == [
            "[base tools 2/2",
            "[map-a dependencies 2/2",
            "[map-b dependencies 2/2",
            "[base tools 2/2",
            "[map-a env 1/1",
        ]
        assert said[0].endswith(" ...")
        assert said[3].endswith("  1.3 s")
        assert not any("--mount" in line for line in said)

    def test_notes_of_each_target(self) -> None:
        progress, _ = read("success")
        # The whole line, not one that merely holds such words.
        assert progress.notes == {
            "map-a": ["overrides idna 3.11 -> 3.20"],
            "map-b": ["overrides idna 3.11 -> 3.20"],
            "base": ["overrides protobuf 6.33.6 -> 6.31.1"],
        }

    def test_notes_of_the_only_target(self) -> None:
        progress, _ = read("single", only="map-a")
        assert progress.notes == {"map-a": ["overrides idna 3.11 -> 3.20"]}

    def test_what_comes_from_the_cache_is_not_told(self) -> None:
        progress, said = read("cached")
        assert said == []
        assert progress.notes == {}

    def test_a_step_of_a_udf_fails(self) -> None:
        progress, _ = read("failing-udf")
        assert progress.failed_target == "map-c"
        assert progress.failed_step.startswith("[map-c 2/2] RUN for i in $(seq 1 25);")
        assert progress.error.endswith("did not complete successfully: exit code: 3")

    def test_a_step_of_the_base_fails(self) -> None:
        progress, _ = read("failing-base")
        assert progress.failed_target == "base"
        assert progress.failed_step.startswith("[base 2/2] RUN ")

    def test_the_tail_holds_the_last_lines_of_the_step(self) -> None:
        progress, _ = read("failing-base")
        assert progress.tail.splitlines() == [f"line {number}" for number in range(6, 26)]

    def test_an_image_that_is_not_there(self) -> None:
        progress, _ = read("missing-base", only="map-a")
        name = "127.0.0.1:1/numaflow-python-base:000000000000"
        assert progress.failed_step == f"[internal] load metadata for {name}"
        assert progress.failed_target == "map-a"
        assert "connection refused" in progress.tail
        assert progress.error.startswith(f"failed to solve: {name}: failed to resolve")

    def test_a_dockerfile_that_cannot_be_read(self) -> None:
        progress, _ = read("syntax")
        assert (progress.failed_step, progress.failed_target) == ("", "")
        assert progress.error == (
            "failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN "
            "(did you mean RUN?)"
        )
        assert progress.tail.splitlines()[0] == "Dockerfile.syntax:2"
        assert ">>> RUNN echo" in progress.tail

    def test_a_file_that_is_not_there(self) -> None:
        progress, _ = read("no-file")
        assert progress.failed_target == "map-a"
        assert progress.failed_step == "[map-a 2/2] COPY nothing-here /x"
        assert '"/nothing-here": not found' in progress.tail


class TestLines:
    def feed(self, *lines: str, only: str = "") -> Progress:
        progress = Progress(lambda _: None, only=only)
        for line in lines:
            progress.feed(line)
        return progress

    @pytest.mark.parametrize("before", ["", "ERROR: "])
    def test_newer_buildx_names_the_target(self, before: str) -> None:
        progress = self.feed(f"{before}target map-a: failed to solve: boom")
        assert progress.failed_target == "map-a"
        assert progress.error == "failed to solve: boom"

    def test_a_step_for_a_platform(self) -> None:
        progress = self.feed(
            "#5 [map-a linux/arm64 dependencies 2/2] RUN x",
            "#5 0.100 overrides idna 1 -> 2",
            "#5 ERROR: process failed",
        )
        assert progress.failed_target == "map-a"
        assert progress.notes == {"map-a": ["overrides idna 1 -> 2"]}

    def test_lines_of_a_step_that_was_never_named(self) -> None:
        progress = self.feed("#7 0.1 text", "#7 DONE 9.0s", "#8 ERROR: lost")
        assert (progress.failed_step, progress.tail) == ("", "")

    def test_a_failed_step_without_output(self) -> None:
        progress = self.feed("#3 [a 1/1] COPY x /", "#3 ERROR: not found")
        assert progress.tail == "not found"

    def test_only_the_last_lines_are_kept(self) -> None:
        progress = self.feed(*(f"line {number}" for number in range(100)))
        assert progress.tail.splitlines() == [f"line {number}" for number in range(80, 100)]

    def test_line_ends_of_any_kind(self) -> None:
        assert self.feed("ERROR: boom\r\n").error == "boom"


# --- how the client is called -----------------------------------------------------------------

# Stands in for buildx: it keeps what it was given and writes a log.
CLIENT = """\
import json, os, pathlib, sys
place = pathlib.Path(os.environ["PLACE"])
arguments = sys.argv[1:]
files = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--file"]
texts = [sys.stdin.read() if name == "-" else pathlib.Path(name).read_text() for name in files]
place.write_text(json.dumps({"argv": arguments, "files": texts, "env": dict(os.environ)}))
sys.stderr.write(pathlib.Path(os.environ["LOG_FILE"]).read_text())
sys.exit(int(os.environ["CODE"]))
"""


@pytest.fixture
def buildx(tmp_path: Path) -> Callable[..., tuple[BakeRun, dict[str, Any]]]:
    """Run bake with a client that writes a recorded log; the outcome, and what it was given."""

    def run(
        definition: Mapping[str, Any] = DEFINITION,
        *,
        log: str = "single",
        code: int = 0,
        **options: Any,  # noqa: ANN401 (those of run_bake)
    ) -> tuple[BakeRun, dict[str, Any]]:
        place = tmp_path / "given.json"
        (tmp_path / "client.py").write_text(CLIENT)
        environment = {
            "PLACE": str(place),
            "LOG_FILE": str(LOGS / f"{log}.log"),
            "CODE": str(code),
        }
        endpoint = Endpoint(
            host="unix:///nowhere",
            buildx=(sys.executable, str(tmp_path / "client.py")),
            env=environment,
        )
        done = run_bake(endpoint, definition, say=lambda _: None, **options)
        given: dict[str, Any] = json.loads(place.read_text())
        return done, given

    return run


Buildx = Callable[..., tuple[BakeRun, dict[str, Any]]]


class TestRunBake:
    def test_success(self, buildx: Buildx) -> None:
        done, given = buildx()
        assert done.ok
        assert done.seconds > 0
        assert done.notes == {"map-a": ["overrides idna 3.11 -> 3.20"]}
        assert given["argv"] == ["bake", "--progress", "plain", "--file", "-"]
        assert json.loads(given["files"][0]) == DEFINITION
        assert given["env"]["BUILDX_NO_DEFAULT_ATTESTATIONS"] == "1"

    def test_failure(self, buildx: Buildx) -> None:
        several = {"target": {name: {"context": "/x"} for name in ("map-a", "map-c")}}
        done, _ = buildx(several, log="failing-udf", code=1)
        assert not done.ok
        assert done.target == "map-c"
        assert done.step.startswith("[map-c 2/2] RUN")
        assert done.tail.endswith("no such package: nothing-like-it")

    def test_a_client_that_says_nothing(self, buildx: Buildx, tmp_path: Path) -> None:
        (tmp_path / "empty.log").touch()
        done, _ = buildx(log=str(tmp_path / "empty"), code=7)
        assert not done.ok
        assert done.error == "buildx ended with code 7"

    def test_builder_and_options(self, buildx: Buildx) -> None:
        _, given = buildx(builder="mine", options=["--allow", "network.host"])
        assert given["argv"] == [
            *("--builder", "mine", "bake", "--progress", "plain"),
            *("--allow", "network.host", "--file", "-"),
        ]

    def test_secrets_go_by_the_environment(self, buildx: Buildx) -> None:
        _, given = buildx(environment={"NUMAFLOW_UDF_HOST_ENV": "PIP_INDEX_URL=secret"})
        assert given["env"]["NUMAFLOW_UDF_HOST_ENV"] == "PIP_INDEX_URL=secret"
        assert "secret" not in json.dumps([given["argv"], given["files"]])

    def test_the_network_goes_by_a_compose_file_as_well(self, buildx: Buildx) -> None:
        definition = {
            "group": {"default": {"targets": ["a", "b"]}},
            "target": {"a": {"context": "/x", "network": "host"}, "b": {"context": "/x"}},
        }
        _, given = buildx(definition)
        overlay, main = given["files"]
        assert json.loads(overlay) == {
            "services": {"a": {"build": {"context": "/x", "network": "host"}}}
        }
        assert json.loads(main) == definition
        # The file is gone afterwards.
        assert not Path(given["argv"][given["argv"].index("--file") + 1]).exists()

    def test_a_definition_that_is_larger_than_a_pipe(self, buildx: Buildx) -> None:
        target = {"context": "/repository", "args": {"X": "x" * 1000}}
        definition = {
            "group": {"default": {"targets": []}},
            "target": {f"udf-{number}": target for number in range(300)},
        }
        done, given = buildx(definition, log="cached")
        assert done.ok
        assert len(json.loads(given["files"][0])["target"]) == 300
