"""The page as files, and its end on the terminal."""

from __future__ import annotations

import io
import re

import matplotlib.image
import pytest
from rich.console import Console

from stage1.base.errors import ResultsError
from stage1.pages.comparison_page import write_page
from stage1.run.folder import RunFolder


@pytest.fixture(scope="module")
def page(experiment):
    return write_page(experiment)


def test_every_picture_of_the_page_is_a_file_beside_it(page):
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.path.read_text(encoding="utf-8"))

    assert linked == [
        "figures/val_correlation_by_epoch.png",
        "figures/val_loss_by_epoch.png",
        "figures/paired_differences.png",
        "figures/cost.png",
    ]
    for name in linked:
        height, width, _ = matplotlib.image.imread(page.path.parent / name).shape
        assert width > 1000
        assert height > 400


def test_a_figure_that_there_is_no_data_for_any_more_goes(write_experiment):
    run = write_experiment(only=())
    run.figures.mkdir()
    old = run.figures / "cost.png"
    old.touch()

    write_page(run)

    assert not old.exists()


def test_the_terminal_shows_the_main_table_in_80_columns_and_where_the_rest_is(page):
    console = Console(file=io.StringIO(), width=80)

    page.show(console)

    lines = console.file.getvalue().splitlines()
    (row,) = (line for line in lines if line.strip().startswith("free "))
    assert row.split() == [
        *("free", "3", "/", "3", "0.1700", "±", "0.0755"),
        *("0.8500", "±", "0.0173", "0.300", "×1.17"),
    ]
    assert any(line.strip().startswith("Warning: late does not beat") for line in lines)
    assert f"Report: {page.path}" in lines
    assert f"Curves: tensorboard --logdir {page.run.tensorboard}" in lines
    assert (
        max(len(line) for line in lines if not line.startswith(("Warning", "Report", "Curves")))
        <= 80
    )


def test_a_page_of_nothing_says_why_there_are_no_figures(write_experiment):
    text = write_page(write_experiment(only=())).path.read_text(encoding="utf-8")

    assert "no training was completed" in text
    assert "![" not in text


def test_the_page_of_a_folder_that_is_no_experiment_is_an_error(tmp_path):
    with pytest.raises(ResultsError):
        write_page(RunFolder(tmp_path))
