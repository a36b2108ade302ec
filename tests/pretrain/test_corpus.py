import json

import numpy as np
import pytest
import sentencepiece

from stage1.base.errors import DataError
from stage1.pretrain import corpus
from stage1.pretrain.corpus import Corpus, read_corpus, read_sources, text_files, token_streams


def paragraphs(count, *, seed=0, words=12):
    """Different paragraphs of random words; common letters first, so that pieces can be learnt."""
    generator = np.random.default_rng(seed)
    shares = np.arange(8, 0, -1) / 36

    def word():
        return "".join(generator.choice(list("abcdefgh"), size=generator.integers(2, 7), p=shares))

    lexicon = [word() for _ in range(120)]
    return [" ".join(generator.choice(lexicon, size=words)) for _ in range(count)]


def write(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def small_vocabulary(monkeypatch):
    monkeypatch.setattr(corpus, "VOCABULARY_SIZE", 60)


def test_every_paragraph_of_20_letters_is_in_one_part_and_one_in_a_hundred_is_held_out(tmp_path):
    texts = paragraphs(5000)

    read = read_corpus([write(tmp_path / "book.txt", [*texts, "CHAPTER IV", "x" * 19])])

    assert sorted(read.training + read.held_out) == sorted(set(texts))
    assert not set(read.training) & set(read.held_out)
    assert 20 < len(read.held_out) < 85  # binomial(5000, 1/100): mean 50, sd 7


def test_whether_a_paragraph_is_held_out_depends_on_its_text_alone(tmp_path):
    texts = paragraphs(1000)
    first = read_corpus([write(tmp_path / "a.txt", texts)])

    backwards = read_corpus([write(tmp_path / "b.txt", texts[::-1])])
    longer = read_corpus([write(tmp_path / "c.txt", paragraphs(500, seed=1) + texts)])

    assert set(backwards.held_out) == set(first.held_out)
    assert set(longer.held_out) & set(texts) == set(first.held_out)


def test_repeats_are_dropped_even_where_the_lines_break_elsewhere(tmp_path):
    texts = paragraphs(300)
    repeats = [text.replace(" ", "\n  ", 2) for text in texts]

    files = [write(tmp_path / "a.txt", texts), write(tmp_path / "b.txt", repeats + texts)]
    read = read_corpus(files)

    assert sorted(read.training + read.held_out) == sorted(texts)


def test_the_fingerprint_is_the_corpus_s_own(tmp_path):
    texts = paragraphs(300)
    first = read_corpus([write(tmp_path / "a.txt", texts)]).sha256

    assert read_corpus([write(tmp_path / "b.txt", texts)]).sha256 == first
    assert read_corpus([write(tmp_path / "c.txt", texts[1:])]).sha256 != first


def test_a_corpus_too_small_to_hold_text_out_is_an_error(tmp_path):
    texts = read_corpus([write(tmp_path / "a.txt", paragraphs(300))]).training[:5]

    with pytest.raises(DataError, match="got none among 5; add text"):
        read_corpus([write(tmp_path / "b.txt", texts)])


def test_text_files_are_found_below_folders_in_a_fixed_order(tmp_path):
    names = ["b/2.txt", "b/10.txt", "a.txt", "c/d/e.txt"]
    for name in names:
        write(tmp_path / name, ["text"])
    write(tmp_path / "README.md", ["not a text"])

    found = text_files([tmp_path, tmp_path / "README.md"])

    order = ["a.txt", "b/10.txt", "b/2.txt", "c/d/e.txt", "README.md"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == order


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_source_without_text_is_an_error_that_names_it(tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=f"{name}: must be a text file or a folder"):
        text_files([tmp_path / name])


def test_windows_text_is_read_and_said_so(tmp_path, capsys):
    texts = [f"{text} naïve café" for text in paragraphs(300)]
    (tmp_path / "old.txt").write_bytes("\n\n".join(texts).encode("cp1252"))

    read = read_corpus([tmp_path / "old.txt"])

    assert sorted(read.training + read.held_out) == sorted(texts)
    assert "old.txt: not UTF-8, read as cp1252" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"\x81\x8d" * 100, "A paragraph of some words.".encode("utf-16")]
)
def test_a_file_that_is_no_text_is_an_error(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)

    with pytest.raises(DataError, match=r"a\.txt: must be text in UTF-8 or Windows-1252; convert"):
        read_corpus([tmp_path])


def test_a_folder_named_as_a_text_file_is_searched_and_a_broken_link_is_an_error(tmp_path):
    (tmp_path / "book.txt").mkdir()
    (tmp_path / "book.txt" / "a.txt").write_text("A paragraph of some words.")
    assert text_files([tmp_path]) == [tmp_path / "book.txt" / "a.txt"]
    (tmp_path / "b.txt").symlink_to(tmp_path / "absent")

    with pytest.raises(DataError, match=r"b\.txt: must be readable"):
        read_corpus([tmp_path])


def test_the_vocabulary_has_t5s_special_ids_and_is_used_again_and_the_streams_give_back_the_text(
    tmp_path, small_vocabulary
):
    texts = paragraphs(200)
    read = Corpus(texts[:160], texts[160:], "")

    streams = token_streams(read, tmp_path)
    written = (tmp_path / "spiece.model").stat().st_mtime_ns
    again = token_streams(read, tmp_path)

    assert (tmp_path / "spiece.model").stat().st_mtime_ns == written
    assert np.array_equal(streams.training, again.training)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert (processor.pad_id(), processor.eos_id(), processor.unk_id()) == (0, 1, 2)
    assert processor.get_piece_size() == 60
    for stream, part in ((streams.training, read.training), (streams.held_out, read.held_out)):
        assert stream.dtype == np.int32
        ends = np.flatnonzero(stream == 1)
        pieces = np.split(stream, ends + 1)[:-1]
        assert [processor.decode(piece[:-1].tolist()) for piece in pieces] == part


def test_the_vocabulary_knows_the_training_text_only(tmp_path, small_vocabulary):
    texts = paragraphs(200)
    token_streams(Corpus(texts, texts[:50], ""), tmp_path / "one")

    token_streams(Corpus(texts, ["zz " * 200], ""), tmp_path / "other")

    vocabularies = [(tmp_path / name / "spiece.model").read_bytes() for name in ("one", "other")]
    assert vocabularies[0] == vocabularies[1]


def test_a_text_too_poor_for_the_vocabulary_is_an_error(tmp_path, small_vocabulary):
    with pytest.raises(DataError, match="rich enough for 60 word pieces; add text") as caught:
        token_streams(Corpus(["a b a b a b a b a b a b"], ["a b"], ""), tmp_path)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "spiece.model").exists()


def test_a_text_shorter_than_a_row_is_an_error_and_leaves_nothing(tmp_path, small_vocabulary):
    read = Corpus(paragraphs(200), ["abc abd"], "")

    with pytest.raises(DataError, match=r"held-out text must be longer than a row .*; add text"):
        token_streams(read, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_stream_one_token_longer_than_a_row_is_enough(tmp_path, small_vocabulary, monkeypatch):
    monkeypatch.setattr(corpus, "train_vocabulary", lambda read: b"")
    monkeypatch.setattr(
        corpus, "encode", lambda texts, vocabulary: np.arange(len(texts), dtype=np.int32)
    )

    token_streams(Corpus(["a"] * 161, ["a"] * 161, ""), tmp_path)
    with pytest.raises(DataError, match=r"training text .* got 160"):
        token_streams(Corpus(["a"] * 160, ["a"] * 161, ""), tmp_path)


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
def folder_of_texts(tmp_path):
    """Makes a folder with two texts of eleven characters, and what its `sources.json` says."""

    def make(content, name="corpus"):
        folder = tmp_path / name
        (folder / "books").mkdir(parents=True)
        (folder / "books" / "a.txt").write_bytes("größer".encode())
        (folder / "b.txt").write_bytes("naïve".encode("cp1252"))
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / "sources.json").write_text(text)
        return folder

    return make


def test_the_sources_are_read_in_the_order_of_folders(folder_of_texts):
    halves = [SOURCE | {"name": n, "files": 1, "characters": c} for n, c in (("b", 5), ("a", 6))]

    read = read_sources([folder_of_texts([SOURCE], "one"), folder_of_texts(halves, "other")])

    assert [source.name for source in read] == ["books", "b", "a"]
    assert read[0].model_dump() == SOURCE


def test_a_folder_or_file_that_says_nothing_has_no_sources(folder_of_texts):
    folder = folder_of_texts(None)

    assert read_sources([folder, folder / "b.txt", folder / "absent"]) == []


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
def test_malformed_sources_are_one_line_that_names_the_file_and_the_fault(
    folder_of_texts, content, fault
):
    folder = folder_of_texts(content)

    with pytest.raises(DataError) as caught:
        read_sources([folder])

    message = str(caught.value)
    assert message.startswith(f"{folder / 'sources.json'}: {fault}")
    assert message.endswith("or remove this file")
    assert "\n" not in message


def test_all_faults_are_named_at_once(folder_of_texts):
    with pytest.raises(DataError, match=r"0\.licence must be text.*; 0\.files must be > 0"):
        read_sources([folder_of_texts([SOURCE | {"files": -1, "licence": 3}])])


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        pytest.param("mine.txt", "new", "3 files of 14 characters", id="a file more"),
        pytest.param("b.txt", "longer", "2 files of 12 characters", id="a longer file"),
    ],
)
def test_text_that_the_sources_do_not_describe_is_an_error(folder_of_texts, path, text, found):
    folder = folder_of_texts([SOURCE])
    (folder / path).write_text(text)

    with pytest.raises(DataError, match=f"2 files of 11 characters, got {found}; fetch the corpus"):
        read_sources([folder])
