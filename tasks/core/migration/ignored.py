"""Files that one of the old and the new ``.dockerignore`` keeps out of the image, and one not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..inputs.files import context_root, wanted_in_context
from ..inputs.ignore import BadPatternError, Ignore
from ..model.places import SHIPPED
from ..model.reading import shown
from ..model.settings import Settings
from ..model.udf import Udf
from . import sources
from .image import OldImage
from .reading import read_bytes
from .remarks import Remark, Where, listed


def differences(
    settings: Settings, udf: Udf, image: OldImage, inner: Sequence[Path]
) -> Iterator[Remark]:
    """What to write into the ``.dockerignore`` of the repository, so that nothing differs."""
    root = context_root(settings)
    new = root / ".dockerignore"
    old = _old_file(image, root)
    outside, no_longer, all_files = [], [], []
    for file in sources.files(udf.path, "", inner):
        if file == image.dockerfile.path or _never(file.relative_to(udf.path)):
            continue
        was_out = old is not None and _ignores(old, image.context, file)
        is_out = not wanted_in_context(settings, udf, file)
        all_files += [] if was_out else [file]
        outside += [file] if was_out and not is_out else []
        no_longer += [file] if is_out and not was_out else []
    if outside and old is not None:
        text = f"it keeps {_names(outside, udf)} out of the image: add to {shown(new)}: "
        yield Remark(Where(old), text + listed(_below(root, outside)))
    if no_longer:
        whole = no_longer == all_files
        what = "the program" if whole else _names(no_longer, udf)
        lines = [f"!{name}" for name in _below(root, [udf.path] if whole else no_longer)]
        text = f"it excludes {what}, which the old image has: add {listed(lines)} at its end"
        yield Remark(Where(new), text)


def _old_file(image: OldImage, root: Path) -> Path | None:
    """The file that the old build read: the Dockerfile's own, or that of the context."""
    own = image.dockerfile.path
    for path in (own.with_name(f"{own.name}.dockerignore"), image.context / ".dockerignore"):
        if path.is_file() and path.is_relative_to(root):
            return path
    return None


def _ignores(path: Path, context: Path, file: Path) -> bool:
    if not file.is_relative_to(context):
        return False
    try:
        rules = Ignore(read_bytes(path).decode(errors="replace").splitlines())
    except BadPatternError:
        return False
    return rules.ignores(file.relative_to(context).as_posix())


def _never(path: Path) -> bool:
    """Whether no image has the file, such as a Makefile."""
    lines = read_bytes(SHIPPED / ".dockerignore").decode().splitlines()
    return Ignore(line for line in lines if line.startswith("**/")).ignores(path.as_posix())


def _below(root: Path, files: Sequence[Path]) -> list[str]:
    return [file.relative_to(root).as_posix() for file in files]


def _names(files: Sequence[Path], udf: Udf) -> str:
    return listed(_below(udf.path, files))
