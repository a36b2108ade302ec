"""Plain text -> paragraphs without repeats -> held-out split -> vocabulary -> token streams.

A corpus that `stage1.pretrain.fetch` made also has `sources.json`: which packages its text is from.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stage1.base.errors import DataError, ResultsError
from stage1.base.files import atomic_path
from stage1.base.text import dotted, reason_of
from stage1.config.rules import faults_of
from stage1.pretrain.spans import EOS_ID, PAD_ID, UNKNOWN_ID, SpanCorruption

SOURCES_FILE = "sources.json"
VOCABULARY_FILE = "spiece.model"
VOCABULARY_SIZE = 8000
HELD_OUT_EVERY = 100
"""One paragraph in this many is held out."""
MINIMUM_LETTERS = 20
"""Shorter paragraphs (page numbers, headings) are left out."""


class Corpus(NamedTuple):
    """Paragraphs of prose, each once."""

    training: list[str]
    held_out: list[str]
    sha256: str
    """Of all paragraphs in order: the same corpus has the same number."""


class TokenStreams(NamedTuple):
    """Token ids of running text, every paragraph closed by the end-of-sequence token."""

    training: NDArray[np.int32]
    held_out: NDArray[np.int32]
    vocabulary_sha256: str


def text_files(sources: list[Path]) -> list[Path]:
    """All text files named, or below the folders named, in a fixed order.

    Raises:
        DataError: A source is missing, or a folder holds no `.txt` file.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_file():
            files.append(source)
            continue
        texts = sorted(
            (path for path in source.rglob("*.txt") if not path.is_dir()),
            key=lambda path: path.relative_to(source).as_posix(),
        )
        if not texts:
            raise DataError(
                f"{source}: must be a text file or a folder with .txt files; none found"
            )
        files.extend(texts)
    return files


def read_text(path: Path) -> str:
    """Read a text file as UTF-8 or, as many old texts are, as Windows-1252 (then says so).

    Raises:
        DataError: The bytes are neither, or cannot be read.
    """
    for encoding in ("utf-8", "cp1252"):
        try:
            text = path.read_text(encoding=encoding)
        except UnicodeDecodeError:
            continue
        except OSError as error:
            raise DataError(f"{path}: must be readable, got {reason_of(error)}") from None
        if "\0" in text:  # UTF-16, or no text at all
            break
        if encoding != "utf-8":
            print(f"{path.name}: not UTF-8, read as {encoding}")
        return text
    raise DataError(f"{path}: must be text in UTF-8 or Windows-1252; convert it")


def read_corpus(sources: list[Path]) -> Corpus:
    """Read paragraphs (separated by blank lines), drop repeats, hold some out by their hash.

    Raises:
        DataError: Nothing to read, or a file is not text.
    """
    seen: dict[str, None] = {}
    for path in text_files(sources):
        for block in re.split(r"\n\s*\n", read_text(path)):
            paragraph = " ".join(block.split())
            if len(paragraph) >= MINIMUM_LETTERS:
                seen.setdefault(paragraph)
    digests = {p: hashlib.sha256(p.encode()).digest() for p in seen}
    training: list[str] = []
    held_out: list[str] = []
    for p, digest in digests.items():
        (training if int.from_bytes(digest[:4]) % HELD_OUT_EVERY else held_out).append(p)
    if not held_out:
        raise DataError(
            "the corpus must have a paragraph to hold out, which is one in "
            f"{HELD_OUT_EVERY}, got none among {len(seen)}; add text"
        )
    return Corpus(training, held_out, hashlib.sha256(b"".join(digests.values())).hexdigest())


def train_vocabulary(corpus: Corpus) -> bytes:
    """Train a SentencePiece unigram vocabulary with T5's special ids on the training paragraphs.

    Raises:
        DataError: The text is too short for a vocabulary of this size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus.training),
            model_writer=model,
            vocab_size=VOCABULARY_SIZE,
            model_type="unigram",
            character_coverage=0.9999,
            max_sentence_length=1 << 20,
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            num_threads=1,  # the pieces' order depends on the number of threads
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(
            f"the corpus must be rich enough for {VOCABULARY_SIZE} word pieces; add text ({error})"
        ) from None
    return model.getvalue()


def encode(paragraphs: list[str], vocabulary: bytes) -> NDArray[np.int32]:
    """Token ids of the paragraphs, one stream."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    rows = processor.encode(paragraphs, add_eos=True)
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])


def token_streams(corpus: Corpus, out: Path, *, required_sha256: str | None = None) -> TokenStreams:
    """Encode both parts of the corpus, training the vocabulary in `out` first where it is missing.

    `required_sha256` is what the vocabulary must have, to go on with a training; None for any.

    Raises:
        DataError: The text is too short for a vocabulary, or for one row of tokens; then nothing is
            written.
        ResultsError: The vocabulary is another one.
    """
    path = out / VOCABULARY_FILE
    vocabulary = path.read_bytes() if path.exists() else train_vocabulary(corpus)
    sha256 = hashlib.sha256(vocabulary).hexdigest()
    if required_sha256 not in (None, sha256):
        raise ResultsError(
            f"{path}: must be the vocabulary that the training began with, sha256 "
            f"{required_sha256}, got {sha256}; restore it, or begin again in another --out"
        )
    streams = TokenStreams(
        encode(corpus.training, vocabulary), encode(corpus.held_out, vocabulary), sha256
    )
    row = SpanCorruption.row_tokens
    for name, stream in (("training", streams.training), ("held-out", streams.held_out)):
        if len(stream) <= row:
            raise DataError(
                f"the corpus's {name} text must be longer than a row of {row} tokens, got "
                f"{len(stream)}; add text"
            )
    if not path.exists():
        with atomic_path(path) as written:
            written.write_bytes(vocabulary)
    return streams


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
_ANEW = "fetch the corpus anew with `python -m stage1.pretrain.fetch`, or remove this file"


def read_sources(folders: list[Path]) -> list[Source]:
    """Read from which packages the text of corpus folders is, in their order.

    A text file, or a folder without `sources.json`, says nothing.

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
    counted = count_text(folder)
    if counted != described:
        raise DataError(
            f"{path}: must describe the text beside it, {_in_words(described)}, got "
            f"{_in_words(counted)}; {_ANEW}"
        )
    return sources


def _characters(content: bytes) -> int:
    try:
        return len(content.decode())
    except UnicodeDecodeError:
        return len(content)  # of Windows-1252, one byte per character


def _in_words(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} files of {counts[1]:,} characters"
