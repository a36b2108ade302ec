"""Trials, minutes, memory and disk: worked out by hand, and against finished run folders."""

from collections import Counter

import numpy as np
import pytest
from made_studies import ROOT, SPACE, engine_of, simulate, simulated_study, write_space
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.base.errors import TrialError
from stage1.data.bars import Bars
from stage1.model.stage1_model import parameter_counts
from stage1.plan import resources
from stage1.plan.resources import (
    RAY_MB,
    VANILLA_ENCODER,
    Kind,
    also_varying,
    by_kind,
    checkpoint_bytes,
    control_seconds,
    cost_block_seconds,
    design_configs,
    disk_bytes,
    expected_search_epochs,
    full_trial_seconds,
    kind_of,
    look_seconds,
    memory_mb,
    nearest_timing,
    representative,
    shared_bytes,
    spread_evenly,
    state_bytes,
    study_seconds,
    time_kinds,
    total_seconds,
    trial_timer,
)
from stage1.study.stages import expected_by_stage
from stage1.study.study import load_study
from stage1.training.timing import TrialTiming

TRIALS = {"design": 12, "search": 6, "confirm": 4}


def timing_of(step_seconds, *, start=1.0, validation=0.5):
    return TrialTiming(start, step_seconds, validation, peak_rss_mb=700.0, peak_vram_mb=None)


# --- trials and their kinds ---


@pytest.mark.parametrize("trials", [0, 1, 3, 12])
def test_no_stage_of_a_study_that_runs_has_more_trials_than_were_planned(tmp_path, trials):
    study = simulated_study(tmp_path, trials=trials)
    engine = simulate(engine_of(study))

    ran = Counter(trial.spec.stage for trial in engine.ended.values())
    planned = expected_by_stage(study, {})
    assert (ran["design"], ran["search"]) == (planned["design"], planned["search"])
    assert ran["confirm"] <= planned["confirm"] == 2 * min(2 * 2, trials)


@pytest.mark.parametrize(
    ("horizon", "grace", "factor", "mean"),
    [
        pytest.param(9, 1, 3, 1 + 2 / 3 + 6 / 9, id="1, 3, 9"),
        pytest.param(15, 1, 3, 1 + 2 / 3 + 6 / 9 + 6 / 27, id="1, 3, 9, 15"),
        pytest.param(10, 2, 2, 2 + 2 / 2 + 4 / 4 + 2 / 8, id="2, 4, 8, 10"),
        pytest.param(5, 1, 2.5, 1 + 2 / 2.5 + 2 / 2.5**2, id="1, 3, 5"),
        pytest.param(4, 4, 3, 4, id="never stopped"),
    ],
)
def test_one_search_trial_in_so_many_goes_on_at_each_rung(tmp_path, horizon, grace, factor, mean):
    asha = f"grace_epochs: {grace}, reduction_factor: {factor}"
    search = f"{{trials: 6, scheduler: {{asha: {{{asha}}}}}}}"
    study = simulated_study(tmp_path, horizon_epochs=str(horizon), search=search)

    assert expected_search_epochs(study.space) == pytest.approx(mean)


def test_every_trial_of_the_design_has_a_config(tmp_path):
    configs = design_configs(simulated_study(tmp_path))

    assert [config.transfer_learning.initialization for config in configs] == [
        *["pretrained", "random"] * 8
    ]
    rates = [config.training.optimizer.lr for config in configs]
    assert rates[::2] == rates[1::2]
    assert [config.training.seed for config in configs] == [1, 1, 2, 2] * 4
    assert len(set(rates)) == 4


def test_kinds_are_sizes_and_patch_lengths_and_the_vanilla_encoder_is_one(tmp_path):
    text = SPACE.replace("arms:\n", "arms:\n  v: {transfer_learning.use_pretrained_lm: false}\n")
    configs = design_configs(load_study(write_space(tmp_path, text)))

    kinds = by_kind(configs)

    sizes = {kind.size for kind in kinds}
    assert sizes == {"english-t5-nano", VANILLA_ENCODER}
    assert len(kinds[Kind(VANILLA_ENCODER, None)]) == 8  # with 2 seeds
    patches = [kind.patch_len for kind in kinds if kind.size == "english-t5-nano"]
    assert patches == sorted({config.transfer_learning.patch_len for config in configs})
    assert all(kind_of(config) == kind for kind, of in kinds.items() for config in of)


@pytest.mark.parametrize(("number", "chosen"), [(3, [1, 2, 3]), (11, [1, 6, 11])])
def test_few_kinds_are_all_timed_and_of_many_those_that_span_them_all(number, chosen):
    kinds = [Kind("a", patch) for patch in range(1, number + 1)]

    assert [kind.patch_len for kind in spread_evenly(kinds, 3)] == chosen


@pytest.mark.parametrize(
    ("replaced", "varying"),
    [
        pytest.param(
            {
                "space:\n": "space:\n  training.batch_size: {type: choice, options: [8, 16]}\n",
                "random: {": "random: {model.dropout: 0.1, ",
            },
            ["model.dropout", "training.batch_size"],
            id="searched, and of one arm",
        ),
        pytest.param(
            {one: f"{one}training.batch_size: 8, " for one in ("random: {", "pretrained: {")},
            [],
            id="alike in all arms",
        ),
    ],
)
def test_keys_that_may_change_the_cost_are_named_and_those_that_do_not_are_not(
    tmp_path, replaced, varying
):
    text = SPACE
    for old, new in replaced.items():
        text = text.replace(old, new)
    study = load_study(write_space(tmp_path, text))

    assert also_varying(study, design_configs(study)) == varying


# --- timing ---


def test_each_chosen_kind_is_timed_once_and_told():
    config = tiny_config()
    kinds = {Kind("a", 4): [config], Kind("a", 8): [config], Kind(VANILLA_ENCODER, None): [config]}
    told = []

    timings = time_kinds(
        kinds,
        [Kind("a", 4), Kind(VANILLA_ENCODER, None)],
        time_one=lambda config: timing_of(0.1),
        on_progress=told.append,
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

    monkeypatch.setattr(resources, "time_trial", noted)
    config, model = tiny_config(), tiny_language_model()
    windows = tiny_windows(config)
    monkeypatch.setattr(resources, "MarketWindows", lambda bars, of, calendar: windows)
    time_one = trial_timer({}, {"tiny": model}, accelerator="gpu")

    time_one(config)
    time_one(tiny_config(transfer_learning={"use_pretrained_lm": False}))

    assert given == [(model, "gpu"), (None, "gpu")]


def test_a_trial_that_does_not_fit_into_memory_is_named_with_what_to_do(monkeypatch):
    def too_large(*arguments, **options):
        raise TrialError("a step must fit into memory one window at a time, got 0; do this")

    monkeypatch.setattr(resources, "time_trial", too_large)
    monkeypatch.setattr(resources, "MarketWindows", lambda bars, of, calendar: None)
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


@pytest.mark.parametrize(
    ("trials", "workers", "low", "high"),
    [
        # mean 10, slowest 12: design 12 x 10 / 2, search 6 x 2.5 / 2, confirmation 4 x 10 / 2
        pytest.param(TRIALS, 2, 60 + 7.5 + 20, 60 + 6 * 12 / 2 + 4 * 12 / 2, id="two workers"),
        pytest.param(TRIALS, 1000, 12 + 2.5 + 10, 12 + 12 + 12, id="no stage below its longest"),
        pytest.param({"design": 4, "search": 0, "confirm": 0}, 1, 40, 40, id="without a search"),
    ],
)
def test_the_trials_are_shared_out_to_the_workers(trials, workers, low, high):
    span = study_seconds(trials, [8.0, 12.0], search_share=0.25, workers=workers)

    assert span == pytest.approx((low, high))


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


def test_the_time_to_a_look_is_that_of_its_trials_and_the_control_is_told_apart(tmp_path):
    shuffled = "\n  shuffled: {transfer_learning.initialization: shuffled}"
    random = "{transfer_learning.initialization: random}"
    design = "{looks: [16, 32], replicated: 4, control: 2}"
    study = simulated_study(tmp_path, design=design, **{"  random": random + shuffled})
    timings = dict.fromkeys(by_kind(design_configs(study)), timing_of(0.1))

    looks = look_seconds(study, timings, workers=2)

    each = 1 + 9 * (0.5 + study.config.training.steps_per_epoch * 0.1)
    assert looks == pytest.approx({16: 44 * each / 2, 32: 76 * each / 2})
    assert control_seconds(study, timings, workers=2) == pytest.approx(32 * each / 2)


# --- memory and disk ---


def test_memory_is_that_of_the_workers_of_ray_and_twice_what_is_shared():
    needed = memory_mb(700.0, workers=3, shared_bytes=100 * 2**20)

    assert needed == pytest.approx(3 * 700 + RAY_MB + 200)


def test_what_is_shared_is_bars_and_weights():
    model = tiny_language_model()
    weights = sum(tensor.numel() for tensor in model.weights.values())
    bars = Bars(np.zeros(10, dtype=np.int64), np.zeros((10, 4)))

    assert shared_bytes({"m1": bars, "m5": bars}, {"tiny": model}) == 2 * 10 * 5 * 8 + 4 * weights


def test_the_folder_grows_with_trials_epochs_and_blocks(tmp_path):
    small = simulated_study(tmp_path)
    longer = simulated_study(tmp_path, horizon_epochs="90")
    trials = expected_by_stage(small, {})
    size = disk_bytes(small, trials, blocks=4)

    assert size < disk_bytes(small, trials, blocks=8)
    assert size < disk_bytes(longer, trials, blocks=4)
    assert size < disk_bytes(small, trials | {"search": 100}, blocks=4)


@pytest.mark.slow
def test_a_finished_study_takes_about_the_disk_that_was_planned(finished_study):
    study = load_study(ROOT / "search_spaces" / "smoke.yaml")
    files = [path for path in finished_study.folder.rglob("*") if path.is_file()]

    planned = disk_bytes(study, expected_by_stage(study, {}), blocks=4)

    report = {"report.html", "report.md", "claims.json"}
    tables = sum(
        path.stat().st_size
        for path in files
        if path.name not in report and path.parent.name != "figures"
    )
    assert tables < planned - 3_000_000 < 4 * tables
    assert planned > sum(path.stat().st_size for path in files)


def test_states_are_as_large_as_weights_and_two_moments(tmp_path):
    study = simulated_study(tmp_path)
    configs = design_configs(study)

    largest = max(sum(parameter_counts(config).values()) for config in configs)

    assert state_bytes(configs) == 3 * 4 * largest


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        pytest.param(10**6, 3 * 10**6, id="all three"),
        pytest.param(4 * 10**9, 10**10, id="as many as the budget holds"),
        pytest.param(11 * 10**9, 11 * 10**9, id="the best one in any case"),
    ],
)
def test_checkpoints_stay_within_their_budget(tmp_path, state, kept):
    study = simulated_study(tmp_path)
    assert (study.space.checkpoints.keep, study.space.checkpoints.gigabytes) == (3, 10)

    assert checkpoint_bytes(study, state) == kept
