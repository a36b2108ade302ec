"""What the tables say, against tables small enough to work out by hand."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pandas as pd
import pytest
from made_runs import BASELINE, changed_study, registered, synthetic_study, synthetic_trial

from stage1.base.errors import ResultsError
from stage1.run.folder import RunFolder
from stage1.run.summary import (
    baseline_value,
    best_configuration,
    cautions,
    configuration_means,
    count_exclusions,
    count_statuses,
    export_command,
    progress,
    seed_noise,
    summarize_arms,
    train_command,
)
from stage1.run.tables import RunWriter, read_trials

HEADER = ("stage", "arm", "config_id", "seed", "status", "epochs", "val_correlation", "seconds")
TABLE = [
    ("design", "pretrained", "c0", 1, "completed", 4, 0.90, 10.0),
    ("design", "pretrained", "c0", 2, "completed", 4, 0.94, 12.0),
    ("design", "pretrained", "c1", 1, "completed", 4, 0.80, 14.0),
    ("design", "pretrained", "c1", 2, "completed", 4, 0.82, 16.0),
    ("design", "random", "c0", 1, "completed", 4, 0.91, 20.0),
    ("design", "random", "c0", 2, "completed", 4, 0.91, 20.0),
    ("design", "random", "c1", 1, "completed", 4, 0.97, 20.0),
    ("design", "random", "c1", 2, "diverged", 2, math.nan, 5.0),
    ("search", "random", "s0", 0, "completed", 4, 0.99, 1.0),
    ("search", "random", "s1", 0, "stopped", 1, 0.98, 1.0),
    ("confirm", "random", "s0", 1, "completed", 4, 0.93, 20.0),
    ("confirm", "random", "s0", 2, "completed", 4, 0.95, 20.0),
]
SPACE = synthetic_study(arms=("pretrained", "random"), configurations=2)


def fixed(space, **changes):
    """A study and what was registered of it."""
    return space, registered(space, **changes)


@pytest.fixture
def tabled(tmp_path):
    """Rows of `HEADER` as the table that a reader gets."""

    def table(rows, **columns):
        run = RunFolder(tmp_path)
        writer = RunWriter(run)
        for place, row in enumerate(rows):
            values = dict(zip(HEADER, row, strict=True)) | columns
            writer.add_trial(synthetic_trial(f"t{place}", **values), [])
        return read_trials(run)

    return table


@pytest.fixture
def trials(tabled):
    return tabled(TABLE)


def test_every_status_is_counted_in_every_stage(trials):
    counts = count_statuses(trials)

    assert list(counts.columns) == ["completed", "stopped", "diverged", "failed"]
    assert counts.to_dict("index") == {
        "confirm": {"completed": 2, "stopped": 0, "diverged": 0, "failed": 0},
        "design": {"completed": 7, "stopped": 0, "diverged": 1, "failed": 0},
        "search": {"completed": 1, "stopped": 1, "diverged": 0, "failed": 0},
    }


def test_progress_counts_trials_against_the_plan(trials):
    stages = progress(trials, *fixed(SPACE))

    assert stages == {"design": (8, 2 * 2 * 2), "search": (2, 2)}


def test_exclusions_are_counted_by_arm_and_first_line_of_the_reason(tmp_path):
    writer = RunWriter(RunFolder(tmp_path))
    reasons = [
        ("failed", "out of memory\n  at line 3"),
        ("failed", "out of memory\n  at line 9"),
        ("failed", None),
        ("diverged", None),
        ("completed", None),
    ]
    for place, (status, error) in enumerate(reasons):
        writer.add_trial(synthetic_trial(f"t{place}", status=status, error=error), [])

    counts = count_exclusions(read_trials(RunFolder(tmp_path)))

    assert counts.values.tolist() == [
        ["random", "failed", "out of memory", 2],
        ["random", "failed", "not recorded", 1],
        ["random", "diverged", "loss left its range", 1],
    ]


def test_exclusions_without_any_recorded_error_have_a_reason_too(tmp_path):
    run = RunFolder(tmp_path)
    RunWriter(run).add_trial(synthetic_trial("a", status="diverged"), [])

    counts = count_exclusions(read_trials(run))

    assert counts.values.tolist() == [["random", "diverged", "loss left its range", 1]]


def test_arms_are_summarized_over_complete_configurations_of_the_design(trials):
    arms = summarize_arms(trials, *fixed(SPACE))

    assert arms.loc["pretrained", ["best", "median", "spread", "seconds"]].tolist() == (
        pytest.approx([0.92, 0.865, statistics.stdev([0.92, 0.81]), 13.0])
    )
    assert arms.loc["random", ["best", "median", "seconds"]].tolist() == (
        pytest.approx([0.91, 0.91, 20.0])
    )
    assert math.isnan(arms.loc["random", "spread"])
    assert arms["configurations"].to_dict() == {"pretrained": 2, "random": 1}
    assert arms.loc["random", ["completed", "stopped", "diverged"]].tolist() == [6, 1, 1]


def test_a_loss_is_best_where_it_is_smallest(tabled):
    space = changed_study(SPACE, objective={"metric": "val_loss", "mode": "min"})
    losses = tabled(TABLE[:4]).assign(val_loss=[0.3, 0.5, 0.1, 0.2])

    assert summarize_arms(losses, *fixed(space)).loc["pretrained", "best"] == pytest.approx(0.15)
    assert best_configuration(losses, *fixed(space)).config_id == "c1"


def test_an_arm_without_trials_has_a_row_of_its_own(tabled):
    arms = summarize_arms(tabled(TABLE[:2]), *fixed(SPACE))

    assert list(arms.index) == ["pretrained", "random"]
    assert arms.loc["random", ["completed", "configurations"]].tolist() == [0, 0]
    assert arms.loc["random", ["best", "median", "spread", "seconds"]].isna().all()


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        pytest.param("val_correlation", BASELINE, id="recorded"),
        pytest.param("val_skill", 0.0, id="zero by definition"),
        pytest.param("val_skill_m1", 0.0, id="zero by definition, one timeframe"),
        pytest.param("val_corr_m1", None, id="not recorded"),
    ],
)
def test_the_baseline_belongs_to_the_metric(trials, metric, value):
    expected = math.nan if value is None else value

    assert baseline_value(trials, metric) == pytest.approx(expected, nan_ok=True)


def test_the_best_configuration_has_all_seeds_and_comes_from_design_or_confirmation(trials):
    best = best_configuration(trials, *fixed(SPACE))

    assert (best.arm, best.config_id) == ("random", "s0")
    assert best.mean == pytest.approx(0.94)
    assert best.by_seed == {1: 0.93, 2: 0.95}
    assert best.candidates == 4


def test_a_configuration_is_complete_with_the_seeds_planned_for_it(tabled):
    looks = {"looks": [16], "replicated": 1}
    space = changed_study(SPACE, design=looks)
    registration = registered(space, replicated=1, control=0, looks=[16], confirm_seeds=[3, 4])
    names = ["design000", "design001", "design002"]
    rows = [
        ("design", "random", names[0], 1, "completed", 4, 0.90, 1.0),  # its second seed is missing
        ("design", "random", names[1], 1, "completed", 4, 0.80, 1.0),
        ("design", "random", names[1], 2, "completed", 4, 0.99, 1.0),  # nobody planned this one
        ("design", "random", names[2], 1, "completed", 4, 0.70, 1.0),
        ("confirm", "random", "s0", 3, "completed", 4, 0.76, 1.0),
        ("confirm", "random", "s0", 4, "completed", 4, 0.78, 1.0),
        ("confirm", "random", "s1", 3, "completed", 4, 0.99, 1.0),
    ]

    means = configuration_means(tabled(rows), space, registration)

    assert means[["config_id", "objective", "seeds"]].values.tolist() == [
        [names[1], 0.8, 1],
        ["s0", pytest.approx(0.77), 2],
        [names[2], 0.7, 1],
    ]


def test_the_noise_of_a_seed_is_pooled_over_replicated_configurations(trials):
    # Pretrained: c0 .90, .94; c1 .80, .82. Random: c0 .91, .91; c1 has lost a seed.
    squares = 2 * 0.02**2 + 2 * 0.01**2
    assert seed_noise(trials, *fixed(SPACE)) == pytest.approx(math.sqrt(squares / 3))

    confirmed = trials[trials["stage"] == "confirm"]
    assert seed_noise(confirmed, *fixed(SPACE)) == pytest.approx(0.02 / math.sqrt(2))
    assert math.isnan(seed_noise(trials[trials["seed"] == 1], *fixed(SPACE)))


def test_a_growing_design_is_planned_up_to_the_look_that_decided(tabled):
    space = changed_study(SPACE, design={"looks": [16, 32], "replicated": 4})
    registration = registered(space, replicated=4, control=0, looks=[16, 32], seeds=[1, 2])
    begun = tabled(
        [
            ("design", arm, f"design{c:03d}", seed, "completed", 4, 0.9, 1.0)
            for c in range(16)
            for seed in ((1, 2) if c < 4 else (1,))
            for arm in ("pretrained", "random")
        ]
    )

    assert progress(begun, space, registration)["design"] == (40, 72)
    assert progress(begun, space, registration, decided=True)["design"] == (40, 40)


def test_configurations_are_ranked_by_mean_over_seeds(trials):
    means = configuration_means(trials, *fixed(SPACE))

    assert means[["arm", "config_id"]].values.tolist() == [
        ["random", "s0"],
        ["pretrained", "c0"],
        ["random", "c0"],
        ["pretrained", "c1"],
    ]
    assert means["objective"].tolist() == pytest.approx([0.94, 0.92, 0.91, 0.81])


def test_values_are_plain_python_of_the_type_that_was_searched(tabled):
    best = best_configuration(tabled(TABLE[:2]), *fixed(SPACE))

    assert best.values == {"training.optimizer.lr": 1e-3, "transfer_learning.patch_len": 8}
    assert [type(value) for value in best.values.values()] == [float, int]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        pytest.param({"type": "int", "low": 0, "high": 3}, {}, id="does not apply"),
        pytest.param({"type": "choice", "options": [None, 2]}, {"x.y": None}, id="is an option"),
    ],
)
def test_a_null_value_is_kept_only_where_null_is_an_option(tabled, domain, expected):
    space = changed_study(SPACE, space={"x.y": domain})
    trials = tabled(TABLE[:2], **{"param.x.y": None})

    assert best_configuration(trials, *fixed(space)).values == expected


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no trial"),
        pytest.param(TABLE[6:8], id="one seed diverged"),
        pytest.param(TABLE[8:10], id="only search"),
        pytest.param([(*row[:5], 3, *row[6:]) for row in TABLE[:2]], id="short of the horizon"),
        pytest.param([(*row[:4], "failed", 4, math.nan, 1.0) for row in TABLE[:8]], id="failures"),
        pytest.param([(*row[:6], math.nan, 1.0) for row in TABLE[:2]], id="objective undefined"),
    ],
)
def test_without_a_complete_configuration_there_is_no_best_one(tabled, rows):
    trials = tabled(rows)

    with pytest.raises(
        ResultsError, match="completed to epoch 4 with every seed planned for it, got none"
    ):
        best_configuration(trials, *fixed(SPACE))

    assert len(summarize_arms(trials, *fixed(SPACE))) == 2
    assert len(cautions(trials, *fixed(SPACE))) == 1


def test_one_seed_is_enough_where_the_design_has_one(tabled):
    space = synthetic_study(arms=("random",), configurations=2, seeds=1)

    best = best_configuration(tabled(TABLE[4:8:2]), *fixed(space))

    assert (best.config_id, best.by_seed) == ("c1", {1: 0.97})


@pytest.mark.parametrize(
    ("skills", "beaten"),
    [
        pytest.param((0.3, -0.1, -0.2, -0.2), True, id="one configuration does on average"),
        pytest.param((0.3, -0.4, -0.2, -0.2), False, id="one seed alone is not enough"),
        pytest.param((0.0, 0.0, 0.0, 0.0), False, id="equal is not better"),
        pytest.param((math.nan,) * 4, False, id="undefined"),
    ],
)
def test_a_run_that_does_not_beat_interpolation_says_so(tabled, skills, beaten):
    trials = tabled(TABLE[:4]).assign(val_skill=skills)

    assert [text[:37] for text in cautions(trials, *fixed(SPACE))] == (
        [] if beaten else ["No configuration beats drawing a stra"]
    )


def test_commands_can_be_pasted_into_a_shell():
    assert export_command(RunFolder(Path("my runs/a"))) == "python -m stage1.export 'my runs/a'"
    assert train_command(Path("my configs/best.yaml")) == (
        "python -m stage1.train 'my configs/best.yaml'"
    )


def test_a_metric_that_no_trial_recorded_gives_no_best_configuration(trials):
    space = changed_study(SPACE, objective={"metric": "val_corr_h4", "mode": "max"})

    assert configuration_means(trials, *fixed(space)).empty
    assert isinstance(summarize_arms(trials, *fixed(space)), pd.DataFrame)
