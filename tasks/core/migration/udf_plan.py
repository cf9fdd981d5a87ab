"""The plan for one old UDF: the files that change, and what is left to do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..build.specs import base_versions, python_of
from ..inputs.added import added_packages
from ..inputs.files import context_root
from ..inputs.names import SDK
from ..inputs.old_sdk import too_old
from ..inputs.pipelines import Use
from ..model.errors import MigrationError, ProjectFileError, UdfError
from ..model.reading import read_toml, shown
from ..model.reference import NAME
from ..model.settings import Settings
from ..model.udf import KINDS, Udf, image_name
from . import (
    files,
    ignored,
    journal,
    legacy,
    places,
    process,
    pythons,
    sources,
    stages,
    variants,
)
from .dependencies import LOCKS, Dependencies, is_sdk, line_of
from .deployment import Deployment, verify_with
from .image import OldImage
from .journal import Change
from .legacy import Legacy
from .migration import Migration
from .process import Entry
from .pythons import Choice
from .reading import read_bytes
from .remarks import Remark, Where
from .variants import Programs

_README: Final = re.compile(r"README|LICEN[SC]E|CHANGELOG|NOTICE", re.IGNORECASE)
_OTHER_BUILDERS: Final = (
    *("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"),
    *("docker-bake.hcl", "docker-bake.json", "skaffold.yaml", "Tiltfile"),
)


def migration_of(settings: Settings, old: Legacy, deployment: Deployment) -> Migration:
    """The plan for one old UDF; ``deployment`` is what its repository says of images."""
    name = old.folder.relative_to(settings.root).as_posix()
    migration = Migration(name=name, folder=old.folder)
    try:
        _Udf(settings, old, migration, deployment).read()
        journal.check(migration.changes)
    except UdfError as error:
        migration.error = error
    except OSError as error:
        what = f"{error.filename or shown(old.folder)} cannot be read: {error.strerror}"
        migration.error = MigrationError(what, next_step="make it readable, or remove it")
    migration.by_hand = sorted(dict.fromkeys(migration.by_hand))
    migration.notes = sorted(dict.fromkeys(migration.notes))
    return migration


class _Udf:
    """Fills one :class:`Migration`."""

    def __init__(
        self, settings: Settings, old: Legacy, migration: Migration, deployment: Deployment
    ) -> None:
        self.settings = settings
        self.old = old
        self.migration = migration
        self.folder = old.folder
        self.deployment = deployment
        self.uses: list[Use] = []
        self.sources = sources.read(self.folder, old.inner)
        self.variants: dict[str, dict[str, object]] = {}
        self.options: dict[str, object] = {}
        self.changes: dict[Path, Change] = {}
        path = self.folder / "pyproject.toml"
        self.project = read_toml(path) if path.is_file() else {}
        given = self.project.get("tool", {}).get("numaflow-udf", {})
        self.given: Mapping[str, Any] = given if isinstance(given, dict) else {}

    def read(self) -> None:
        self._name()
        self.uses = [each for each in self.deployment.uses if each.names(self._as_udf())]
        image = self._image()
        if image is not None:
            self._programs(image)
        self._kind()
        if image is not None:
            self._python(image)
            self._packages(image)
            self._copies(image)
            self._entry(image)
            self.migration.by_hand += ignored.differences(
                self.settings, self._as_udf(), image, self.old.inner
            )
        else:
            self._without_image()
        self._dependencies(image)
        self._project()
        self._cases()
        self._old_files()
        self.migration.changes = [self.changes[path] for path in sorted(self.changes)]

    def hand(self, where: Where, text: str) -> None:
        self.migration.by_hand.append(Remark(where, text))

    def note(self, where: Where, text: str) -> None:
        self.migration.notes.append(Remark(where, text))

    def _say(self, found: OldImage | Choice | Entry | Dependencies | Programs) -> None:
        self.migration.by_hand += found.remarks
        self.migration.notes += found.notes

    def _write(self, path: Path, text: str | None, *, executable: bool = False) -> None:
        """The new text of a file, with its own line ends; ``None`` removes it."""
        new = None if text is None else files.Text.read(path).encoded(text)
        before = read_bytes(path) if path.is_file() else None
        if before != new:
            change = Change(path=path, before=before, after=new, executable=executable)
            self.changes[path] = change

    # --- names ------------------------------------------------------------------------------------

    def _name(self) -> None:
        build = self.old.build
        default = image_name(self.migration.name)
        self.migration.repository = str(self.given.get("image", default))
        if build is None:
            return
        old, remarks = legacy.name_of(build)
        self.migration.old_name = old
        self.migration.where = build.where
        self.migration.by_hand += remarks
        for each in self.old.builds:
            self.migration.by_hand += each.remarks
            if each.platforms:
                text = f"--platform {each.platforms}: set INVOKE_UDF_PLATFORMS where you push"
                self.note(each.where, text)
        if not old.name or "image" in self.given:
            return
        if not NAME.fullmatch(old.name):
            self.hand(build.where, f"'{old.name}' is not a valid image name: set image")
        elif old.name != default:
            self.options["image"] = old.name
            self.migration.repository = old.name

    def _kind(self) -> None:
        found = self.sources
        self.migration.by_hand += found.remarks
        path_kind = next((part for part in self.migration.name.split("/") if part in KINDS), "")
        kind = str(self.given.get("kind", ""))
        places = {kind for use in self.uses for kind in use.kinds} if not self.variants else set()
        served = [each for each in found.kinds if each in places] or list(found.kinds)
        if not kind and len(served) == 1:
            [kind] = served
            if kind != path_kind:
                self.options["kind"] = kind
        elif not kind:
            kind = path_kind
            if kind and served and kind not in served:
                where = found.kinds[served[0]]
                text = f"the path says {kind}, and the program serves {' or '.join(served)}"
                self.hand(where, f"{text}: set kind under [tool.numaflow-udf]")
            elif not kind and not self.variants:
                path = self.folder / "pyproject.toml"
                step = "add" if path.is_file() else "create the file with"
                text = f'the kind is not known: {step} kind = "..." under [tool.numaflow-udf]'
                self.hand(Where(path), text)
        self.migration.kind = kind

    # --- the image --------------------------------------------------------------------------------

    def _image(self) -> OldImage | None:
        path, build = self.old.dockerfile, self.old.build
        if path is None or not path.is_file():
            if build is not None:
                text = "the Dockerfile of this build does not exist"
                self.hand(build.where, f"{text}: {shown(path)}" if path else text)
            return None
        context = build.context if build and build.context else path.parent
        given = build.arguments if build else {}
        read = stages.read(path, context, arguments=given, target=build.stage if build else "")
        self._say(read)
        return read

    def _programs(self, image: OldImage) -> None:
        """What pipelines run of the image, which may be several programs."""
        found = variants.programs(self.uses, image, self.old, self.sources.kinds)
        self._say(found)
        if found.process is not None:
            image.process = found.process
        if found.variants and "variants" not in self.given:
            self.variants = found.variants
            self.options["variants"] = found.variants
            self.migration.variants = tuple(found.variants)
        homes = [each for each in {image.workdir, _home(image, self.folder)} if len(each) > 1]
        self.migration.by_hand += places.remarks(self.folder, self.old.inner, homes, self.uses)

    def _python(self, image: OldImage) -> None:
        base, default = python_of(self.settings)
        if "python" in self.given or not default:
            return
        choice = pythons.choose(self._as_udf(), image, base, default)
        self._say(choice)
        if choice.version != default:
            self.options["python"] = choice.version

    def _as_udf(self) -> Udf:
        return Udf(
            name=self.migration.name,
            path=self.folder,
            kind=self.migration.kind,
            repository=self.migration.repository,
            project=self.project,
        )

    def _packages(self, read: OldImage) -> None:
        given = list(self.given.get("system-packages", []))
        new = [name for name in read.packages if name not in given]
        if new:
            self.options["system-packages"] = [*given, *new]

    def _copies(self, read: OldImage) -> None:
        """What the old image has from outside the UDF's folder."""
        root = context_root(self.settings)
        include = list(self.given.get("include", []))
        home = _home(read, self.folder)
        for copy in read.copied:
            for source in copy.sources:
                path = Path(os.path.normpath(read.context / source.lstrip("/")))
                if path.is_relative_to(self.folder) or not path.exists():
                    continue
                if self.folder.is_relative_to(path):
                    text = f"the old image has all of {shown(path)}, the new one the UDF's folder"
                    self.note(copy.where, text)
                    continue
                if path.name in ("pyproject.toml", *LOCKS, "requirements.txt"):
                    continue  # read where they are
                if not read.reaches(copy) or _README.match(path.name):
                    continue
                if path.name == SDK and is_sdk(path.parent):
                    continue  # the base has it
                target = copy.target.rstrip("/")
                if path.is_file() and copy.target.endswith("/"):
                    target = f"{target}/{path.name}"
                item = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
                if item and home and target == f"{home.rstrip('/')}/{item}":
                    include.append(item)
                else:
                    text = f"{source} is outside the UDF's folder, and is not carried over"
                    self.hand(copy.where, text)
        if include != list(self.given.get("include", [])):
            self.options["include"] = list(dict.fromkeys(include))

    def _entry(self, read: OldImage) -> None:
        entry = process.entry_of(read, self.folder, self.project, variants=bool(self.variants))
        self._say(entry)
        env = {**entry.env, **self.given.get("env", {})}
        if env != self.given.get("env", {}):
            self.options["env"] = env
        if entry.workdir and "workdir" not in self.given:
            self.options["workdir"] = entry.workdir
        if not entry.found:
            return
        for path, text in entry.scripts.items():
            self._write(path, text)
        path = self.folder / "entry.sh"
        if entry.script:
            self._write(path, entry.script, executable=True)
        elif path.is_file():
            self._write(path, None)
            where = read.process.where if read.process else Where(path)
            self.note(where, "the old image does not start entry.sh, the new one would: removed")

    def _without_image(self) -> None:
        if not any((self.folder / name).is_file() for name in ("entry.sh", "example.py")):
            text = "what the image starts is not known: write an entry.sh"
            self.hand(Where(self.folder), text)

    # --- files ------------------------------------------------------------------------------------

    def _dependencies(self, read: OldImage | None) -> None:
        found = Dependencies(self.folder, self.project, read)
        self._say(found)
        if found.requirements is not None:
            self._write(self.folder / "requirements.txt", found.requirements)
        python = str(self.options.get("python", "")) or python_of(self.settings)[1]
        try:
            extra = added_packages(
                self._as_udf(), base_versions(), python=python, listed=found.requirements
            )
            if problem := too_old(extra, self.migration.kind):
                path = self.folder / extra.source
                self.hand(Where(path, line_of(path, SDK)), f"{problem}: update it")
            for name, has, wants in extra.overrides:
                if name == SDK:
                    text = f"it uses {SDK} {wants}, the base has {has}: the image gets its own copy"
                    path = self.folder / extra.source
                    self.note(Where(path, line_of(path, SDK)), text)
        except ProjectFileError as error:
            if "requires Python" not in error.what:  # said above
                path = self.folder / "pyproject.toml"
                self.hand(Where(path), f"{error.what}: {error.next_step}")

    def _project(self) -> None:
        if not self.options:
            return
        path = self.folder / "pyproject.toml"
        order = (
            *("image", "kind", "python", "system-packages", "include", "workdir", "env"),
            "variants",
        )
        options = {key: self.options[key] for key in order if key in self.options}
        new = files.project_with(files.Text.read(path).text, options)
        if new is None:
            lines = ", ".join(f"{key} = {value!r}" for key, value in options.items())
            self.hand(Where(path), f"write under [tool.numaflow-udf]: {lines}")
        else:
            self._write(path, new)

    def _cases(self) -> None:
        kinds = {f"cases.{name}.toml": str(each.get("kind", self.migration.kind))
                 for name, each in self.variants.items()}  # fmt: skip
        for name, kind in (kinds or {"cases.toml": self.migration.kind}).items():
            path = self.folder / name
            if not path.exists() and kind:
                self._write(path, files.first_cases(kind))
                self.note(Where(path), "it has one case to start from, which accepts any answer")

    def _old_files(self) -> None:
        dockerfile = self.old.dockerfile
        if dockerfile is not None and dockerfile.is_file():
            if dockerfile.is_relative_to(self.folder):
                self._write(dockerfile, None)
            else:
                self.note(Where(dockerfile), "this UDF no longer uses it; it is kept")
        for name in _OTHER_BUILDERS:
            path = self.folder / name
            if path.is_file() and b"build" in read_bytes(path):
                self.hand(Where(path), "it also builds an image, from files that are removed")
        for script in self.old.scripts:
            self.migration.by_hand += script.other
            if script.makefile is None:
                self._write(script.path, None)
                continue
            text = files.Text.read(script.path).text
            new, remarks = files.makefile_without_builds(script, text)
            self.migration.by_hand += remarks
            self._write(script.path, new)
        for other in self.old.others:
            what = f"target '{other.target}'" if other.target else "script"
            self.note(
                other.where, f"the {what} builds an image that does not run Python: it is kept"
            )
        known = {each.path for each in (*self.old.scripts, *self.old.shared)}
        known |= {each.path for each in self.old.callers}
        self.migration.by_hand += self.deployment.calls(self.folder, known)
        self.migration.by_hand += self.deployment.named(self.migration.repository)
        self.migration.notes += verify_with(self.uses, self.folder)
        for caller in self.old.callers:
            self.hand(caller, "it calls make in the folders of UDFs: use `invoke image-all`")
        for script in self.old.shared:
            line = next(each.where for each in self.old.builds if each.where.path == script.path)
            self.hand(line, f"it still builds {self.migration.name} the old way: remove it")


def _home(read: OldImage, folder: Path) -> str:
    """The folder of the old image that the UDF's folder is copied to, or ``""``."""
    places = [read.workdir, *(copy.target.rstrip("/") or "/" for copy in read.copied)]
    return next((place for place in places if read.locate(place) == folder), "")
