"""The report: what it says of a finished run, and that no run is too broken to report on."""

from __future__ import annotations

import math

import pytest
import yaml
from rich.console import Console
from synthetic_run import synthetic_curve, synthetic_space, synthetic_trial, write_synthetic_run

from stage1.report import end_rows, end_table, main, write_report
from stage1.results import RunFolder, read_space, read_trials
from stage1.run_writer import RunWriter

UNDEFINED = "\N{EN DASH}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic")


@pytest.fixture
def started(tmp_path):
    """A run folder with a design of two configurations and two seeds, and no trial yet."""
    space = synthetic_space(arms=("pretrained", "random"), configurations=2)
    run = RunFolder(tmp_path / "synthetic")
    RunWriter(run)
    run.space.write_text(yaml.safe_dump(space), encoding="utf-8")
    return run


def text_of(run):
    return write_report(run).read_text(encoding="utf-8")


# --- a finished run ---


def test_the_end_table_has_a_row_per_arm_and_the_baseline(finished):
    header, rows = end_rows(read_trials(finished), read_space(finished))

    assert header == ["arm", "trials", "configs", "best", "median", "spread", "s / trial"]
    assert rows == [
        ["pretrained", "9 completed", "4", "0.9160", "0.8860", "0.0258", "12.0"],
        ["random", "9 completed", "4", "0.9060", "0.8760", "0.0258", "12.0"],
        ["shuffled", "8 completed, 1 diverged", "4", "0.8960", "0.8660", "0.0258", "12.0"],
        ["interpolation", "", "", "0.8800", "0.8800", "", ""],
    ]


def test_the_terminal_shows_the_rows_of_the_report_on_80_columns(finished):
    trials, space = read_trials(finished), read_space(finished)
    console = Console(width=80)

    with console.capture() as captured:
        console.print(end_table(trials, space))

    shown = captured.get()
    cells = {cell for row in end_rows(trials, space)[1] for cell in row if " " not in cell}
    assert all(cell in shown for cell in cells)
    assert "…" not in shown


def test_the_report_has_table_figure_best_configuration_exclusions_and_commands(finished):
    text = text_of(finished)

    assert "| pretrained | 9 completed | 4 | 0.9160 |" in text
    assert "](figures/learning_curves.png)" in text
    assert finished.learning_curves.is_file()
    assert "`c0` of arm **pretrained**, the best of 12 complete configurations" in text
    assert "**0.9160** = mean of 0.9140 (seed 1), 0.9180 (seed 2)" in text
    assert "| `training.optimizer.lr` | `0.001` |" in text
    assert "| shuffled | diverged | val_loss is not finite at epoch 1 | 1 |" in text
    assert f"python -m stage1.export {finished.path} --out configs/best.yaml" in text
    assert "python -m stage1.train configs/best.yaml" in text
    assert "Warning" not in text


def test_the_same_tables_give_the_same_report(finished):
    assert text_of(finished) == text_of(finished)


def test_the_command_prints_the_table_and_where_the_report_lies(finished, capsys):
    main(finished.path)

    shown = capsys.readouterr().out
    assert "pretrained" in shown
    assert str(finished.report) in shown


# --- runs that are not so well ---


def test_a_run_without_a_trial_says_so(started):
    text = text_of(started)

    assert "Ended so far: 0 of 8 design and 0 of 2 search trials" in text
    assert "No trial has ended yet" in text
    assert "figures/" not in text


def test_a_run_in_progress_says_that_no_configuration_is_complete(started):
    RunWriter(started).add_trial(synthetic_trial("t0"), synthetic_curve(0.9))

    text = text_of(started)

    assert "1 of 8 design" in text
    assert "--resume" in text
    assert "No configuration has completed with every seed" in text
    assert "None yet" in text
    assert "figures/learning_curves.png" in text


def test_a_run_of_failures_only_shows_their_reasons(started):
    writer = RunWriter(started)
    for place in range(3):
        row = synthetic_trial(
            f"t{place}", status="failed", epochs=0, val_correlation=None, error="no | memory\nat 3"
        )
        writer.add_trial(row, [])

    text = text_of(started)

    assert f"| random | 3 failed | 0 | {' | '.join([UNDEFINED] * 4)} |" in text
    assert "| random | failed | no \\| memory | 3 |" in text


@pytest.mark.parametrize("skill", [-0.2, 0.0, math.nan])
def test_models_that_do_not_beat_interpolation_get_a_warning_in_plain_words(started, skill):
    writer = RunWriter(started)
    for seed in (1, 2):
        writer.add_trial(synthetic_trial(f"t{seed}", seed=seed, val_skill=skill), [])

    assert "> **Warning.** No configuration beats drawing a straight line" in text_of(started)


def test_one_arm_and_one_seed_are_enough(tmp_path):
    run = write_synthetic_run(tmp_path / "small", arms=("random",), configurations=1, seeds=1)

    assert f"| random | 1 completed, 1 diverged | 1 | 0.9140 | 0.9140 | {UNDEFINED} |" in text_of(
        run
    )
