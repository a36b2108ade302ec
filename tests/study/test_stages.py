"""A design that grows: looks, when it stops, shuffled weights for a gain, going on after an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from made_studies import Tables, engine_of, epoch_row, simulate, simulated_study

from stage1.run.columns import CONFIRM, DESIGN, FAILED, SEARCH
from stage1.run.looks import configuration_number
from stage1.run.registration import Preregistration
from stage1.study.stages import expected_by_stage
from stage1.study.trials import LookResult

ARMS = ["pretrained", "random", "shuffled"]
TWICE = "{looks: [16, 32], replicated: 2}"
NEVER = 10**9
SHUFFLED = (
    "{transfer_learning.initialization: random}\n"
    "  shuffled: {transfer_learning.initialization: shuffled}"
)


def growing(folder, design=TWICE, *, trials=4, **replaced):
    """A study whose trainings have one epoch, with a control."""
    asha = "{asha: {grace_epochs: 1, reduction_factor: 3}}"
    replaced = {
        "horizon_epochs": "1",
        "  random": SHUFFLED,
        "design": design,
        "search": f"{{trials: {trials}, sampler: random, scheduler: {asha}}}",
    } | replaced
    return simulated_study(folder, **replaced)


class Looks:
    """Judges: claim 1 is decided from some look on, with a gain from another on, or not."""

    def __init__(self, *, decides_at=NEVER, gain_at=NEVER):
        self.decides_at, self.gain_at = decides_at, gain_at
        self.engine, self.taken, self.seen = None, [], []

    def __call__(self, look):
        self.taken.append(look)
        self.seen.append((len(self.engine.ended), len(self.engine.running)))
        return LookResult(look >= self.decides_at, look >= self.gain_at)


def run(study, looks, *, workers=1, tables=None, ended=(), started=(), **until):
    tables = tables or Tables()
    engine = engine_of(study, tables=tables, ended=ended, started=started, judge=looks)
    looks.engine = engine
    simulate(engine, workers=workers, **until)
    return engine


def ids(specs):
    return {spec.trial_id for spec in specs}


def of_design(engine):
    return Counter(trial.spec.arm for trial in engine.ended.values() if trial.spec.stage == DESIGN)


# --- looks ---


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("decides_at", "taken", "trained"),
    [
        pytest.param(16, [16], 18, id="decided at the first look"),
        pytest.param(32, [16, 32], 34, id="decided at the second look"),
        pytest.param(NEVER, [16, 32], 34, id="never decided"),
    ],
)
def test_a_design_grows_until_claim_1_is_decided_and_waits_for_each_look(
    tmp_path, decides_at, taken, trained, workers
):
    looks, tables = Looks(decides_at=decides_at), Tables()

    engine = run(growing(tmp_path), looks, workers=workers, tables=tables)

    assert looks.taken == taken
    assert looks.seen == [(36, 0), (68, 0)][: len(taken)]  # two arms, 16 + 2 and 32 + 2 trainings
    assert of_design(engine) == {"pretrained": trained, "random": trained}
    assert [stage for stage, _ in groupby(row["stage"] for row in tables.rows)] == [
        *(DESIGN, SEARCH, CONFIRM)
    ]
    assert engine.expected_trials() == len(tables.rows)
    assert engine.has_finished


def test_configurations_come_one_after_the_other_and_the_first_ones_have_a_second_seed(tmp_path):
    study = growing(tmp_path)

    specs = study.design_specs()

    first = [(spec.config_id, spec.seed, spec.arm) for spec in specs[:6]]
    assert first == [
        *(("design000", 1, arm) for arm in ARMS[:2]),
        *(("design000", 2, arm) for arm in ARMS[:2]),
        *(("design001", 1, arm) for arm in ARMS[:2]),
    ]
    assert {spec.config_id for spec in specs if spec.seed == 2} == {"design000", "design001"}
    assert [spec.seed for spec in specs if spec.config_id == "design031"] == [1, 1]
    assert specs[: len(study.design_specs(16))] == study.design_specs(16)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_gain_at_the_last_look_asks_for_shuffled_weights_and_the_look_is_judged_again(
    tmp_path, workers
):
    study, looks = growing(tmp_path), Looks(decides_at=32, gain_at=16)
    tables = Tables()

    engine = run(study, looks, workers=workers, tables=tables)

    assert looks.taken == [16, 32, 32]  # not at 16, where the design goes on
    assert looks.seen == [(36, 0), (68, 0), (68 + 34, 0)]
    assert of_design(engine) == dict.fromkeys(ARMS, 34)
    by_arm = {
        arm: {(row["config_id"], row["seed"]) for row in tables.rows[:102] if row["arm"] == arm}
        for arm in ARMS
    }
    assert by_arm["shuffled"] == by_arm["pretrained"] == by_arm["random"]
    assert [row["arm"] for row in tables.rows[68:102]] == ["shuffled"] * 34
    assert engine.expected_trials() == len(tables.rows)


def test_a_control_in_any_case_is_trained_with_its_configurations_and_the_rest_when_asked(tmp_path):
    study = growing(tmp_path, "{looks: [16], seeds: 2, control: 3}")
    alone, asked = Looks(), Looks(gain_at=16)

    without, with_gain = run(study, alone), run(study, asked)

    assert of_design(without) == {"pretrained": 32, "random": 32, "shuffled": 6}
    assert alone.taken == [16]
    assert of_design(with_gain) == dict.fromkeys(ARMS, 32)
    assert asked.seen == [(70, 0), (96, 0)]


def test_without_an_arm_with_shuffled_weights_a_gain_asks_for_nothing(tmp_path):
    study = growing(tmp_path, **{"  random": "{transfer_learning.initialization: random}"})
    looks = Looks(decides_at=16, gain_at=16)

    engine = run(study, looks)

    assert looks.taken == [16]
    assert of_design(engine) == {"pretrained": 18, "random": 18}


def test_search_and_confirmation_are_over_the_arms_one_would_train_on_seeds_of_their_own(tmp_path):
    tables = Tables()

    run(growing(tmp_path), Looks(decides_at=16), tables=tables)

    stages = {SEARCH: Counter(), CONFIRM: Counter()}
    for row in tables.rows:
        if row["stage"] in stages:
            stages[row["stage"]][row["arm"], row["seed"]] += 1
    assert stages[SEARCH] == {("pretrained", 0): 2, ("random", 0): 2}
    assert stages[CONFIRM] == dict.fromkeys(
        [("pretrained", 3), ("pretrained", 4), ("random", 3), ("random", 4)], 1
    )


def test_a_failed_training_does_not_keep_a_look_waiting(tmp_path):
    def row(spec, epoch):
        if spec.config_id == "design015":
            raise RuntimeError("broken")
        return epoch_row(spec, epoch)

    looks = Looks(decides_at=16)

    engine = run(growing(tmp_path), looks, row=row)

    assert looks.taken == [16]
    assert engine.ended_by("status")[FAILED] == 2


def test_what_a_look_means_is_told(tmp_path):
    engine = run(growing(tmp_path), Looks(decides_at=32, gain_at=16))

    assert engine.notes == [
        "look at 16 configurations: the claims are tested before anything goes on",
        "claim 1 is open: the design goes on to 32 configurations",
        "look at 32 configurations: the claims are tested before anything goes on",
        "claim 1 is decided: the design ends with 32 configurations",
        "a gain asks for its control: 34 trials with shuffled weights",
        "look at 32 configurations: the claims are tested before anything goes on",
    ]


def test_samplers_know_a_configuration_by_the_seeds_it_has(tmp_path):
    engine = run(growing(tmp_path), Looks(decides_at=16), trials=36)

    told = engine._samplers["random"].study.trials
    assert [trial.user_attrs["seeds"] for trial in told] == [2, 2, *[1] * 14]
    assert set(engine._samplers) == {"pretrained", "random"}


# --- going on ---


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("gain_at", [NEVER, 32])
def test_wherever_a_study_ends_it_goes_on_to_the_same_trials_and_looks(tmp_path, workers, gain_at):
    study = growing(tmp_path)
    whole = run(study, Looks(gain_at=gain_at), workers=workers)
    everything = {trial_id: trial.value for trial_id, trial in whole.ended.items()}
    boundaries = {1, 35, 36, 37, 67, 68, 69, 101, 102, 103, *range(10, len(everything), 25)}

    for point in sorted(boundaries & set(range(len(everything)))):
        first, second = Looks(gain_at=gain_at), Looks(gain_at=gain_at)
        before = run(study, first, workers=workers, trials=point)
        started = [trial.spec for trial in before.running.values()]
        after = run(study, second, workers=workers, ended=before.ended.values(), started=started)

        assert {key: trial.value for key, trial in after.ended.items()} == everything
        assert after.has_finished
        assert sorted({*first.taken, *second.taken}) == [16, 32]
        # What is behind is not looked at again; only the last look may be, which may not have been.
        assert second.taken == sorted(second.taken)
        assert set(first.taken) & set(second.taken) <= {max(first.taken, default=0)}


def test_a_look_is_not_taken_again_once_trials_beyond_it_have_begun(tmp_path):
    study = growing(tmp_path)
    before = run(study, Looks(), trials=36)
    assert before.next_trial().config_id == "design016"
    started = [trial.spec for trial in before.running.values()]
    looks = Looks()

    run(study, looks, ended=before.ended.values(), started=started)

    assert looks.taken == [32]


def test_once_the_search_has_begun_the_design_does_not_grow_whatever_a_look_says_now(tmp_path):
    study = growing(tmp_path)
    before = run(study, Looks(decides_at=16), trials=37)
    looks = Looks()

    engine = run(study, looks, ended=before.ended.values())

    assert of_design(engine) == {"pretrained": 18, "random": 18}
    assert engine.has_finished


def test_an_extended_study_goes_on_to_the_doubling_and_searches_no_more(tmp_path):
    study = growing(tmp_path)
    before = run(study, Looks(decides_at=16))
    looks = Looks(gain_at=32)

    engine = run(study.with_points(32), looks, ended=before.ended.values())

    assert looks.taken == [32, 32]
    assert of_design(engine) == dict.fromkeys(ARMS, 34)
    assert engine.ended_by("stage")[SEARCH] == 4
    assert engine.has_finished


def test_an_extension_that_has_begun_goes_on_by_its_trials_alone(tmp_path):
    study = growing(tmp_path)
    before = run(study, Looks())
    partly = run(study.with_points(64), Looks(), ended=before.ended.values(), trials=90)
    assert max(configuration_number(t.spec.config_id) for t in partly.ended.values()) > 31
    looks = Looks()

    engine = run(study.with_points(64), looks, ended=partly.ended.values())

    assert looks.taken == [64]
    assert of_design(engine) == {"pretrained": 66, "random": 66}
    assert engine.has_finished


# --- how many there are ---


def registered(study):
    size = study.size
    return Preregistration(
        space_sha256="0" * 64,
        written_at="2026-01-01T00:00:00Z",
        arms=list(study.space.arms),
        roles=study.roles,
        configurations=size.configurations,
        seeds=study.design_seeds,
        replicated=size.replicated,
        control=size.control,
        looks=list(size.looks) if size.grows else 1,
        horizon_epoch=1,
        early_epoch=1,
        random_arm=None,
        cost=None,
        language_models={},
        versions={},
    )


@pytest.mark.parametrize("gain_at", [NEVER, 16])
@pytest.mark.parametrize("decides_at", [16, 32])
def test_the_tables_alone_say_how_many_trials_the_design_has(tmp_path, decides_at, gain_at):
    study = growing(tmp_path, "{looks: [16, 32], replicated: 2, control: 3}")
    registration, looks = registered(study), Looks(decides_at=decides_at, gain_at=gain_at)
    engine = engine_of(study, judge=looks)
    looks.engine = engine

    for point in range(1, 120):
        simulate(engine, trials=point)
        trials = [trial.spec for trial in engine.ended.values()]
        design = [(s.arm, s.config_id, s.seed) for s in trials if s.stage == DESIGN]
        over = any(spec.stage != DESIGN for spec in trials)
        found = registration.planned_trials(design, over=over)
        if over or len(engine.stages.design) == len(study.design_specs()):
            assert found == Counter(spec.arm for spec in engine.stages.design)
            assert sum(found.values()) == engine.expected_by_stage()[DESIGN]
        numbers = [int(config_id[-3:]) for arm, config_id, _ in design if arm != "shuffled"]
        whole = [sum(number < look for number in numbers) for look in (16, 32)]
        taken = [look for look, count in zip((16, 32), whole, strict=True) if count == 2 * look + 4]
        assert registration.looks_taken(design) == taken
    assert engine.has_finished


def test_a_design_without_looks_is_judged_never_and_confirms_two_points(tmp_path):
    study = simulated_study(tmp_path)

    engine = simulate(engine_of(study))  # which would fail if it were asked to judge

    assert engine.notes == []
    assert expected_by_stage(study, {}) == {DESIGN: 16, SEARCH: 12, CONFIRM: 8}


# --- points that come out equal ---


def test_points_that_come_out_equal_are_trained_once_and_keep_their_numbers(tmp_path):
    study = growing(
        tmp_path,
        **{
            "  training.optimizer.lr": "{type: choice, options: [1.0e-3]}",
            "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 9}",
        },
    )

    numbers = list(study.configurations)

    points = [tuple(point.values()) for point in study.points]
    expected = [n for n, point in enumerate(points) if point not in points[:n]]
    assert numbers == expected
    assert len(numbers) < 32
    assert {spec.config_id for spec in study.design_specs()} == {f"design{n:03d}" for n in expected}
    assert study.distinct_of(16) == sum(n < 16 for n in expected)
    assert any("distinct configurations of 32 points" in text for text in study.cautions)


def test_a_study_that_an_earlier_version_began_trains_equal_points_and_searches_every_arm(tmp_path):
    study = simulated_study(
        tmp_path,
        design="{configurations: 8, seeds: 1}",
        **{
            "  training.optimizer.lr": "{type: choice, options: [1.0e-3]}",
            "  transfer_learning.freeze_lm_epochs": "{type: int, low: 0, high: 1}",
            "  transfer_learning.patch_len": "{type: choice, options: [4, 8]}",
            "  random": SHUFFLED,
        },
    )

    earlier = replace(study, began_earlier=True)

    assert (len(study.configurations), len(earlier.configurations)) == (4, 8)
    assert (study.confirm_seeds, earlier.confirm_seeds) == ([2, 3], [1])
    assert (study.searched_arms, earlier.searched_arms) == (ARMS[:2], ARMS)
    assert earlier.design_seeds == study.design_seeds == [1]
    assert study.cautions[0] == "4 distinct configurations of 8 points"
