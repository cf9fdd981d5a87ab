"""The environment and the working folder of a UDF: what is allowed, and what its image gets."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.engine.bake import _literal
from tasks.core.image.assembly import assemble
from tasks.core.image.config import parse
from tasks.core.inputs.fingerprint import difference, udf_inputs
from tasks.core.inputs.sensitive import is_secret_variable
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.running import check_env, with_env
from tasks.core.plan.dockerfile import with_runtime
from tests.unit.plans import definition, spec, step, targets, udf
from tests.unit.test_image_config import base

WHERE = "[tool.numaflow-udf] in udfs/map/a/pyproject.toml"


@pytest.mark.parametrize(
    ("env", "what", "step"),
    [
        pytest.param([], "env under", "LEVEL", id="no table"),
        pytest.param({"A": 1}, "env.A under", "a string", id="a number"),
        pytest.param({"A": "a\nb"}, "env.A under", "on one line", id="two lines"),
        pytest.param({"A-B": "a"}, "env.A-B under", "letters", id="its name"),
        pytest.param({"1A": "a"}, "env.1A under", "letters", id="a digit first"),
        pytest.param({"PATH": "$PATH:/x"}, "env.PATH under", "without $PATH", id="PATH in PATH"),
        pytest.param({"PATH": ""}, "env.PATH under", "absolute", id="no PATH"),
        pytest.param({"PYTHONPATH": "src"}, "env.PYTHONPATH", "absolute", id="a relative folder"),
        pytest.param({"PYTHONHOME": "/x"}, "env.PYTHONHOME", "its own modules", id="PYTHONHOME"),
        pytest.param({"NUMAFLOW_POD": "x"}, "env.NUMAFLOW_POD", "in the pod", id="of the pod"),
        pytest.param(
            {"NUMAFLOW_UD_CONTAINER_TYPE": "udf"}, "CONTAINER_TYPE", "in the pod", id="its type"
        ),
    ],
)
def test_what_an_image_cannot_have(env: object, what: str, step: str) -> None:
    with pytest.raises(ProjectFileError) as caught:
        check_env(env, WHERE)
    assert what in caught.value.what
    assert WHERE in caught.value.what
    assert step in str(caught.value.next_step)


def test_what_it_can_have() -> None:
    check_env(
        {
            "A": "",
            "_b1": 'it\'s "$B" ${C} \\ é',
            "PATH": "/udf/bin",
            "PYTHONPATH": "/udf/src:/udf/lib",
            "HOME": "/tmp",
            "NUMAFLOW_GRPC_SHUTDOWN_GRACE_PERIOD_SECONDS": "5",
        },
        WHERE,
    )


def test_lists_of_folders_are_put_in_front() -> None:
    before = ["PATH=/usr/bin", "PYTHONPATH=/opt/deps", "HOME=/udf", "X=a=b"]
    own = {"PYTHONPATH": "/udf/src", "NEW": "1", "HOME": "/tmp", "PATH": "/udf/bin"}
    assert with_env(before, own) == [
        "PATH=/udf/bin:/usr/bin",
        "PYTHONPATH=/udf/src:/opt/deps",
        "HOME=/tmp",
        "X=a=b",
        "NEW=1",
    ]


def test_an_assembled_image_has_them() -> None:
    made = assemble(
        base(), [], [], labels={}, env={"A": "1", "HOME": "/tmp"}, workdir="/udf/app", created=0
    )
    config: dict[str, Any] = parse(made.config.data)["config"]
    assert config["Env"] == ["PATH=/usr/bin", "HOME=/tmp", "A=1"]
    assert config["WorkingDir"] == "/udf/app"
    assert base()["config"]["Env"] == ["PATH=/usr/bin", "HOME=/udf"]


def test_a_built_image_gets_lines_in_its_last_stage() -> None:
    own = spec(udf(env={"A": '"$x" \\', "PATH": "/udf/bin"}, workdir="app"))
    text = "FROM a AS b\nENV A=1\nFROM b\nCOPY --from=udf / /udf/\n"
    assert with_runtime(text, own).splitlines() == [
        "FROM a AS b",
        "ENV A=1",
        "FROM b",
        r'ENV A="\"\$x\" \\"',
        'ENV PATH="/udf/bin:${PATH}"',
        "COPY --from=udf / /udf/",
        'WORKDIR "/udf/app"',
    ]


def test_they_are_in_the_graph() -> None:
    own = step(udf(env={"A": "1"}))
    (target,) = targets(definition(own, dockerfiles={"map-a": "FROM x\n"})).values()
    assert target["dockerfile-inline"] == "FROM x\n"
    assert "dockerfile" not in target
    (target,) = targets(definition(own)).values()
    assert "dockerfile-inline" not in target


def test_bake_takes_a_text_as_it_is() -> None:
    assert _literal('"${A} %{B} $C 5%"') == '"$${A} %%{B} $C 5%"'


def test_they_are_inputs() -> None:
    def inputs(**more: Any) -> dict[str, str]:  # noqa: ANN401 (fields of a UDF)
        return udf_inputs(
            udf(**more), [], strategy="shared-base", dockerfile="Dockerfile.base", base="b",
            arguments={},
        )  # fmt: skip

    before, after = inputs(env={"A": "1"}), inputs(env={"A": "2"}, workdir="app")
    assert difference(before, after) == [("env A", "1", "2"), ("workdir", "", "app")]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_TOKEN", "x", True),
        ("DB_PASSWORD", "x", True),
        ("AWS_ACCESS_KEY_ID", "x", True),
        ("apikey", "x", True),
        ("DATABASE_URL", "postgres://me:pw@db/x", True),
        ("X", f"ghp_{'a' * 36}", True),
        ("API_TOKEN", "", False),
        ("TOKEN_URL", "https://host.example/token", False),
        ("MAX_TOKENS", "100", False),
        ("SECRET_NAME", "my-secret", False),
        ("LEVEL", "info", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret_variable(name, value) is secret
