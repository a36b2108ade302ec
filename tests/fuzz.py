"""Files as chance or malice damages them, and the one property that all who read files keep.

Whatever the bytes are, a reader succeeds or raises a `Stage1Error` whose every line can be printed.
It never raises anything else, and it comes to an end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
        return f"{key}:{bracket}{with_entry(inside, piece)}"
    return f"{key}{colon} {piece}"


def with_entry(inside: str, piece: str) -> str:
    """The first entry of a flow mapping with another value."""
    first, comma, rest = inside.partition(",")
    name = first.partition(":")[0]
    return f"{name}: {piece}{comma or '}'}{rest}"


def damaged_yaml(texts: Sequence[str]) -> SearchStrategy[bytes]:
    """YAML files with values that are none of theirs, and arbitrary bytes."""
    files = [text.encode() for text in texts]
    spoiled = damaged_lines(texts, with_value, YAML_PIECES)
    return st.one_of(spoiled, spoiled, spoiled, damaged_bytes(files), ANY_BYTES)
