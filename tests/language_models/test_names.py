"""Names of language models: bundled, of a folder, or of the hub, and what is none of these."""

from pathlib import Path

import pytest
from tiny_t5 import fault_of

from stage1.language_models.names import find_folder, hub_reference


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t5-small", ("google-t5/t5-small", None)),
        ("google/flan-t5-small", ("google/flan-t5-small", None)),
        ("google/t5-efficient-tiny@refs/pr/1", ("google/t5-efficient-tiny", "refs/pr/1")),
    ],
)
def test_a_hub_name_is_split_into_repository_and_revision(name, expected):
    assert hub_reference(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("english-t5-nan0", id="misspelt bundled name"),
        pytest.param("google/../../etc", id="walks up"),
        pytest.param("google/..", id="parent as model"),
        pytest.param("google/t5@../../x", id="revision walks up"),
        pytest.param("a/b@x/../y", id="revision walks up in between"),
        pytest.param("a/b@/etc/x", id="revision is an absolute path"),
        pytest.param("a/b@.", id="revision is a folder"),
        pytest.param("a/b@x/.", id="revision ends in a folder"),
        pytest.param("a/b@x//y", id="revision of empty parts"),
        pytest.param("a/b@" + "x" * 5000, id="long revision"),
        pytest.param("a/b/c", id="too many parts"),
        pytest.param("google/t5 small", id="space"),
        pytest.param("google/t5\n", id="line break"),
        pytest.param("http://host/model", id="address"),
    ],
)
def test_what_is_no_hub_name_is_one_line_that_names_three_ways(name):
    message = fault_of(hub_reference, name)

    assert all(way in message for way in ("bundled", "local folder", "hub model"))


@pytest.mark.parametrize("name", ["./absent", "../absent", "/absent/model", "~/absent", "a\\b"])
def test_a_path_without_a_folder_is_an_error_and_never_sought_on_the_hub(name):
    assert "must be a folder, none is there; name a bundled model" in fault_of(find_folder, name)


def test_a_file_is_not_taken_for_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")

    assert "must be a folder" in fault_of(find_folder, "model/config.json")


@pytest.mark.parametrize("name", ["english-t5-nan0", "english-t5-nano/", "english-t5-nano@main"])
def test_a_misspelt_bundled_name_is_told_the_right_one(name):
    message = fault_of(hub_reference, name)

    assert message.startswith(f"{name}: must be a model's name; did you mean 'english-t5-nano'?")


def test_an_empty_name_is_none():
    assert find_folder("") is None
    assert fault_of(hub_reference, "").startswith("'': must be a model's name; ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("~nosuchuser/x", "RuntimeError", id="home of nobody"),
        pytest.param("x" * 5000, "OSError: [Errno 36] File name too long", id="too long"),
    ],
)
def test_a_path_that_cannot_be_is_one_line(name, reason):
    assert f"must be a folder that can be opened, got {reason}" in fault_of(find_folder, name)


def test_a_folder_one_may_not_enter_is_one_line(monkeypatch):
    ask = Path.stat

    def refuse(path, **options):
        if str(path) == "/a/b":  # root may enter everything
            raise PermissionError(13, "Permission denied")
        return ask(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)

    assert "got PermissionError: [Errno 13] Permission denied; " in fault_of(find_folder, "/a/b")
