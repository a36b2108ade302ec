"""The learning curves straight from the tables."""

from __future__ import annotations

import pytest
from synthetic_run import write_synthetic_run

from stage1.figures import learning_curves_figure
from stage1.results import read_curves, read_space, read_trials


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    run = write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic", configurations=2)
    return read_trials(run), read_curves(run), read_space(run)


def test_every_arm_has_a_line_through_all_epochs(tables):
    figure = learning_curves_figure(*tables)

    lines = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].get_lines()}
    assert lines["pretrained"] == lines["random"] == lines["shuffled"] == [0, 1, 2, 3, 4]


def test_there_is_no_figure_before_the_first_full_horizon_trial(tables):
    trials, curves, space = tables

    assert learning_curves_figure(trials[trials["stage"] == "search"], curves, space) is None
