"""What every test shares: no network, one thread, a seeded source of randomness."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from command_line import stage1, without_loading_lines

from stage1.base.terminal import run_command


def pytest_configure() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    os.environ["MPLBACKEND"] = "agg"
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


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
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    out = tmp_path_factory.mktemp("runs")
    result = stage1("stage1.tune", "search_spaces/smoke.yaml", "--out", out, "--workers", 2)
    return FinishedStudy(out / "smoke", result.stdout)


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
    """Calls a command's function in this process; gives status, stdout and stderr.

    Without the lines that loading a language model logs.
    """

    def call(function: Callable[..., object], *arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", [function.__name__, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(function)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, without_loading_lines(printed.err)

    return call
