"""Reading YAML with the place of every key, and `extends`."""

from __future__ import annotations

import pytest

from stage1.base.errors import ConfigError
from stage1.config.yaml_source import MOST_KEYS, existing_file, load_yaml


def message_of(path):
    with pytest.raises(ConfigError) as raised:
        load_yaml(path)
    return str(raised.value)


def test_every_key_knows_its_file_and_line(write):
    path = write("a: 1\n\nb:\n  c: 2\n  d: {e: 3,\n      f: 4}\n")

    source = load_yaml(path)

    lines = {".".join(keys): place for keys, place in source.origins.items()}
    expected = {"a": 1, "b": 3, "b.c": 4, "b.d": 5, "b.d.e": 5, "b.d.f": 6}
    assert lines == {key: f"{path}:{line}" for key, line in expected.items()}


def test_a_key_that_is_not_written_stands_where_its_nearest_parent_stands(write):
    path = write("a:\n  b:\n    c: 1\n")

    source = load_yaml(path)

    assert source.origin(("a", "b", "x", "y")) == f"{path}:2"
    assert source.origin(("z",)) == str(path)


def test_extends_lays_a_file_over_its_parent_key_by_key(write):
    parent = write("a: {b: 1, c: 2}\nlist: [1, 2, 3]\n", "parent.yaml")
    child = write("extends: parent.yaml\na: {c: 3}\nlist: [4]\n", "child.yaml")

    source = load_yaml(child)

    assert source.values == {"a": {"b": 1, "c": 3}, "list": [4]}
    assert source.origin(("a", "b")) == f"{parent}:1"
    assert source.origin(("a", "c")) == f"{child}:2"


def test_extends_is_looked_up_beside_the_file_that_says_it(write, tmp_path):
    (tmp_path / "deep").mkdir()
    write("a: 1\nb: 1\nc: 1\n", "top.yaml")
    write("extends: ../top.yaml\nb: 2\nc: 2\n", "deep/middle.yaml")
    bottom = write("extends: deep/middle.yaml\nc: 3\n", "bottom.yaml")

    assert load_yaml(bottom).values == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        pytest.param("nope.yaml", "must be an existing file, got {folder}/nope.yaml", id="missing"),
        pytest.param(".", "must be an existing file, got {folder}", id="a folder"),
        pytest.param("[a.yaml]", "must be a file name, got ['a.yaml']", id="a list"),
        pytest.param('"a\\0b"', "must be an existing file", id="no possible name"),
        pytest.param("x" * 5000, "must be an existing file", id="a name too long"),
    ],
)
def test_an_extends_that_names_no_file_is_reported_at_its_line(write, tmp_path, value, rule):
    path = write(f"a: 1\nextends: {value}\n")

    message = message_of(path)

    assert message.startswith(f"{path}:2: extends: {rule.format(folder=tmp_path)}")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_extends_is_refused(write, length):
    for index in range(length):
        write(f"extends: {(index + 1) % length}.yaml\n", f"{index}.yaml")

    message = message_of(write("extends: 0.yaml\n"))

    assert "extends must not lead back" in message


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("", "must hold a mapping", id="empty"),
        pytest.param("- a\n- b\n", "must hold a mapping", id="a list"),
        pytest.param("a\n", "must hold a mapping", id="a word"),
        pytest.param("a: [1\nb: 2\n", "2: must be valid YAML", id="an open bracket"),
        pytest.param("a: 1\n\tb: 2\n", "2: must be valid YAML", id="a tab"),
        pytest.param("a: &a {b: *a}\n", "must be valid YAML", id="a mapping inside itself"),
        pytest.param("a: !!bool x\n", "must be valid YAML", id="a wrong truth value"),
        pytest.param("a: !!timestamp x\n", "must be valid YAML", id="a wrong time"),
        pytest.param("a: 2026-99-99\n", "must be valid YAML", id="a date that cannot be"),
        pytest.param("a: \x01\n", "must be valid YAML", id="a control code"),
        pytest.param("[a]: 1\n", "must be valid YAML", id="a list as a key"),
        pytest.param("{" * 400, "must be valid YAML", id="deep nesting"),
    ],
)
def test_text_that_is_no_sound_mapping_is_one_fault_of_its_file(write, text, rule):
    path = write(text)

    message = message_of(path)

    assert message.startswith(f"{path}:")
    assert rule in message
    assert "\n" not in message


def test_a_file_cannot_run_code(write, tmp_path):
    trace = tmp_path / "trace"
    path = write(f"a: !!python/object/apply:os.mkdir ['{trace}']\n")

    message = message_of(path)

    assert message.startswith(f"{path}:1: must be valid YAML")
    assert not trace.exists()


def test_aliases_that_multiply_are_refused_at_once(write):
    doubled = "".join(f"k{i}: &k{i} {{x: *k{i - 1}, y: *k{i - 1}}}\n" for i in range(1, 40))

    message = message_of(write("k0: &k0 {x: 1}\n" + doubled))

    assert f"must have at most {MOST_KEYS:,} keys" in message


@pytest.mark.parametrize(
    ("text", "key", "line", "first"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", "a", 3, 1, id="top level"),
        pytest.param("a:\n  b: 1\n  b: 1\n", "a.b", 3, 2, id="inside a section"),
    ],
)
def test_a_key_given_twice_is_refused_with_both_lines(write, text, key, line, first):
    path = write(text)

    message = message_of(path)

    assert message == f"{path}:{line}: {key}: must be given once, first at {path}:{first}"


def test_a_key_with_line_breaks_stays_one_line_of_the_message(write):
    path = write('"a\\nb\\e[31m": 1\n"a\\nb\\e[31m": 2\n')

    message = message_of(path)

    assert "\n" not in message
    assert "\x1b" not in message


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nope.yaml"

    assert message_of(path) == f"{path}: must be an existing file; check the path"


def test_what_cannot_be_read_as_text_is_refused(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: ü\n".encode("latin-1"))

    for path in (tmp_path, latin, tmp_path / "a\0b.yaml"):
        assert message_of(path).startswith(f"{path}: must be a readable UTF-8 text file")


def test_a_named_file_is_found_beside_the_one_that_names_it(write, tmp_path):
    other = write("b: 1\n", "other.yaml")
    source = load_yaml(write("base: other.yaml\n"))

    assert existing_file("other.yaml", key="base", source=source) == other
