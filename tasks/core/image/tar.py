"""The tar format, written by hand: a few bytes of header that no Python version changes.

Headers are ustar (POSIX.1-1988). What these cannot say, a PAX header before them does: names
over 100 bytes or beyond ASCII, and sizes of 8 GiB and more.
"""

from __future__ import annotations

from typing import Final, Literal

from ..model.labels import EPOCH

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What ends an archive."""

Kind = Literal["file", "link", "folder"]

_TYPES: Final[dict[str, bytes]] = {"file": b"0", "link": b"2", "folder": b"5", "pax": b"x"}
_NAME: Final = 100  # bytes that the name and the target of a link have in a header
_LARGEST: Final = 0o77777777777
_PAX_NAME: Final = b"././@PaxHeader"


def header(
    name: bytes,
    *,
    kind: Kind = "file",
    mode: int = 0o644,
    size: int = 0,
    target: bytes = b"",
    time: int = EPOCH,
) -> bytes:
    """The header of one entry, owned by 0:0; the content and its :func:`padding` follow.

    Names and targets of links may hold any byte but NUL.
    """
    records = []
    if _needs_pax(name):
        records.append((b"path", name))
    if _needs_pax(target):
        records.append((b"linkpath", target))
    if size > _LARGEST:
        records.append((b"size", b"%d" % size))
    block = _block(
        _short(name), _TYPES[kind], mode, 0 if size > _LARGEST else size, _short(target), time
    )
    return _pax(records) + block if records else block


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of content, up to the next block."""
    return bytes(-size % BLOCK)


def _needs_pax(text: bytes) -> bool:
    return len(text) > _NAME or not text.isascii()


def _short(text: bytes) -> bytes:
    """What an old reader gets to see of a name that the PAX header gives in full."""
    return bytes(byte if byte < 128 else ord("?") for byte in text[:_NAME])


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    try:
        b"".join(value for _, value in records).decode()
    except UnicodeDecodeError:
        # By POSIX, the values of a PAX header are UTF-8 unless it says that they are not.
        records = [(b"hdrcharset", b"BINARY"), *records]
    data = b"".join(_record(key, value) for key, value in records)
    block = _block(_PAX_NAME, _TYPES["pax"], 0, len(data), b"", 0)
    return block + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE`` and a newline; the length counts its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def _block(name: bytes, kind: bytes, mode: int, size: int, target: bytes, time: int) -> bytes:
    parts = (
        name.ljust(_NAME, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % 0,  # owner
        b"%07o\0" % 0,  # group
        b"%011o\0" % size,
        b"%011o\0" % time,
        b" " * 8,  # the checksum is of a header that has spaces in its place
        kind,
        target.ljust(_NAME, b"\0"),
        b"ustar\x0000",
    )
    block = b"".join(parts).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
