"""The plan of a migration: for each old UDF the files that change, and what is left to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..build.specs import base_versions
from ..inputs.dependencies import extra_of, requires_python
from ..inputs.fingerprint import SDK, context_root
from ..inputs.ignore import BadPatternError, Ignore
from ..model.errors import ImageNameError, MigrationError, ProjectFileError, UdfError
from ..model.settings import NAME, REPOSITORY, Settings
from ..model.udf import KINDS, Udf, image_name, read_toml, scan, shown
from ..plan.specs import python_version
from . import dependencies, files, image, journal, legacy, process, sources
from .image import OldImage
from .journal import Change
from .legacy import Legacy, Reference
from .remarks import Remark, Where

SETTINGS_FILE: Final = REPOSITORY / "invoke.yaml"
_OTHER_BUILDERS: Final = (
    *("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"),
    *("docker-bake.hcl", "docker-bake.json", "skaffold.yaml", "Tiltfile"),
)
_OTHER_SETTINGS_FILES: Final = ("invoke.yml", "invoke.json", "invoke.py")


@dataclass(kw_only=True)
class Migration:
    """What is to be done with one old UDF, or with the settings, whose ``name`` is ``""``.

    ``by_hand`` is what cannot be carried over; ``notes`` is what is, where that may surprise.
    With an ``error`` nothing is done at all.
    """

    name: str
    folder: Path
    kind: str = ""
    repository: str = ""
    reference: Reference = field(default_factory=Reference)
    where: Where | None = None
    """Where the old image is named."""
    changes: list[Change] = field(default_factory=list)
    by_hand: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    error: UdfError | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What the journal remembers, so that a later run knows what the others had."""
        return {"registry": self.reference.registry, "tag": self.reference.tag}


def plan(settings: Settings, names: Sequence[str]) -> list[Migration]:
    """The migrations of the UDFs or folders ``names``, by default of all below the root.

    The settings come first, if they change. Raises :class:`MigrationError` where there is
    nothing to migrate.
    """
    places = [folder_of(settings, name) for name in names]
    found = legacy.find(settings.root, places)
    migrations = [_udf(settings, each) for each in found if each.folder != settings.root]
    for each in found:
        if each.folder == settings.root:
            migrations.append(_root_refused(settings))
    for name, place in zip(names, places, strict=True):
        if not any(each.folder.is_relative_to(place) for each in found):
            raise _nothing(settings, name, place)
    if not migrations:
        raise _nothing(settings, "", settings.root)
    _check_images(settings, migrations)
    first = _settings(settings, [each for each in migrations if each.error is None])
    return [first, *migrations] if first is not None else migrations


def folder_of(settings: Settings, name: str) -> Path:
    """The folder that ``name`` asks for: below the root, or with the root in front."""
    root = shown(settings.root)
    asked = Path(os.path.normpath(settings.root / name))
    for base in (REPOSITORY, settings.root.parent):
        prefixed = Path(os.path.normpath(base / name))
        if not asked.is_dir() and prefixed.is_dir() and prefixed.is_relative_to(settings.root):
            asked = prefixed
    if not asked.is_dir():
        what = f"no folder '{name}' in {root}"
        raise MigrationError(what, next_step="check --udf and --root")
    if not asked.resolve().is_relative_to(settings.root):
        what = f"'{name}' is not below {root}"
        step = f"name its parent as the root: --root {asked.parent} --udf {asked.name}"
        raise MigrationError(what, next_step=step)
    return asked


def _nothing(settings: Settings, name: str, place: Path) -> MigrationError:
    where = shown(place)
    if name and any(record.complete for record in journal.records(place)):
        what = f"{where} is migrated already"
        return MigrationError(what, next_step="--undo takes it back; nothing else is to be done")
    what = f"there is nothing to migrate in {where}"
    step = (
        "a UDF to migrate has a Dockerfile, a Makefile or a build script, and uses pynumaflow; "
        "--root names the folder that holds them"
    )
    del settings
    return MigrationError(what, next_step=step)


def _root_refused(settings: Settings) -> Migration:
    root = settings.root
    what = f"{shown(root)} is a UDF itself, and the root must be a folder that holds UDFs"
    step = f"name its parent as the root: --root {root.parent} --udf {root.name}"
    error = MigrationError(what, next_step=step)
    return Migration(name=".", folder=root, error=error)


# --- one UDF ----------------------------------------------------------------------------------


def _udf(settings: Settings, old: Legacy) -> Migration:
    name = old.folder.relative_to(settings.root).as_posix()
    migration = Migration(name=name, folder=old.folder)
    try:
        _Udf(settings, old, migration).read()
        journal.check(migration.changes)
    except UdfError as error:
        migration.error = error
    migration.by_hand = sorted(dict.fromkeys(migration.by_hand))
    migration.notes = sorted(dict.fromkeys(migration.notes))
    return migration


class _Udf:
    """Fills one :class:`Migration`."""

    def __init__(self, settings: Settings, old: Legacy, migration: Migration) -> None:
        self.settings = settings
        self.old = old
        self.migration = migration
        self.folder = old.folder
        self.options: dict[str, object] = {}
        self.new: dict[Path, tuple[bytes | None, bool]] = {}
        path = self.folder / "pyproject.toml"
        self.project = read_toml(path) if path.is_file() else {}
        told = self.project.get("tool", {}).get("numaflow-udf", {})
        self.told: Mapping[str, Any] = told if isinstance(told, dict) else {}

    def read(self) -> None:
        self._reference()
        image = self._image()
        self._kind()
        self._python(image)
        if image is not None:
            self._packages(image)
            self._copies(image)
            self._entry(image)
            self._ignored(image)
        else:
            self._without_image()
        self._dependencies(image)
        self._project()
        self._cases()
        self._old_files()
        self._changes()

    def hand(self, where: Where, text: str) -> None:
        self.migration.by_hand.append(Remark(where, text))

    def note(self, where: Where, text: str) -> None:
        self.migration.notes.append(Remark(where, text))

    # --- names ------------------------------------------------------------------------------------

    def _reference(self) -> None:
        build = self.old.build
        default = image_name(self.migration.name)
        self.migration.repository = str(self.told.get("image", default))
        if build is None:
            return
        reference, remarks = legacy.reference_of(build)
        self.migration.reference = reference
        self.migration.where = build.where
        self.migration.by_hand += remarks
        for each in self.old.builds:
            self.migration.by_hand += each.remarks
            if each.platforms:
                text = f"--platform {each.platforms}: set INVOKE_UDF_PLATFORMS where you push"
                self.note(each.where, text)
        if not reference.name or "image" in self.told:
            return
        if not NAME.fullmatch(reference.name):
            self.hand(build.where, f"'{reference.name}' is not a valid image name: set image")
        elif reference.name != default:
            self.options["image"] = reference.name
            self.migration.repository = reference.name

    def _kind(self) -> None:
        found = sources.read(self.folder)
        self.migration.by_hand += found.remarks
        path_kind = next((part for part in self.migration.name.split("/") if part in KINDS), "")
        kind = str(self.told.get("kind", ""))
        if not kind and len(found.kinds) == 1:
            [kind] = found.kinds
            if kind != path_kind:
                self.options["kind"] = kind
        elif not kind:
            kind = path_kind
            if not kind:
                text = "the kind is not known: set kind under [tool.numaflow-udf]"
                self.hand(Where(self.folder / "pyproject.toml"), text)
        self.migration.kind = kind

    # --- the image --------------------------------------------------------------------------------

    def _image(self) -> OldImage | None:
        path = self.old.dockerfile
        if path is None or not path.is_file():
            build = self.old.build
            if build is not None:
                text = "the Dockerfile of this build is not there"
                self.hand(build.where, f"{text}: {shown(path)}" if path else text)
            return None
        build = self.old.build
        context = build.context if build and build.context else path.parent
        read = image.read(
            path,
            context,
            arguments=build.arguments if build else {},
            target=build.stage if build else "",
        )
        self.migration.by_hand += read.remarks
        self.migration.notes += read.notes
        return read

    def _python(self, read: OldImage | None) -> None:
        if "python" in self.told:
            return
        default = python_version(self.settings.python_image)
        where = read.dockerfile.stages[0].where if read and read.dockerfile.stages else None
        wanted = read.python if read else ""
        supported = _supported()
        if not default or where is None:
            return
        chosen = default
        if wanted and wanted != default:
            if wanted in supported:
                chosen = wanted
            else:
                text = (
                    f"Python {wanted} is not one of the base's, {supported[0]} to {supported[-1]}"
                )
                self.hand(where, f"{text}: see that the UDF runs on {default}")
        try:
            required = requires_python(self._as_udf())
        except ValueError:  # a form that no task can read, which is said below
            required = []
        if any(required) and not _fits(chosen, required):
            path = self.folder / "pyproject.toml"
            line = dependencies.line_of(path, "requires-python") or dependencies.line_of(
                path, "python"
            )
            fitting = [version for version in supported if _fits(version, required)]
            said = f"it asks for Python {' or '.join(required)}"
            if not fitting:
                text = f"{said}, and the base has {supported[0]} to {supported[-1]}"
                self.hand(Where(path, line), f"{text}: raise the limit")
            else:
                chosen = fitting[-1]
                self.note(Where(path, line), f"{said}: {chosen} is used")
        if chosen != default:
            self.options["python"] = chosen

    def _as_udf(self) -> Udf:
        return Udf(
            name=self.migration.name,
            path=self.folder,
            kind=self.migration.kind,
            repository=self.migration.repository,
            project=self.project,
        )

    def _packages(self, read: OldImage) -> None:
        told = list(self.told.get("system-packages", []))
        new = [name for name in read.packages if name not in told]
        if new:
            self.options["system-packages"] = [*told, *new]

    def _copies(self, read: OldImage) -> None:
        """What the old image has from outside the UDF's folder."""
        root = context_root(self.settings)
        include = list(self.told.get("include", []))
        home = _home(read, self.folder)
        for copy in read.copied:
            for source in copy.sources:
                path = Path(os.path.normpath(read.context / source.lstrip("/")))
                if path.is_relative_to(self.folder) or not path.exists():
                    continue
                if self.folder.is_relative_to(path):
                    text = f"the old image holds all of {shown(path)}, the new one the UDF's folder"
                    self.note(copy.where, text)
                    continue
                if path.name in ("pyproject.toml", *dependencies.LOCKS, "requirements.txt"):
                    continue  # read where they stand
                target = copy.target.rstrip("/")
                if path.is_file() and copy.target.endswith("/"):
                    target = f"{target}/{path.name}"
                item = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
                if item and home and target == f"{home.rstrip('/')}/{item}":
                    include.append(item)
                else:
                    text = f"{source} is from outside the UDF's folder, and is not carried over"
                    self.hand(copy.where, text)
        if include != list(self.told.get("include", [])):
            self.options["include"] = list(dict.fromkeys(include))

    def _ignored(self, read: OldImage) -> None:
        """Files that the old ``.dockerignore`` kept out, and nothing keeps out now."""
        path = read.context / ".dockerignore"
        if not path.is_file() or read.context == context_root(self.settings):
            return
        never = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
        try:
            old = Ignore(path.read_text(encoding="utf-8", errors="replace").splitlines())
        except BadPatternError:
            return
        new = Ignore([line for line in never if line.startswith("**/")])
        found = [
            file.relative_to(self.folder).as_posix()
            for file in sources.files(self.folder, "")
            if file.is_relative_to(read.context)
            and old.ignores(file.relative_to(read.context).as_posix())
            and not new.ignores(file.relative_to(self.folder).as_posix())
            and file != read.dockerfile.path
        ]
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            place = shown(context_root(self.settings) / ".dockerignore")
            text = f"it keeps {', '.join(found[:3])}{more} out of the image: say so in {place}"
            self.hand(Where(path), text)

    def _entry(self, read: OldImage) -> None:
        entry = process.entry_of(read, self.folder, self.project)
        self.migration.by_hand += entry.remarks
        self.migration.notes += entry.notes
        if not entry.found:
            return
        for path, text in entry.scripts.items():
            self.new[path] = (files.Text.read(path).encoded(text), False)
        path = self.folder / "entry.sh"
        if entry.script:
            self.new[path] = (files.Text.read(path).encoded(entry.script), True)
        elif path.is_file():
            self.new[path] = (None, False)
            where = read.process.where if read.process else Where(path)
            self.note(where, "entry.sh is not what the old image starts, and would be started now")

    def _without_image(self) -> None:
        if not any((self.folder / name).is_file() for name in ("entry.sh", "example.py")):
            text = "what the image starts is not known: write an entry.sh"
            self.hand(Where(self.folder), text)

    # --- files ------------------------------------------------------------------------------------

    def _dependencies(self, read: OldImage | None) -> None:
        found = dependencies.read(self.folder, self.project, read)
        self.migration.by_hand += found.remarks
        self.migration.notes += found.notes
        if found.requirements is not None:
            path = self.folder / "requirements.txt"
            self.new[path] = (files.Text.read(path).encoded(found.requirements), False)
            return
        python = str(self.options.get("python", "")) or python_version(self.settings.python_image)
        try:
            extra = extra_of(self._as_udf(), base_versions(), python=python)
            for name, has, wants in extra.overrides:
                if name == SDK:
                    text = f"it has {SDK} {wants}, and the base {has}: it gets its own"
                    path = self.folder / extra.source
                    self.note(Where(path, dependencies.line_of(path, SDK)), text)
        except ProjectFileError as error:
            if "requires Python" not in error.what:  # said above
                path = self.folder / "pyproject.toml"
                self.hand(Where(path), f"{error.what}: {error.next_step}")

    def _project(self) -> None:
        if not self.options:
            return
        path = self.folder / "pyproject.toml"
        text = files.Text.read(path)
        order = ("image", "kind", "python", "system-packages", "include")
        options = {key: self.options[key] for key in order if key in self.options}
        new = files.project_with(text.text, options)
        if new is None:
            lines = ", ".join(f"{key} = {value!r}" for key, value in options.items())
            self.hand(Where(path), f"write under [tool.numaflow-udf]: {lines}")
        else:
            self.new[path] = (text.encoded(new), False)

    def _cases(self) -> None:
        path = self.folder / "cases.toml"
        if not path.exists() and self.migration.kind:
            self.new[path] = (files.first_cases(self.migration.kind).encode(), False)
            self.note(
                Where(path), "it has one case to start from, which expects no answer in particular"
            )

    def _old_files(self) -> None:
        dockerfile = self.old.dockerfile
        if dockerfile is not None and dockerfile.is_file():
            if dockerfile.is_relative_to(self.folder):
                self.new[dockerfile] = (None, False)
            else:
                self.note(Where(dockerfile), "it stays, and has no part in this UDF any more")
        for name in _OTHER_BUILDERS:
            path = self.folder / name
            if path.is_file() and b"build" in path.read_bytes():
                self.hand(Where(path), "it builds an image as well, from files that are gone")
        for script in self.old.scripts:
            self.migration.by_hand += script.other
            if script.makefile is None:
                self.new[script.path] = (None, False)
                continue
            text = files.Text.read(script.path)
            new, remarks = files.makefile_without_builds(script, text.text)
            self.migration.by_hand += remarks
            self.new[script.path] = (None if new is None else text.encoded(new), False)
        for caller in self.old.callers:
            self.hand(caller, "it calls make in the folders of UDFs: `invoke image-all` takes over")
        for script in self.old.shared:
            line = next(each.where for each in self.old.builds if each.where.path == script.path)
            self.hand(line, f"it still builds {self.migration.name} the old way: take it out")

    def _changes(self) -> None:
        for path, (after, executable) in self.new.items():
            before = path.read_bytes() if path.is_file() else None
            if before != after:
                self.migration.changes.append(
                    Change(path=path, before=before, after=after, executable=executable)
                )
        self.migration.changes.sort(key=lambda change: change.path)


def _home(read: OldImage, folder: Path) -> str:
    """The folder of the old image that the UDF's folder is copied to, or ``""``."""
    places = [read.workdir, *(copy.target.rstrip("/") or "/" for copy in read.copied)]
    return next((place for place in places if read.locate(place) == folder), "")


def _supported() -> list[str]:
    from packaging.specifiers import SpecifierSet

    required = read_toml(REPOSITORY / "pyproject.toml")["project"]["requires-python"]
    limits = SpecifierSet(required)
    return [f"3.{minor}" for minor in range(40) if limits.contains(f"3.{minor}.99")]


def _fits(version: str, required: Sequence[str]) -> bool:
    """Whether one of the specifiers holds for the first or the newest release of a version."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return any(
            SpecifierSet(each).contains(f"{version}.{micro}", prereleases=True)
            for each in required
            for micro in (0, 99)
        )
    except InvalidSpecifier:
        return True


def _check_images(settings: Settings, migrations: Sequence[Migration]) -> None:
    """No two UDFs may give the same image, neither two old ones nor an old and a new one."""
    owners = {udf.repository: udf.name for udf in scan(settings)[0]}
    owners = {
        repository: name
        for repository, name in owners.items()
        if name not in {each.name for each in migrations}
    }
    for each in migrations:
        if each.error is not None:
            continue
        other = owners.setdefault(each.repository, each.name)
        if other != each.name:
            what = f"UDFs {other} and {each.name} would both give the image {each.repository}"
            step = f"set image under [tool.numaflow-udf] in {each.name}/pyproject.toml"
            each.error = ImageNameError(what, next_step=step)


# --- settings ---------------------------------------------------------------------------------


def _settings(settings: Settings, migrations: Sequence[Migration]) -> Migration | None:
    """Registry and tag, which belong to all UDFs: written where all old ones agree."""
    earlier = [dict(record.facts) for record in journal.records(settings.root)]
    values: dict[str, str] = {}
    for key in ("registry", "tag"):
        current = str(getattr(settings, key))
        own = {each.name: each.facts[key] for each in migrations if each.facts[key]}
        known = {*own.values(), *(facts.get(key, "") for facts in earlier)} - {""}
        if len(known) == 1 and settings.sources[key] == "default":
            [value] = known
            if value != current:
                values[key] = value
            continue
        for each in migrations:
            if own.get(each.name, current) != current and each.reference.name:
                value = own[each.name]
                flag = (
                    f"udf.{key} is {current or 'not set'}, as not all UDFs agree"
                    if (len(known) > 1)
                    else f"udf.{key} is {current} ({settings.sources[key]})"
                )
                where = each.where or Where(each.folder)
                text = f"the {key} of the old image is {value}, but {flag}: give --{key} {value}"
                each.by_hand.append(Remark(where, text))
    if not values:
        return None
    return _settings_change(values)


def _settings_change(values: Mapping[str, str]) -> Migration | None:
    migration = Migration(name="", folder=SETTINGS_FILE.parent)
    shown_values = ", ".join(f"{key}: {value}" for key, value in values.items())
    others = [name for name in _OTHER_SETTINGS_FILES if (SETTINGS_FILE.parent / name).is_file()]
    before = SETTINGS_FILE.read_bytes() if SETTINGS_FILE.is_file() else None
    new = None
    if not others:
        new = files.settings_with((before or b"").decode("utf-8"), values)
    if new is None:
        place = SETTINGS_FILE.parent / others[0] if others else SETTINGS_FILE
        text = f"write under udf, as all migrated UDFs agree: {shown_values}"
        migration.by_hand.append(Remark(Where(place), text))
        return migration
    change = Change(path=SETTINGS_FILE, before=before, after=new.encode())
    migration.changes.append(change)
    text = f"registry and tag are settings of all UDFs: {shown_values}"
    migration.notes.append(Remark(Where(SETTINGS_FILE), text))
    try:
        journal.check(migration.changes)
    except MigrationError as error:
        migration.error = error
    return migration


# --- for people and machines ------------------------------------------------------------------


def diff(settings: Settings, migration: Migration) -> str:
    """The changes as a unified diff, with paths as people read them; renames as git's are."""
    return "".join(_diff_lines(settings, migration))


def _diff_lines(settings: Settings, migration: Migration) -> Iterator[str]:
    for change in migration.changes:
        name, backup = place(settings, change.path), place(settings, change.backup)
        if change.after is None:
            yield f"rename from {name}\nrename to {backup}\n"
            continue
        if change.before is not None:
            yield f"copy from {name}\ncopy to {backup}\n"
        before = (change.before or b"").decode("utf-8", "replace").splitlines(keepends=True)
        after = change.after.decode("utf-8", "replace").splitlines(keepends=True)
        old = "/dev/null" if change.before is None else f"a/{name}"
        for line in difflib.unified_diff(before, after, old, f"b/{name}"):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def place(settings: Settings, path: Path) -> str:
    """A path as people read it: below the root's parent, or relative to this repository."""
    if path.is_relative_to(REPOSITORY):
        return path.relative_to(REPOSITORY).as_posix()
    if path.is_relative_to(settings.root.parent):
        return path.relative_to(settings.root.parent).as_posix()
    return str(path)


def told(settings: Settings, remark: Remark) -> str:
    """``file:line: text`` of a remark."""
    where = place(settings, remark.where.path)
    line = f":{remark.where.line}" if remark.where.line else ""
    return f"{where}{line}: {remark.text}"


def row(settings: Settings, migration: Migration, *, applied: bool) -> dict[str, object]:
    """The stable keys of ``--json``."""

    def remarks(found: Sequence[Remark]) -> list[dict[str, object]]:
        return [
            {
                "file": place(settings, each.where.path),
                "line": each.where.line or None,
                "text": each.text,
            }
            for each in found
        ]

    return {
        "udf": migration.name or None,
        "kind": migration.kind or None,
        "image": migration.repository or None,
        "registry": migration.reference.registry or None,
        "tag": migration.reference.tag or None,
        "files": [
            {
                "file": place(settings, change.path),
                "action": change.action,
                "backup": None if change.before is None else place(settings, change.backup),
            }
            for change in migration.changes
        ],
        "by_hand": remarks(migration.by_hand),
        "notes": remarks(migration.notes),
        "error": migration.error.what if migration.error else None,
        "applied": applied and migration.error is None,
    }
