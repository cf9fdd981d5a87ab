"""The parts of a build cache in a registry, a folder or a service. Pure: no I/O."""

from __future__ import annotations

from ..model.errors import ConfigError


def cache_entry(cache: str, target: str, *, write: bool = False) -> str:
    """One target's part of a cache, in buildx's words: no target writes over another's.

    ``cache`` is a repository, in which each target gets a tag, or buildx's own form, such as
    ``type=gha``, to which the name of the target is added where that type has a place for it.
    """
    fields = dict(
        part.split("=", 1)
        for part in (cache if cache.startswith("type=") else f"type=registry,ref={cache}").split(
            ","
        )
    )
    kind = fields["type"]
    key = {"registry": "ref", "local": "dest" if write else "src", "gha": "scope"}.get(kind, "name")
    glue = {"registry": ":", "local": "/"}.get(kind, "-")
    place = fields.get(key) or (fields.get("dest") if kind == "local" else None)
    if place is None and kind in ("registry", "local"):
        what = f"the cache '{cache}' names no {key}"
        raise ConfigError(what, next_step=f"give type={kind},{key}=...")
    fields = {name: value for name, value in fields.items() if name not in ("src", "dest")}
    fields[key] = f"{place}{glue}{target}" if place else target
    if write:
        fields.setdefault("mode", "max")
    return ",".join(f"{name}={value}" for name, value in fields.items())
