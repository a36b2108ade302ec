"""What libraries say, in a file."""

from __future__ import annotations

import logging
import warnings

import pytest

from stage1.base.terminal import library_logs_to

library = logging.getLogger("some_library.part")
ours = logging.getLogger("stage1.some.module")


@pytest.fixture
def loud(monkeypatch, capsys):
    """A library that has a handler of its own on stderr, as Ray, Optuna and transformers do."""
    parent = logging.getLogger("some_library")
    monkeypatch.setattr(parent, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(parent, "propagate", False)
    return parent


def test_libraries_and_warnings_go_to_the_file_and_not_to_the_screen(loud, tmp_path, capsys):
    with library_logs_to(tmp_path / "study.log"):
        library.warning("something %s", "happened")
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    logged = (tmp_path / "study.log").read_text()
    assert " WARNING some_library.part: something happened\n" in logged
    assert "DeprecationWarning: old" in logged
    assert capsys.readouterr().err == ""


def test_what_the_package_itself_says_stays_where_it_was(tmp_path, caplog, monkeypatch):
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    monkeypatch.setattr(logging.getLogger("stage1"), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("stage1"), "propagate", False)

    with library_logs_to(tmp_path / "study.log"):
        ours.warning("a notice")

    assert [record.getMessage() for record in heard] == ["a notice"]
    assert not (tmp_path / "study.log").exists()


def test_a_later_session_adds_to_the_file(tmp_path):
    for text in ("first", "second"):
        with library_logs_to(tmp_path / "study.log"):
            library.warning(text)

    first, second = (tmp_path / "study.log").read_text().splitlines()
    assert first.endswith("first")
    assert second.endswith("second")


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    with library_logs_to(tmp_path / "missing" / "study.log"):
        library.warning("unheard")

    assert capsys.readouterr().err == ""


def test_afterwards_everybody_speaks_as_before(loud, tmp_path):
    root = logging.getLogger()
    before = [(log.handlers, log.propagate) for log in (root, loud, library)]

    with pytest.raises(KeyboardInterrupt), library_logs_to(tmp_path / "study.log"):
        raise KeyboardInterrupt

    assert [(log.handlers, log.propagate) for log in (root, loud, library)] == before
