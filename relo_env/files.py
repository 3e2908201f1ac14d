"""Files that appear whole or not at all.

Every file of RELO's own is written here: under a temporary name beside its place, then renamed.
Modes follow the umask, links stay links, and a disk that refuses is an `OutputError`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relo_env.errors import OutputError, ReloError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file that takes the place of ``path`` when the block has succeeded.

    The temporary name keeps the suffix. The folder is made if missing. If the block raises, the
    temporary file is removed and what was at ``path`` stays.

    Args:
        path: file to write; a link is followed.

    Raises:
        OutputError: the disk is full, the folder is not writable, or another fault of the disk.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary_path(target)
    with refusals_explained(path):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Path of a hidden file beside ``path`` with its suffix, and a name that is not too long."""
    return path.with_name(f".part-{os.getpid()}-{path.name[-48:]}")


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a folder: another process that asks for it waits until the end of the block.

    A worker whose parent was killed still saves for some seconds, while the next run begins. File
    systems without locks, and Windows, are not protected.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def refusals_explained(path: str | Path) -> Iterator[None]:
    """Raise an OSError of the block as an `OutputError` that names ``path``."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or give another "
            "place, then run the same again."
        ) from error


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file whole; see `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a text file whole, as UTF-8; see `replacing`.

    Bytes of file names that are not UTF-8 are escaped.
    """
    write_atomically(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file whole; see `replacing`."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def digest_file(path: str | Path, digits: int = 16) -> str:
    """First hexadecimal digits, of 64, of the SHA-256 of a file's content."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()[:digits]


def read_json(path: str | Path, error: type[ReloError]) -> dict[str, Any]:
    """Object of a JSON file; raises ``error`` if it is missing, damaged or no object."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise error(f"{path} cannot be read as JSON: {fault}. {_REPAIR}") from fault
    if not isinstance(content, dict):
        raise error(
            f"{path} holds {type(content).__name__} {str(content)[:40]!r}; expected a JSON object. "
            f"{_REPAIR}"
        )
    return content


_REPAIR = "The file is damaged or not one of RELO's; restore it, or choose another folder."
