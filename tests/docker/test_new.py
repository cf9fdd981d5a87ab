"""`invoke new` on a real engine: for each kind, a UDF that builds and verifies at once."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.core.model.udf import KINDS
from tests.conftest import Invoke


def test_a_new_udf_of_each_kind_builds_and_verifies(
    base: str, root: Path, tag: str, invoke: Invoke
) -> None:
    where = ("--root", str(root), "--tag", tag)
    for kind in KINDS:
        done = invoke("new", "--udf", f"{kind}/fresh", *where)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()[1:]
        commands = [line.partition("invoke ")[2] for line in lines]
        assert commands == [
            f"image-fast --udf {kind}/fresh --root {root} --tag {tag}",
            f"verify --udf {kind}/fresh --root {root} --tag {tag}",
        ]
    # The printed commands, for all kinds at once: one graph, one run.
    names = [part for kind in KINDS for part in ("--udf", f"{kind}/fresh")]
    done = invoke("image-fast", *names, *where)
    assert done.returncode == 0, done.stderr
    done = invoke("verify", *names, *where, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["udf"]: row["kind"] for row in json.loads(done.stdout)} == {
        f"{kind}/fresh": kind for kind in KINDS
    }


def test_a_new_udf_in_this_repository(base: str, checkout: Path, tag: str, invoke: Invoke) -> None:
    done = invoke("new", "--udf", "billing/totals", "--kind", "map", "--json", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(checkout / "examples/billing/totals")
    for task in ("image-fast", "verify"):
        done = invoke(task, "--udf", "billing/totals", "--tag", tag, cwd=checkout)
        assert done.returncode == 0, done.stdout + done.stderr
    done = invoke("new", "--udf", "billing/totals", "--kind", "map", cwd=checkout)
    assert done.returncode == 18
    assert done.stderr.splitlines() == [
        "error: examples/billing/totals already exists",
        "next: give the new UDF another name",
    ]
