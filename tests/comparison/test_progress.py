"""What a person sees while an experiment runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stage1.comparison.progress import ExperimentProgress
from stage1.study.trials import TrialSpec

LEFT = [TrialSpec("design", name, "c", seed, {}) for seed in (1, 2) for name in ("slow", "fast")]


def ended(name, seed=1, **columns):
    return {
        **{"arm": name, "seed": seed, "status": "completed", "epochs": 3, "error": None},
        **{"seconds": 30.0, "val_loss": 0.25, "val_correlation": 0.75},
    } | columns


@pytest.fixture
def begin():
    """Makes a progress and what it prints to."""

    def make(*, terminal=False, workers=1, total=6):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
        return ExperimentProgress(console, LEFT, total=total, epochs=3, workers=workers), console

    return make


def test_a_line_per_ended_training_tells_how_far_it_is_and_what_came_of_it(begin):
    progress, console = begin()

    with progress:
        progress.on_epoch()
        progress.on_end(ended("slow"))
        progress.on_end(ended("fast", status="diverged", epochs=2, error="val_loss is inf"))

    first, second = console.file.getvalue().splitlines()
    assert first.endswith(
        "[3/6] slow, seed 1: completed at epoch 3, val_loss 0.2500, val_correlation 0.7500; "
        "remaining 0:01:30"
    )
    assert "[4/6] fast, seed 1: diverged at epoch 2 (val_loss is inf); remaining " in second
    assert "\x1b" not in console.file.getvalue()


def test_before_the_first_training_was_completed_nobody_knows_how_long_it_takes(begin):
    progress, console = begin()

    with progress:
        progress.on_end(ended("slow", status="failed", epochs=0, error="why"))

    assert progress.remaining_seconds() is None
    assert console.file.getvalue().rstrip().endswith("remaining ?")


def test_what_remains_is_each_configurations_own_mean_shared_by_the_workers(begin):
    progress, _ = begin(workers=2)

    with progress:
        progress.on_end(ended("slow", seconds=30.0))
        assert progress.remaining_seconds() == (3 * 30) / 2  # fast is not known yet
        progress.on_end(ended("fast", seconds=10.0))

        assert progress.remaining_seconds() == (30 + 10) / 2


def test_a_terminal_has_a_bar_of_epochs_too(begin):
    progress, console = begin(terminal=True)

    with progress:
        progress.on_epoch()
        progress.on_end(ended("slow"))

    shown = console.file.getvalue()
    assert "4/16" in shown  # epochs 0 to 3 of one training of four
    assert "slow, seed 1: completed" in shown
