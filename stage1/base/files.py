"""Files that outlive the process are written whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage1.base.errors import ResultsError, Stage1Error
from stage1.base.text import brief

_SCRATCH = "s1-"
"""Short, for Ray's sockets lie in such a folder, and a socket's path is short."""
_SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Temporary folders where that of the system, or of TMPDIR, has too long a path."""
_QUOTED = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust, such as safetensors, tell of a fault of the operating system."""


@contextmanager
def atomic_path(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `target` that replaces it when the block ends without an error.

    Works for a file and, when the block creates a folder at the path, for a folder; one that is
    there already gives way only with `replace`. The target's parent is created.

    Raises:
        OSError: It cannot be written, or is there and may not be replaced; it stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    path = holder / target.name
    try:
        with system_faults():
            yield path
        if replace and path.is_dir() and target.is_dir():
            os.replace(target, holder / "previous")
        os.replace(path, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def system_fault(error: BaseException) -> OSError | None:
    """What the operating system has refused, where an error is that or hides it; else None.

    A full disk comes as an error of the library that was writing: torch raises its own over it,
    safetensors quotes it, Ray Tune wraps what its callbacks raise.
    """
    hidden: BaseException | None = error
    while hidden is not None and not isinstance(hidden, OSError):
        if quoted := _QUOTED.search(str(hidden)):
            return OSError(int(quoted[1]), os.strerror(int(quoted[1])))
        hidden = hidden.__cause__ or (None if hidden.__suppress_context__ else hidden.__context__)
    return hidden


@contextmanager
def system_faults() -> Iterator[None]:
    """Raise what the operating system has refused as the OSError it is, whoever wraps it.

    Raises:
        OSError: Such an error came out of the block, perhaps hidden in another one.
    """
    try:
        yield
    except Stage1Error:  # says what it is about
        raise
    except Exception as error:
        fault = system_fault(error)
        if fault is None or fault is error:
            raise
        raise fault from None


@contextmanager
def scratch_folder(*, longest: int | None = None) -> Iterator[Path]:
    """A temporary folder of this process, closed to other users and gone when the block ends.

    Removes those that killed processes have left behind: nobody else ever would.

    Args:
        longest: Bytes that its path may have; None = any number. The folder lies elsewhere than
            usual where that is too deep.

    Raises:
        ResultsError: No folder can be made, or none with so short a path.
    """
    prefix = _SCRATCH + _machine()
    name = f"{prefix}-{os.getpid()}-"
    parent = _temporary_folder(None if longest is None else longest - len(f"/{name}????????"))
    for folder in parent.glob(f"{prefix}-*-????????"):
        match = re.fullmatch(re.escape(prefix) + r"-(\d{1,9})-\w{8}", folder.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
    with must_be_writable(parent, advice="make room there, or set TMPDIR to another folder"):
        holder = tempfile.TemporaryDirectory(prefix=name, dir=parent, ignore_cleanup_errors=True)
    with holder as path:
        yield Path(path)


def remove_scratch_folders() -> None:
    """Remove all that this process has, where it ends on the spot."""
    for place in {tempfile.gettempdir(), *_SHORT_PLACES}:
        for folder in Path(place).glob(f"{_SCRATCH}{_machine()}-{os.getpid()}-????????"):
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder(longest: int | None) -> Path:
    """That of the system, or of TMPDIR, or another one where its path has too many bytes."""
    try:
        usual = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ResultsError(f"TMPDIR must be a folder that can be written, got {error}") from None
    for place in (usual, *_SHORT_PLACES):
        if longest is None or (len(os.fsencode(place)) <= longest and os.access(place, os.W_OK)):
            return Path(place)
    raise ResultsError(
        f"TMPDIR must be a folder whose path has at most {longest} bytes, got {usual}, and none of "
        f"{', '.join(_SHORT_PLACES)} can be written; set it to a folder that can"
    )


def _machine() -> str:
    """Where a process number means what it means here: this host, and this container of it."""
    namespace = Path("/proc/self/ns/pid")
    number = namespace.stat().st_ino if namespace.exists() else 0
    return hashlib.sha256(f"{platform.node()} {number}".encode()).hexdigest()[:6]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:  # a PermissionError where it is another user's
        return not isinstance(error, ProcessLookupError)
    return True


def remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed inside `atomic_path(target)` have left beside it.

    Nobody may be writing `target`.
    """
    for holder in target.parent.glob(f".{glob.escape(target.name)}.????????"):
        if holder.is_dir() and not holder.is_symlink():
            shutil.rmtree(holder, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def with_checksum(text: str, label: str) -> str:
    """The text below a comment that holds its SHA-256, so that a later edit shows.

    `label` begins the comment and says what the file is.
    """
    return f"{_comment(label)}{_sha256(text)}\n{text}"


def checksum_holds(text: str, label: str) -> bool | None:
    """Whether a text is as `with_checksum` wrote it; None if it does not begin like one."""
    first, _, rest = text.partition("\n")
    match = re.fullmatch(re.escape(_comment(label)) + "([0-9a-f]{64})", first)
    return None if match is None else match[1] == _sha256(rest)


def _comment(label: str) -> str:
    return f"# {label}sha256 of what follows this line: "


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def must_be_writable(
    path: Path, kind: str = "folder", *, advice: str = "give another --out"
) -> Iterator[None]:
    """Say in one line that a place cannot be written, or that its disk is full, and what to do.

    Raises:
        ResultsError: Something in the block could not be read or written.
    """
    try:
        with system_faults():
            yield
    except OSError as error:
        reason = brief(str(error))
        raise ResultsError(
            f"{path}: must be a {kind} that can be written, got {reason}; {advice}"
        ) from None
