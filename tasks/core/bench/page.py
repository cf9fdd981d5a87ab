"""The figures as a Markdown page, and as a block between two marks in a page by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..model.errors import ConfigError
from . import charts, tables
from .results import Results

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"

PAGE: Final = "performance.md"

_ALT: Final = {
    "bench-builds": "Seconds of a first build, of a build after an edit, and of all examples",
    "bench-scenarios": "Seconds of every scenario and strategy",
    "bench-bytes": "Bytes of the image, of its own layers, of a push and of the context",
    "bench-scale": "Seconds by the number of UDFs",
}


def write(results: Results, folder: Path) -> list[Path]:
    """Write the page and its pictures into ``folder``; the files that were written.

    A page that exists and has the marks keeps what stands around them. So does a README.md
    in the folder above, which gets the short table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = charts.draw(results, folder)
    names = [path.stem for path in drawn]
    page = folder / PAGE
    if page.exists():
        _fill(page, block(results, names))
    else:
        head = "# Performance\n\n"
        page.write_text(f"{head}{_marked(block(results, names))}", encoding="utf-8")
    written = [*drawn, page]
    readme = folder.resolve().parent / "README.md"
    if readme.is_file() and BEGIN in readme.read_text(encoding="utf-8"):
        _fill(readme, short_block(results, names, folder.resolve().name))
        written.append(readme)
    return written


def block(results: Results, pictures: list[str]) -> str:
    """All figures, with the pictures that stand beside the page."""
    parts = [f"Measured on {tables.machine(results)}.{_remarks(results)}"]
    parts += [tables.approaches(results).markdown(), _picture("bench-builds", pictures, "")]
    parts += ["### Every scenario", tables.scenarios(results).markdown()]
    parts += [tables.times(results).markdown(), _picture("bench-scenarios", pictures, "")]
    parts += ["### Bytes", tables.bytes_table(results).markdown()]
    parts += [_picture("bench-bytes", pictures, "")]
    if results.scale:
        parts += ["### Many UDFs", tables.scale(results).markdown()]
        parts += [_picture("bench-scale", pictures, "")]
    return "\n\n".join(part for part in parts if part)


def short_block(results: Results, pictures: list[str], folder: str) -> str:
    """The table of approaches and one picture, for a README in the folder above."""
    parts = [
        tables.approaches(results).markdown(),
        _picture("bench-builds", pictures, f"{folder}/"),
        f"Measured on {tables.machine(results)}.{_remarks(results)}",
    ]
    return "\n\n".join(part for part in parts if part)


def between(text: str) -> str:
    """What stands between the marks of a page; ``""`` where it has none."""
    return text.partition(BEGIN)[2].partition(END)[0].strip("\n")


def _remarks(results: Results) -> str:
    remarks = []
    if results.quick:
        remarks.append("A quick run: most figures are of one to three builds.")
    if results.repeated:
        failed = "1 build" if results.repeated == 1 else f"{results.repeated} builds"
        were = "was" if results.repeated == 1 else "were"
        remarks.append(f"{failed} failed because of an engine error and {were} run once more.")
    if not results.engine.get("own", True):
        remarks.append(
            "`cold` was measured on an engine in use: every step was run again, but downloads "
            "may have come from BuildKit's cache mounts."
        )
    return "".join(f" {remark}" for remark in remarks)


def _picture(name: str, pictures: list[str], folder: str) -> str:
    return f"![{_ALT[name]}]({folder}{name}.svg)" if name in pictures else ""


def _marked(text: str) -> str:
    return f"{BEGIN}\n{text}\n{END}\n"


def _fill(path: Path, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    head, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        what = f"{path} has no lines {BEGIN} and {END} to put the figures between"
        raise ConfigError(what, next_step="add the two lines, or give another folder")
    path.write_text(f"{head}{_marked(text)}{after.removeprefix(chr(10))}", encoding="utf-8")
