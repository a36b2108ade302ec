"""Two studies side by side: what the command shows, writes and refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from command_line import stage1
from made_runs import arm_scores, changed_study, study_tables, write_run


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A run whose pretrained arm is ahead and one whose arms are as good, on other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, ahead in ((1, 0.08), (2, 0.0)):
        noise = np.random.default_rng(seed).normal(0, 0.01, (2, 16, 1))
        arms = {
            "pretrained": arm_scores(0.5 + ahead + noise[0]),
            "random": arm_scores(0.5 + noise[1]),
        }
        points = [{"training.optimizer.lr": 1e-4 * (c + 1)} for c in range(16)]
        tables = study_tables(arms, points=points, name="one")
        space = changed_study(tables.space, seed=seed)
        write_run(folder / f"study{seed}", tables._replace(space=space))
    return folder


@pytest.fixture(scope="module")
def shown(two_runs):
    """What the command prints of them."""
    runs = [two_runs / "study1", two_runs / "study2"]
    return stage1("stage1.compare_runs", *runs, "--out", two_runs / "page").stdout


def test_every_run_has_its_verdict_and_the_runs_a_pooled_line(shown):
    gains = [re.split(r"  +", line.strip()) for line in shown.splitlines() if "horizon" in line]

    assert [row[1] for row in gains[:3]] == ["study1", "study2", "pooled"]
    assert [len(row) for row in gains[:3]] == [5, 5, 4]
    assert "Pooled over seeds of the study" in shown
    assert "not of language pretraining" in shown


def test_the_page_holds_verdicts_figure_and_settings_that_differ(two_runs, shown):
    page = (two_runs / "page" / "report.md").read_text()

    for heading in ("What they say", "What they say together", "Settings that differ"):
        assert f"## {heading}" in page
    assert "| seed | 1 | 2 |" in page
    assert (two_runs / "page" / "forest.png").read_bytes().startswith(b"\x89PNG")
    assert 'src="data:image/png' in (two_runs / "page" / "report.html").read_text()


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        pytest.param(["study1"], "two or more", id="one alone"),
        pytest.param(["study1", "study1"], "named once", id="one twice"),
        pytest.param(["study1", "study3"], "must be a run folder", id="none there"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(two_runs, names, rule):
    result = stage1("stage1.compare_runs", *(two_runs / name for name in names), check=False)

    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert rule in line
