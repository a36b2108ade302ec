"""What is fixed before the first trial, and what of it was changed since."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
import yaml
from made_runs import write_synthetic_run

from stage1.base.errors import ResultsError
from stage1.run.registration import (
    Preregistration,
    early_epoch,
    preregistration_deviations,
    read_preregistration,
)

KEYS = [
    *("space_sha256", "written_at", "arms", "roles", "configurations", "seeds", "replicated"),
    *("control", "distinct", "confirm_seeds", "horizon_epoch", "early_epoch", "looks"),
    *("spending", "claims", "level", "random_arm", "cost", "warm_start"),
    *("training_windows", "language_models", "versions", "metrics"),
]


@pytest.fixture
def run(tmp_path):
    return write_synthetic_run(tmp_path / "run")


def edit(run, old, new):
    text = run.prereg.read_text()
    assert old in text
    run.prereg.write_text(text.replace(old, new))


def test_the_file_begins_with_the_checksum_of_the_rest_and_has_every_key(run):
    first, rest = run.prereg.read_text().split("\n", 1)

    digest = hashlib.sha256(rest.encode()).hexdigest()
    assert first == f"# sha256 of what follows this line: {digest}"
    assert list(yaml.safe_load(rest)) == KEYS


def test_it_is_read_as_it_was_written(run):
    registered = read_preregistration(run)

    assert registered.arms == ["pretrained", "random", "shuffled"]
    assert registered.roles == {name: name for name in registered.arms}
    assert (registered.configurations, registered.seeds) == (4, [1, 2])
    assert (registered.early_epoch, registered.horizon_epoch) == (1, 4)
    assert (registered.looks, registered.level) == (1, 0.05 / 6)
    assert registered.random_arm.initializer_factor == 1
    assert (registered.cost.margin, registered.cost.rounds) == (1.15, 6)
    assert registered.written_at.tzinfo is not None


def test_without_the_arms_there_is_neither_a_cost_block_nor_a_random_arm(tmp_path):
    registered = read_preregistration(write_synthetic_run(tmp_path / "run", arms=("shuffled",)))

    assert registered.random_arm is None
    assert registered.cost is None


def test_a_key_of_a_later_version_is_passed_over(run):
    run.prereg.write_text(run.prereg.read_text() + "later: 1\n")

    assert read_preregistration(run).configurations == 4


@pytest.mark.parametrize(("horizon", "early"), [(15, 3), (9, 2), (5, 1), (3, 1), (1, 1)])
def test_the_early_epoch_is_a_fifth_of_the_horizon(horizon, early):
    assert early_epoch(horizon) == early


def growing(**parts):
    """What a study fixes that looks at 16 and 32 configurations."""
    return Preregistration(
        space_sha256="",
        written_at=datetime(2026, 11, 30, tzinfo=UTC),
        arms=["language", "random", "control"],
        roles={"pretrained": "language", "random": "random", "shuffled": "control"},
        seeds=[1, 2],
        horizon_epoch=15,
        early_epoch=3,
        random_arm=None,
        cost=None,
        language_models={},
        versions={},
        **{"configurations": 32, "looks": [16, 32], "replicated": 4, "control": 0} | parts,
    )


def trainings(configurations, *, arms=("language", "random"), replicated=4):
    """Arm, config_id and seed of a design's first trainings."""
    return [
        (arm, f"design{number:03d}", seed)
        for number in range(configurations)
        for arm in arms
        for seed in ((1, 2) if number < replicated else (1,))
    ]


@pytest.mark.parametrize(
    ("ended", "looks"),
    [
        pytest.param(trainings(15), [], id="before the first look"),
        pytest.param(trainings(16), [16], id="shuffled weights are not waited for"),
        pytest.param(trainings(16, replicated=3), [], id="a second seed is missing"),
        pytest.param(trainings(31), [16], id="inside a look"),
        pytest.param(trainings(32), [16, 32], id="all that was announced"),
        pytest.param(trainings(64), [16, 32, 64], id="an extension"),
    ],
)
def test_a_look_is_taken_once_every_paired_training_has_ended(ended, looks):
    assert growing().looks_taken(ended) == looks


def test_points_that_came_out_equal_are_not_waited_for():
    distinct = {16: 15, 32: 15}
    without_the_last = [ended for ended in trainings(16) if ended[1] != "design007"]

    assert growing(distinct=distinct).looks_taken(without_the_last) == [16]


def test_a_design_without_looks_waits_for_every_arm_and_seed():
    old = growing(looks=1, configurations=2, replicated=None, control=None)

    assert old.looks_taken(trainings(2)) == []
    assert old.looks_taken(trainings(2, arms=old.arms)) == [2]
    assert old.level_of(2) == 0.05 / 6


def test_the_level_of_a_look_is_what_it_spends_anew():
    levels = [growing().level_of(look) for look in (16, 32, 64)]

    assert levels == pytest.approx([0.05 / 48, 0.05 / 16, 0.05 / 24])


def test_controls_are_not_what_somebody_would_train():
    assert growing().trainable_arms == ["language", "random"]


def fault_of(run):
    with pytest.raises(ResultsError) as raised:
        read_preregistration(run)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_file_of_an_earlier_version_is_told_by_its_missing_keys(run):
    run.prereg.write_text(
        "space_sha256: none\nwritten_at: '2026-11-22T18:54:38+00:00'\narms: [a]\n"
    )

    assert (
        "prereg.yaml: must have the keys roles, configurations, seeds, horizon_epoch, "
        "early_epoch, random_arm, cost, language_models, versions, which an earlier version may"
    ) in fault_of(run)


def test_a_value_that_cannot_be_is_told_with_its_key(run):
    edit(run, "horizon_epoch: 4", "horizon_epoch: soon")

    assert "horizon_epoch: must be a whole number, got 'soon'" in fault_of(run)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"a: [1\n", "must be readable", id="broken YAML"),
        pytest.param(b"\xff\xfe\x00", "must be readable", id="no text"),
        pytest.param(b"- a\n", "must hold keys and values, got ['a']", id="a list"),
        pytest.param(None, "must hold prereg.yaml, got no such file", id="no file"),
    ],
)
def test_a_damaged_file_is_one_line(run, content, fault):
    run.prereg.unlink()
    if content is not None:
        run.prereg.write_bytes(content)

    assert fault in fault_of(run)
    (deviation,) = preregistration_deviations(run)
    assert deviation.startswith("prereg.yaml cannot be read")


def test_an_edited_registration_is_told(run):
    edit(run, "configurations: 4", "configurations: 2")

    assert preregistration_deviations(run) == [
        "prereg.yaml was edited after it was written: its checksum does not fit."
    ]


def test_a_registration_without_its_checksum_is_told(run):
    run.prereg.write_text(run.prereg.read_text().split("\n", 1)[1])

    assert preregistration_deviations(run) == [
        "prereg.yaml has no checksum, so nobody can tell whether it was edited after the first "
        "trial."
    ]


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_a_changed_space_is_told(run, change):
    if change == "gone":
        run.space.unlink()
    else:
        run.space.write_text(run.space.read_text() + "# later\n")

    (deviation,) = preregistration_deviations(run)

    assert deviation.startswith("space.yaml is not the file that was registered")
