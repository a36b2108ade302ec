"""Minutes from timings: every expectation is worked out by hand."""

import pytest
from simulated_study import simulated_study
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.base.errors import TrialError
from stage1.plan import duration
from stage1.plan.duration import (
    cost_block_seconds,
    full_trial_seconds,
    nearest_timing,
    representative,
    study_seconds,
    time_kinds,
    trial_timer,
)
from stage1.plan.stages import VANILLA_ENCODER, Kind, by_kind, design_configs
from stage1.plan.timed import total_seconds
from stage1.training.timing import TrialTiming

TRIALS = {"design": 12, "search": 6, "confirm": 4}


def timing_of(step_seconds, *, start=1.0, validation=0.5):
    return TrialTiming(start, step_seconds, validation, peak_rss_mb=700.0, peak_vram_mb=None)


# --- timing ---


def test_each_chosen_kind_is_timed_once_and_told():
    config = tiny_config()
    kinds = {Kind("a", 4): [config], Kind("a", 8): [config], Kind(VANILLA_ENCODER, None): [config]}
    told = []

    timings = time_kinds(
        kinds,
        [Kind("a", 4), Kind(VANILLA_ENCODER, None)],
        time_one=lambda config: timing_of(0.1),
        tell=told.append,
    )

    assert timings == dict.fromkeys([Kind("a", 4), Kind(VANILLA_ENCODER, None)], timing_of(0.1))
    assert told == ["Timing a, patch_len 4 (1 of 2) ...", "Timing vanilla encoder (2 of 2) ..."]


def test_a_kind_is_timed_with_a_t5_that_learns_if_there_is_one():
    frozen, learning = (
        tiny_config(transfer_learning={"freeze_lm_epochs": epochs}) for epochs in (-1, 2)
    )

    assert representative([frozen, learning]) == learning
    assert representative([frozen, frozen]) == frozen


def test_the_vanilla_encoder_is_timed_without_a_language_model(monkeypatch):
    given = []

    def noted(config, windows, language_model, *, accelerator):
        given.append((language_model, accelerator))
        return timing_of(0.1)

    monkeypatch.setattr(duration, "time_trial", noted)
    config, model = tiny_config(), tiny_language_model()
    windows = tiny_windows(config)
    monkeypatch.setattr(duration, "MarketWindows", lambda bars, of, calendar: windows)
    time_one = trial_timer({}, {"tiny": model}, accelerator="gpu")

    time_one(config)
    time_one(tiny_config(transfer_learning={"use_pretrained_lm": False}))

    assert given == [(model, "gpu"), (None, "gpu")]


def test_a_trial_that_does_not_fit_into_memory_is_named_with_what_to_do(monkeypatch):
    def too_large(*arguments, **options):
        raise TrialError("a step must fit into memory one window at a time, got 0; do this")

    monkeypatch.setattr(duration, "time_trial", too_large)
    monkeypatch.setattr(duration, "MarketWindows", lambda bars, of, calendar: None)
    time_one = trial_timer({}, {"tiny": tiny_language_model()}, accelerator="gpu")

    with pytest.raises(TrialError, match=r"^tiny: a step must fit into memory .* do this$"):
        time_one(tiny_config())


@pytest.mark.parametrize(
    ("kind", "step_seconds"),
    [
        pytest.param(Kind("a", 4), 0.1, id="timed itself"),
        pytest.param(Kind("a", 5), 0.1, id="the nearest patch_len by ratio"),
        pytest.param(Kind("a", 12), 0.2, id="another one"),
        pytest.param(Kind("b", 8), 0.3, id="of its own size, however far"),
        pytest.param(Kind("c", 20), 0.2, id="a size that was not timed: by patch_len"),
    ],
)
def test_what_was_not_timed_counts_as_the_nearest(kind, step_seconds):
    timings = {
        Kind("a", 4): timing_of(0.1),
        Kind("a", 16): timing_of(0.2),
        Kind("b", 64): timing_of(0.3),
    }

    assert nearest_timing(kind, timings).step_seconds == step_seconds


# --- adding up ---


def test_a_full_trial_has_the_steps_of_its_own_configuration():
    config = tiny_config(training={"epochs": 3, "steps_per_epoch": 10})

    seconds = full_trial_seconds(config, {Kind("tiny", 4): timing_of(0.2)})

    assert seconds == pytest.approx(1 + 3 * (0.5 + 10 * 0.2))


def test_the_trials_are_shared_out_to_the_workers():
    span = study_seconds(TRIALS, [8.0, 12.0], search_share=0.25, workers=2)

    # mean 10, slowest 12: design 12 x 10 / 2, search 6 x 2.5 / 2, confirmation 4 x 10 / 2
    assert span.low == pytest.approx(60 + 7.5 + 20)
    assert span.high == pytest.approx(60 + 6 * 12 / 2 + 4 * 12 / 2)


def test_no_stage_is_shorter_than_a_trial_however_many_workers_there_are():
    span = study_seconds(TRIALS, [8.0, 12.0], search_share=0.25, workers=1000)

    assert span.low == pytest.approx(12 + 2.5 + 10)
    assert span.high == pytest.approx(12 + 12 + 12)


def test_a_study_without_a_search_has_one_length():
    none = {"design": 4, "search": 0, "confirm": 0}

    low, high = study_seconds(none, [5.0], search_share=0.5, workers=1)

    assert low == high == pytest.approx(20)


def test_a_cost_block_starts_and_steps_both_encoders_in_every_round():
    # 6 rounds of 2 encoders; 3 epochs of 5 steps each
    assert cost_block_seconds(timing_of(0.1, start=2)) == pytest.approx(6 * 2 * (2 + 15 * 0.1))


def test_the_whole_study_is_trials_cost_block_and_start(tmp_path):
    study = simulated_study(tmp_path, search="{trials: 0}", horizon_epochs="2")
    configs = design_configs(study)
    timings = dict.fromkeys(by_kind(configs), timing_of(0.1))
    trials = {"design": 16, "search": 0, "confirm": 0}

    total = total_seconds(study, trials, configs, timings, workers=2)

    each = 1 + 2 * (0.5 + study.config.training.steps_per_epoch * 0.1)
    cost_block = 6 * 2 * (1 + 15 * 0.1)  # of one language model
    assert total.low == total.high == pytest.approx(16 * each / 2 + cost_block + 30)
