"""Changes that can be taken back: byte for byte, and after a kill at any moment."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.migration import journal
from tasks.core.migration.journal import JOURNAL, Change, apply, record_of, records, undo
from tasks.core.model.errors import MigrationError
from tests import REPOSITORY

OLD = {
    "Dockerfile": (b"FROM python\r\n", 0o640),
    "Makefile": (b"image:\n\techo \xff\n", 0o600),
    "pyproject.toml": (b"[project]", 0o664),
    "deep/start.sh": (b"#!/bin/sh\n", 0o755),
    "empty.txt": (b"", 0o444),
    "untouched.py": (b"pass\n", 0o644),
}


def fill(folder: Path) -> None:
    for name, (content, mode) in OLD.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def changes(folder: Path) -> list[Change]:
    """One of each sort: removed, changed, created, created to be executed."""
    new = {
        "Dockerfile": None,
        "Makefile": b"test:\n\ttrue\n",
        "pyproject.toml": b"[project]\n",
        "deep/start.sh": b"#!/bin/sh\nexec true\n",
        "empty.txt": b"full",
        "cases.toml": b"[[case]]\n",
        "entry.sh": b"#!/bin/sh\n",
    }
    return [
        Change(
            path=folder / name,
            before=OLD[name][0] if name in OLD else None,
            after=after,
            executable=name == "entry.sh",
        )
        for name, after in new.items()
    ]


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "udf"
    fill(place)
    return place


class TestApply:
    def test_every_file_is_as_planned(self, folder: Path) -> None:
        apply(folder, changes(folder), {"tag": "v1"})
        now = state(folder)
        for change in changes(folder):
            name = change.path.relative_to(folder).as_posix()
            assert now.get(name, (None,))[0] == change.after
        assert now["untouched.py"] == OLD["untouched.py"]

    def test_what_was_there_is_beside_it(self, folder: Path) -> None:
        apply(folder, changes(folder), {})
        now = state(folder)
        backups = {name for name in now if name.endswith(".backup")}
        assert backups == {f"{name}.backup" for name in OLD if name != "untouched.py"}
        assert all(now[name] == OLD[name.removesuffix(".backup")] for name in backups)

    def test_modes_stay(self, folder: Path) -> None:
        apply(folder, changes(folder), {})
        now = state(folder)
        assert now["deep/start.sh"][1] == 0o755
        assert now["Makefile"][1] == 0o600
        assert now["entry.sh"][1] & 0o111
        assert not now["cases.toml"][1] & 0o111

    def test_the_journal_remembers(self, folder: Path) -> None:
        apply(folder, changes(folder), {"tag": "v1"})
        record = record_of(folder)
        assert record is not None
        assert record.complete
        assert record.facts == {"tag": "v1"}
        assert [each.folder for each in records(folder.parent)] == [folder]

    @pytest.mark.parametrize("name", ["Dockerfile.backup", "Makefile.backup"])
    def test_a_backup_is_never_written_over(self, folder: Path, name: str) -> None:
        (folder / name).write_text("an older one")
        before = state(folder)
        with pytest.raises(MigrationError, match=f"{name} already exists"):
            apply(folder, changes(folder), {})
        assert state(folder) == before

    def test_a_dangling_link_is_a_backup_too(self, folder: Path) -> None:
        (folder / "Makefile.backup").symlink_to("nowhere")
        with pytest.raises(MigrationError, match="already exists"):
            apply(folder, changes(folder), {})

    def test_a_file_that_changed_since_the_plan(self, folder: Path) -> None:
        planned = changes(folder)
        (folder / "Makefile").write_text("other")
        before = state(folder)
        with pytest.raises(MigrationError, match="changed while the plan was made"):
            apply(folder, planned, {})
        assert state(folder) == before


class TestUndo:
    def done(self, folder: Path) -> list[str]:
        record = record_of(folder)
        assert record is not None
        return undo(record)

    def test_byte_for_byte(self, folder: Path) -> None:
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        before = state(folder)
        apply(folder, changes(folder), {})
        assert self.done(folder) == []
        assert state(folder) == before
        assert {path: path.stat().st_mtime_ns for path in times} == times

    def test_a_link_is_a_link_again(self, folder: Path) -> None:
        (folder / "common.mk").write_bytes(OLD["Makefile"][0])
        (folder / "Makefile").unlink()
        (folder / "Makefile").symlink_to("common.mk")
        apply(folder, changes(folder), {})
        assert not (folder / "Makefile").is_symlink()
        self.done(folder)
        assert (folder / "Makefile").readlink() == Path("common.mk")
        assert (folder / "common.mk").read_bytes() == OLD["Makefile"][0]

    def test_own_work_is_kept(self, folder: Path) -> None:
        before = state(folder)
        apply(folder, changes(folder), {})
        (folder / "cases.toml").write_text("my cases")
        (folder / "pyproject.toml").write_text("my project")
        (folder / "Dockerfile").write_text("a new one")
        kept = self.done(folder)
        names = {"cases.toml": b"my cases", "pyproject.toml": b"my project"}
        names["Dockerfile"] = b"a new one"
        assert sorted(kept) == sorted(str(folder / f"{name}.migrated") for name in names)
        now = state(folder)
        for name, content in names.items():
            assert now.pop(f"{name}.migrated")[0] == content
        assert now == before

    def test_own_work_is_not_written_over_either(self, folder: Path) -> None:
        apply(folder, changes(folder), {})
        (folder / "cases.toml").write_text("my cases")
        (folder / "cases.toml.migrated").write_text("older cases")
        assert self.done(folder) == [str(folder / "cases.toml.migrated.1")]
        assert (folder / "cases.toml.migrated").read_text() == "older cases"

    def test_without_a_backup_nothing_is_touched(self, folder: Path) -> None:
        apply(folder, changes(folder), {})
        (folder / "Makefile.backup").unlink()
        before = state(folder)
        with pytest.raises(MigrationError, match=r"Makefile\.backup not found"):
            self.done(folder)
        assert state(folder) == before

    def test_what_was_restored_by_hand_is_fine(self, folder: Path) -> None:
        before = state(folder)
        apply(folder, changes(folder), {})
        (folder / "Makefile.backup").replace(folder / "Makefile")
        self.done(folder)
        assert state(folder) == before

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"complete": true}'])
    def test_a_journal_that_is_broken(self, folder: Path, text: str) -> None:
        (folder / JOURNAL).write_text(text)
        with pytest.raises(MigrationError, match="is invalid"):
            record_of(folder)


# One child for each moment, before and after a file is renamed or removed. It ends there as with
# SIGKILL: nothing of Python's runs after it. A process of its own, since pytest's has threads.
KILLED = """
import os, sys
from pathlib import Path
from tasks.core.migration import journal
from tests.unit import test_migration_journal as test

place, todo = Path(sys.argv[1]), sys.argv[2]

def child(folder, moment):
    seen = 0

    def counted(step):
        def run(*arguments):
            for work in (lambda: None, lambda: step(*arguments)):
                nonlocal seen
                work()
                seen += 1
                if seen == moment:
                    os._exit(9)
        return run

    journal._rename = counted(journal._rename)
    journal._remove = counted(journal._remove)
    if todo == "apply":
        journal.apply(folder, test.changes(folder), {})
    else:
        journal.undo(journal.record_of(folder))
    os._exit(0)

moment = 0
while True:
    moment += 1
    folder = place / str(moment)
    test.fill(folder)
    if todo == "undo":
        journal.apply(folder, test.changes(folder), {})
    pid = os.fork()
    if not pid:
        child(folder, moment)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        break
    assert code == 9, code
"""


def killed(place: Path, todo: str) -> list[Path]:
    """A folder for each moment at which the step was killed; in the last it was done."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), todo],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folders = sorted(place.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 25, "so few steps were tried"
    return folders


def nothing_is_lost(folder: Path) -> None:
    now = state(folder)
    for name, old in OLD.items():
        assert old in (now.get(name), now.get(f"{name}.backup")), name


def test_killed_while_applying(tmp_path: Path) -> None:
    for folder in killed(tmp_path, "apply"):
        nothing_is_lost(folder)
        journal.sweep(folder)
        record = record_of(folder)
        if record is not None:
            undo(record)
        assert state(folder) == OLD
        # And it can be done after all.
        apply(folder, changes(folder), {})
        record = record_of(folder)
        assert record is not None
        undo(record)
        assert state(folder) == OLD


def test_killed_while_undoing(tmp_path: Path) -> None:
    for folder in killed(tmp_path, "undo"):
        nothing_is_lost(folder)
        record = record_of(folder)
        if record is not None:
            undo(record)
        assert state(folder) == OLD


def test_the_journal_holds_no_path_of_the_machine(folder: Path) -> None:
    apply(folder, changes(folder), {})
    text = (folder / JOURNAL).read_text()
    assert str(folder) not in text
    assert {entry["path"] for entry in json.loads(text)["files"]} == {
        os.path.relpath(change.path, folder) for change in changes(folder)
    }


DIGEST = "0" * 64


def journal_of(*paths: object, **more: object) -> str:
    files = [{"path": path, "before": DIGEST, "after": None} for path in paths]
    whole = {"version": 1, "complete": True, "facts": {}, "files": files}
    return json.dumps({**whole, **more})


HOSTILE = {
    "outside": journal_of("../victim"),
    "outside, later": journal_of("deep/../../victim"),
    "absolute": journal_of("/etc/passwd"),
    "the folder": journal_of(""),
    "a dot": journal_of("./Dockerfile"),
    "through a link": journal_of("out/victim"),
    "through a loop": journal_of("loop/victim"),
    "git": journal_of(".git/config"),
    "itself": journal_of(JOURNAL),
    "twice": journal_of("a", "a"),
    "NUL": journal_of("a\0b"),
    "long": journal_of("a/" + "x" * 5000 + "/b"),
    "no Unicode": journal_of("\ud800"),
    "a number": journal_of(3),
    "no entries": journal_of(files=3),
    "odd entries": journal_of(files=[3]),
    "no digest": journal_of(files=[{"path": "a"}]),
    "an odd digest": journal_of(files=[{"path": "a", "before": "x", "after": None}]),
    "odd facts": journal_of(facts={"tag": 3}),
    "complete?": journal_of(complete="yes"),
    "another version": journal_of(version=2),
    "a list": "[]",
    "nothing": "null",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a long number": "9" * 5000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_journal_from_elsewhere_changes_nothing(folder: Path, text: str) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    (outside / "victim.backup").write_text("theirs")
    (folder / "out").symlink_to(outside)
    (folder / "loop").symlink_to("loop")
    (folder / JOURNAL).write_text(text)
    before = state(folder.parent)
    with pytest.raises(MigrationError, match="is invalid") as caught:
        record_of(folder)
    assert len(caught.value.what) < 300
    assert caught.value.next_step
    assert state(folder.parent) == before


def test_a_journal_that_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / JOURNAL)
    with pytest.raises(MigrationError, match="is not a regular file"):
        record_of(folder)
    (folder / JOURNAL).unlink()
    (folder.parent / "elsewhere").write_text(journal_of("a"))
    (folder / JOURNAL).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(MigrationError, match="is invalid"):
        record_of(folder)


def test_a_link_in_place_of_a_file_that_is_written_is_not_followed(folder: Path) -> None:
    victim = folder.parent / "victim"
    victim.write_text("mine")
    for name in ("Makefile", "cases.toml", JOURNAL):
        (folder / f".{name}.migrating").symlink_to(victim)
    apply(folder, changes(folder), {})
    assert victim.read_text() == "mine"
    record = record_of(folder)
    assert record is not None
    undo(record)
    assert victim.read_text() == "mine"
