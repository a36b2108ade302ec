"""What every test shares: no network, one thread, a seeded source of randomness."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from command_line import stage1, without_loading_lines
from filelock import FileLock

from stage1.base.terminal import run_command
from stage1.claims import advice


def pytest_configure() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    os.environ["MPLBACKEND"] = "agg"
    torch.set_num_threads(1)


LONG_FILES = ("test_study_end_to_end.py", "test_kills.py", "test_no_leaks.py", "test_readme.py")
"""They run first, so that no process of pytest-xdist is left alone with one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):  # a folder called gpu is a keyword too
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def few_made_up_studies() -> Iterator[None]:
    """A few of them take the way of hundreds wherever a claim is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advice, "STUDIES", 5)
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small text file and gives its path."""

    def write_file(text: str, name: str = "x.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


class FinishedStudy(NamedTuple):
    """The smoke study as it lies after its end; tests share it and leave it as it is."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> FinishedStudy:
    """Run once, by the process of pytest-xdist that is first to ask for it."""
    out = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        out = out.parent
    printed = out / "finished_study.txt"
    with FileLock(printed.with_suffix(".lock")):
        if not printed.exists():
            study = ("search_spaces/smoke.yaml", "--out", out, "--workers", 2)
            printed.write_text(stage1("stage1.tune", *study).stdout, encoding="utf-8")
    return FinishedStudy(out / "smoke", printed.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the training of `tiny_config()`; tests share it."""
    from small_checkpoint import write_checkpoint  # imports what trains

    path = tmp_path_factory.mktemp("training") / "last.ckpt"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def series_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the training of `series_config()` on `waves()`; tests share it."""
    from small_checkpoint import write_series_checkpoint

    path = tmp_path_factory.mktemp("series") / "last.ckpt"
    write_series_checkpoint(path)
    return path


@pytest.fixture
def call_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Calls a command in this process; gives status, stdout and stderr.

    The command is a function, or several by the names that their command lines begin with. The
    lines that loading a language model logs are left out.
    """

    def call(
        command: Callable[..., object] | dict[str, Callable[..., object]], *arguments: object
    ) -> tuple[object, str, str]:
        name = "stage1" if isinstance(command, dict) else command.__name__
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        capsys.readouterr()  # what was printed before
        with pytest.raises(SystemExit) as ended:
            run_command(command)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, without_loading_lines(printed.err)

    return call
