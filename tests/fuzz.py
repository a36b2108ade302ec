"""Files as chance or malice damages them, and the one property that all who read files keep.

Whatever the bytes are, a reader succeeds or raises a `Stage1Error` whose every line can be printed.
It never raises anything else, and it comes to an end.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from stage1.base.errors import Stage1Error

FEW, MANY = 200, 10_000
LONGEST_SECONDS = 20
"""Of one example, on a slow machine: more is a hang."""
LONGEST_LINE = 3_000
"""Characters of a message's line that people can be asked to read: a key, a rule, an advice."""


class Hang(BaseException):
    """No `except` of a reader takes it for a fault of its file."""


def few_and_many(few: int = FEW, many: int = MANY) -> pytest.MarkDecorator:
    """The number of examples as the argument `examples`: few always, many with the slow tests."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


def for_all(values: SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Check examples of `values`, the same ones every time."""
    chosen = settings(
        max_examples=examples,
        deadline=None,  # `ends_in_time` has its own
        derandomize=True,
        database=None,
        # A damaged file is made of some hundred draws; what counts is that its reading is quick.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    @chosen
    @given(values)
    def one(value: Any) -> None:
        with ends_in_time():
            check(value)

    one()


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Raise `Hang` in what takes longer than `LONGEST_SECONDS`."""

    def give_up(*_: object) -> None:
        raise Hang(f"took longer than {LONGEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def told(read: Callable[[], object], *, name: str = "") -> str:
    """What a reader says of a file: its message, or nothing where it could read it.

    Args:
        read: Reads a file, perhaps a damaged one.
        name: That every line of the message must name, such as the file's.
    """
    try:
        read()
    except Stage1Error as error:
        message = str(error)
        assert message
        for line in message.split("\n"):
            assert len(line) <= LONGEST_LINE
            assert line.isprintable(), line
            assert name in line, line
        return message
    return ""


# Bytes and text -------------------------------------------------------------------------------

ANY_BYTES = st.binary(max_size=200) | st.text(max_size=100).map(
    lambda text: text.encode("utf-8", errors="surrogatepass")
)


@st.composite
def damaged_bytes(draw: DrawFn, files: Sequence[bytes]) -> bytes:
    """A file with some bytes flipped, taken out, put in or repeated, or an end cut off."""
    content = bytearray(draw(st.sampled_from(list(files))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([1, 1, 2, 4, 16, 64]))
        match draw(st.sampled_from(["flip", "overwrite", "insert", "delete", "repeat", "cut"])):
            case "flip" if place < len(content):
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "overwrite":
                content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=length))
            case "delete":
                del content[place : place + length]
            case "repeat":
                content[place:place] = content[place : place + length]
            case "cut":
                del content[place:]
    return bytes(content)


@st.composite
def damaged_lines(
    draw: DrawFn, texts: Sequence[str], damage: Callable[[str, str], str], pieces: Sequence[str]
) -> bytes:
    """A text with some lines lost, doubled, moved, spoiled or put in, in some encoding.

    Args:
        draw: Hypothesis's.
        texts: Sound ones.
        damage: Puts a piece into a line.
        pieces: What is put in.
    """
    lines = draw(st.sampled_from(list(texts))).splitlines()
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        piece = draw(st.sampled_from(list(pieces)))
        match draw(
            st.sampled_from(["spoil", "spoil", "spoil", "insert", "double", "drop", "move"])
        ):
            case "spoil":
                lines[place] = damage(lines[place], piece)
            case "insert":
                lines.insert(place, piece)
            case "double":
                lines.insert(place, lines[place])
            case "drop" if len(lines) > 1:
                del lines[place]
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(place))
    ending = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from([*["utf-8"] * 6, "utf-8-sig", "utf-16", "utf-32", "latin-1"]))
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    return (ending.join(lines) + ending).encode(encoding, errors=errors)


# YAML -----------------------------------------------------------------------------------------

BOMB = "[&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
    f", &{name} [{','.join(['*' + below] * 10)}]"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML_PIECES = (
    *("", "null", "~", "true", "no", "0", "-1", "1", "2", "3.5", "1e-3", "1e400", "-1e400", "auto"),
    *(".nan", ".inf", "-.inf", "nan", "inf", "99999999999999999999", "9223372036854775808"),
    *("9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 2000, "1" + "0" * 309, "1_000", "190:20:30"),
    *("[]", "{}", "[[[[1]]]]", "[1, a, null]", "{a: {b: {c: 1}}}", "[m1, m5]", "[[m1, m5], [m1]]"),
    *("2026-01-01", "2026-99-99", "0001-01-01T00:00:00+23:59", "2026-01-01 00:00:00.5 -1"),
    *("!!binary aGk=", "!!binary x", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]"),
    *("!!str 1", "!!int x", "!!float x", "!!bool x", "!!null x", "!!timestamp x", "!!map [1]"),
    *("!!seq {a: 1}", "!!python/object/apply:os.getcwd []", "!!python/name:os.system", "!x y"),
    *("*missing", "&a [*a]", "&a {b: *a}", "&a", f"{BOMB}]", "[" * 300, "{" * 300, "- " * 200),
    *("{<<: {a: 1}}", "{<<: [1]}", "{<<: x}", "{? [a]: 1}", "{null: 1}", "{1: 2}", "{true: 1}"),
    *('"\\0"', '"\\ud800"', '"a\\nb"', '"\\e[31m"', "x" * 5000, "é", "'", '"', "\t", "|", ">"),
    *("../x", "/nowhere/x", "a/b", "..", ".", "[red]", "<b>", "$x$", "`", "@", "\x00", "\ud800"),
    *("type: float", "low: .inf", "extends: x.yaml", "extends: [x]", "<<: *x", "---", "...", "="),
)
"""Values that YAML takes for something else, that overflow, repeat, nest, or are no text."""


def with_value(line: str, piece: str) -> str:
    """A line of YAML with another value; in a flow mapping the first one."""
    key, colon, rest = line.partition(":")
    _, bracket, inside = rest.partition("{")
    if bracket and ":" in inside and len(piece) % 2:
        first, comma, others = inside.partition(",")
        return f"{key}:{bracket}{first.partition(':')[0]}: {piece}{comma or '}'}{others}"
    return f"{key}{colon} {piece}"


def damaged_yaml(texts: Sequence[str]) -> SearchStrategy[bytes]:
    """YAML files with values that are none of theirs, and arbitrary bytes."""
    files = [text.encode() for text in texts]
    spoiled = damaged_lines(texts, with_value, YAML_PIECES)
    return st.one_of(spoiled, spoiled, spoiled, damaged_bytes(files), ANY_BYTES)


# Parquet --------------------------------------------------------------------------------------

INTEGERS = (None, 0, 1, -1, 4, 1514862240, 1514862300, 2**53, 2**62, -(2**63), 2**63 - 1)
FLOATS = (
    *(None, 0.0, -1.0, 0.9, 1.0, 1e-9, 5e-324, 1514862240.0, 1e99, -1e99, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *(None, "", "x", "a\nb", "\x1b[31m", "\0", "<b>", "|", "$x$", "[/]", "../x", "é", "\u202e"),
    *("x" * 5000, "design", "search", "completed", "failed", "diverged", "pretrained", "random"),
    *("c0", "c1", "m1", "m5", "open", "close"),
)
UNITS, ZONES = ("s", "ms", "us", "ns"), (None, "UTC", "Europe/Berlin")
NAMES = ("x", "", "\0", "a\nb", "index", "timestamp", "close", "param.", "param.x", "param.a\nb")
METADATA = (b"", b"{}", b"x", b'{"index_columns": ["seed"], "columns": [], "column_indexes": []}')


def odd_columns(length: int) -> list[pa.Array]:
    """A column of every type that no table of ours has."""
    return [
        pa.nulls(length),
        pa.array([True] * length, pa.bool_()),
        pa.array([[1.0]] * length, pa.list_(pa.float64())),
        pa.array([{"a": 1}] * length, pa.struct([("a", pa.int64())])),
        pa.array([b"x"] * length, pa.binary()),
        pa.array(["x"] * length, pa.string()).dictionary_encode(),
        pa.array(["x"] * length, pa.large_string()),
        pa.array([1] * length, pa.decimal128(5)),
        pa.array([1] * length, pa.date32()),
        pa.array([1] * length, pa.duration("s")),
        pa.array([2**64 - 1] * length, pa.uint64()),
        pa.array(np.ones(length, np.float16)),
    ]


@st.composite
def columns(draw: DrawFn, length: int) -> pa.Array:
    """Any column: numbers, texts, times, or of a type that no table of ours has."""
    kind = draw(st.sampled_from(["integers", "floats", "floats", "texts", "texts", "times", "odd"]))
    if kind == "odd":
        return draw(st.sampled_from(odd_columns(length)))
    pool: Sequence[Any] = {"floats": FLOATS, "texts": TEXTS}.get(kind, INTEGERS)
    known = draw(st.lists(st.sampled_from(pool), min_size=min(length, 1), max_size=min(length, 8)))
    values = [known[place % len(known)] for place in range(length)]
    if kind == "times":
        stamps = pa.array(values, pa.int64())
        return stamps.cast(
            pa.timestamp(draw(st.sampled_from(UNITS)), draw(st.sampled_from(ZONES))), safe=False
        )
    types = {"integers": pa.int64(), "floats": pa.float64(), "texts": pa.string()}
    return pa.array(values, types[kind])


@st.composite
def damaged_table(draw: DrawFn, whole: pa.Table) -> bytes:
    """A Parquet file whose columns were replaced, lost, doubled or renamed, or its rows lost."""
    table = whole
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, table.num_columns - 1))
        name = table.column_names[place]
        match draw(st.sampled_from([*["replace"] * 5, "add", "drop", "double", "rename", "rows"])):
            case "replace":
                table = table.set_column(place, name, draw(columns(len(table))))
            case "add":
                table = table.append_column(draw(st.sampled_from(NAMES)), draw(columns(len(table))))
            case "drop" if table.num_columns > 1:
                table = table.remove_column(place)
            case "double":
                table = table.append_column(name, table.column(place))
            case "rename":
                other = draw(st.sampled_from(NAMES))
                names = [other if column == name else column for column in table.column_names]
                table = table.rename_columns(names)
            case "rows":
                table = table.slice(0, draw(st.integers(0, 2)))
    if draw(st.booleans()):
        key = draw(st.sampled_from([b"pandas", b"ARROW:schema"]))
        table = table.replace_schema_metadata({key: draw(st.sampled_from(METADATA))})
    return as_parquet(table)


def as_parquet(table: pa.Table) -> bytes:
    """The bytes of a table's file; none where no file can hold it."""
    stream = io.BytesIO()
    try:
        pq.write_table(table, stream)
    except (pa.ArrowException, ValueError):
        return b""
    return stream.getvalue()


def damaged_parquet(table: pa.Table, others: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """A damaged table, damaged bytes of its file, other files in its place, arbitrary bytes."""
    spoiled = damaged_table(table)
    bytes_ = damaged_bytes([as_parquet(table)])
    return st.one_of(spoiled, spoiled, spoiled, bytes_, st.sampled_from([b"", *others]), ANY_BYTES)
