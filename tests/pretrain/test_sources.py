import json

import pytest

from stage1.base.errors import DataError
from stage1.pretrain.sources import Source, read_sources, write_sources

TEXTS = {"books/a.txt": "größer".encode(), "b.txt": "naïve".encode("cp1252")}
SOURCE = {
    "name": "books",
    "version": "1.0.0",
    "licence": "CC0",
    "url": "https://www.npmjs.com/package/books/v/1.0.0",
    "archive_sha256": "0123456789abcdef" * 4,
    "files": 2,
    "characters": 11,
}


@pytest.fixture
def corpus(tmp_path):
    """Makes a folder with two texts of eleven characters, and what its `sources.json` says."""

    def make(content, name="corpus"):
        folder = tmp_path / name
        (folder / "books").mkdir(parents=True)
        for path, text in TEXTS.items():
            (folder / path).write_bytes(text)
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / "sources.json").write_text(text)
        return folder

    return make


def test_the_sources_are_read_in_the_order_of_folders(corpus):
    halves = [SOURCE | {"name": n, "files": 1, "characters": c} for n, c in (("b", 5), ("a", 6))]

    read = read_sources([corpus([SOURCE], "one"), corpus(halves, "other")])

    assert [source.name for source in read] == ["books", "b", "a"]
    assert read[0].model_dump() == SOURCE


def test_a_folder_or_file_that_says_nothing_has_no_sources(corpus):
    folder = corpus(None)

    assert read_sources([folder, folder / "b.txt", folder / "absent"]) == []


def test_what_is_written_is_read_again(corpus):
    folder = corpus(None)
    sources = [Source.model_validate(SOURCE)]

    write_sources(sources, folder)

    assert read_sources([folder]) == sources


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param("", "Invalid JSON", id="empty"),
        pytest.param('[{"name"', "Invalid JSON", id="cut short"),
        pytest.param({"sources": []}, "must be a", id="no list"),
        pytest.param([3], "0 must be a mapping of keys to values, got 3", id="no mapping"),
        pytest.param(
            [{k: v for k, v in SOURCE.items() if k != "licence"}],
            "0.licence must be given",
            id="no licence",
        ),
        pytest.param([SOURCE | {"author": "x"}], "0.author unknown key", id="unknown key"),
        pytest.param([SOURCE | {"files": 0}], "0.files must be > 0, got 0", id="no files"),
        pytest.param(
            [SOURCE | {"characters": "11"}],
            "0.characters must be a whole number, got '11'",
            id="a number as text",
        ),
        pytest.param([SOURCE | {"archive_sha256": "abc"}], "0.archive_sha256 must", id="no sha256"),
        pytest.param([SOURCE | {"url": "javascript:x"}], "0.url must match", id="no address"),
    ],
)
def test_malformed_sources_are_one_line_that_names_the_file_and_the_fault(corpus, content, fault):
    folder = corpus(content)

    with pytest.raises(DataError) as caught:
        read_sources([folder])

    message = str(caught.value)
    assert message.startswith(f"{folder / 'sources.json'}: {fault}")
    assert message.endswith("or remove this file")
    assert "\n" not in message


def test_all_faults_are_named_at_once(corpus):
    with pytest.raises(DataError, match=r"0\.licence must be text.*; 0\.files must be > 0"):
        read_sources([corpus([SOURCE | {"files": -1, "licence": 3}])])


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        pytest.param("mine.txt", "new", "3 files of 14 characters", id="a file more"),
        pytest.param("b.txt", "longer", "2 files of 12 characters", id="a longer file"),
    ],
)
def test_text_that_the_sources_do_not_describe_is_an_error(corpus, path, text, found):
    folder = corpus([SOURCE])
    (folder / path).write_text(text)

    with pytest.raises(DataError, match=f"2 files of 11 characters, got {found}; fetch the corpus"):
        read_sources([folder])
