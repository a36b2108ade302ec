import math

import pytest
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.config import Config, with_values
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS
from stage1.training import timing
from stage1.training.timing import (
    StepTiming,
    TrialTiming,
    count_step,
    is_single_threaded,
    time_rounds,
    time_steps,
    time_trial,
    vanilla_counterpart,
)

FROZEN = tiny_config(transfer_learning={"freeze_lm_epochs": -1})


def test_a_trial_takes_its_start_and_every_epoch_its_steps_and_a_validation():
    parts = TrialTiming(2.0, 0.1, 0.5, peak_rss_mb=700.0, peak_vram_mb=None)

    assert parts.trial_seconds(epochs=3, steps_per_epoch=20) == pytest.approx(2 + 3 * (0.5 + 2))


def test_a_timing_trains_and_validates_for_real_whatever_horizon_and_length_are_set():
    config = tiny_config(training={"epochs": 50, "steps_per_epoch": 1000})

    parts = time_trial(config, tiny_windows(config), tiny_language_model())

    assert min(parts.step_seconds, parts.validation_seconds, parts.start_seconds) > 0
    assert parts.peak_rss_mb > 50


@pytest.fixture
def trained(monkeypatch):
    """Notes the configurations that are trained."""
    configs, fit = [], timing.fit

    def noted_fit(config, *arguments, **options):
        configs.append(config)
        return fit(config, *arguments, **options)

    monkeypatch.setattr(timing, "fit", noted_fit)
    return configs


@pytest.mark.parametrize(
    ("asked", "trained_with"),
    [
        pytest.param(3, 0, id="frozen at first: it learns from the first step"),
        pytest.param(0, 0, id="never frozen"),
        pytest.param(-1, -1, id="always frozen: it stays so"),
    ],
)
def test_the_t5_learns_unless_it_never_does(trained, asked, trained_with):
    config = tiny_config(transfer_learning={"freeze_lm_epochs": asked})

    time_trial(config, tiny_windows(config), tiny_language_model())

    assert [one.transfer_learning.freeze_lm_epochs for one in trained] == [trained_with]


def test_what_other_programs_took_is_left_out_where_one_thread_does_the_work(monkeypatch):
    config = tiny_config()
    arguments = config, tiny_windows(config), tiny_language_model()
    monkeypatch.setattr(timing.time, "process_time", iter([0.0, 0.0]).__next__)

    waited = time_trial(*arguments)

    assert (waited.start_seconds, waited.step_seconds, waited.validation_seconds) == (0, 0, 0)


@pytest.mark.parametrize(
    ("threads", "accelerator", "single"),
    [(1, "cpu", True), (2, "cpu", False), (1, "gpu", False)],
    ids=["one thread", "two threads", "GPU"],
)
def test_one_thread_of_the_cpu_is_told_from_more_and_from_a_gpu(threads, accelerator, single):
    config = tiny_config(training={"threads": threads})

    assert is_single_threaded(config, accelerator) is single


# The T5 against the vanilla encoder -------------------------------------------------------------


@pytest.fixture
def timings(monkeypatch):
    """In place of trainings: notes what is timed; the n-th timing takes n seconds."""
    noted = []

    def noted_steps(config, windows, language_model, *, accelerator):
        noted.append((config, language_model, accelerator))
        return StepTiming(10, float(len(noted)), 100.0, None)

    monkeypatch.setattr(timing, "time_steps", noted_steps)
    return noted


def test_both_encoders_take_turns_in_going_first_and_learn_from_the_first_step(timings):
    model = tiny_language_model()

    rows = time_rounds(FROZEN, tiny_windows(FROZEN), model, rounds=3, accelerator="gpu")

    assert [(row["round"], row["arm"], row["seconds"]) for row in rows] == [
        (0, "pretrained", 1),
        (0, "vanilla", 2),
        (1, "vanilla", 3),
        (1, "pretrained", 4),
        (2, "pretrained", 5),
        (2, "vanilla", 6),
    ]
    assert {(row["size"], row["patch_len"], row["steps"]) for row in rows} == {("tiny", 4, 10)}
    (t5, of_t5, device), (vanilla, of_vanilla, _), *_ = timings
    assert (of_t5, of_vanilla, device) == (model, None, "gpu")
    assert t5.transfer_learning.use_pretrained_lm
    assert t5.transfer_learning.freeze_lm_epochs == 0
    assert vanilla == vanilla_counterpart(t5, model.config)


@pytest.mark.parametrize(
    ("width", "t5_heads", "heads"),
    [
        pytest.param(512, 8, 8, id="t5-small"),
        pytest.param(512, 6, 4, id="flan-t5-small"),
        pytest.param(768, 12, 12, id="t5-base"),
        pytest.param(1024, 16, 16, id="t5-large"),
        pytest.param(16, 5, 4, id="the next that divides"),
        pytest.param(17, 16, 1, id="a prime"),
    ],
)
def test_the_vanilla_encoder_has_the_most_heads_up_to_the_t5_s_that_divide_the_width(
    width, t5_heads, heads
):
    t5 = {"d_model": width, "num_heads": t5_heads, "num_layers": 6, "d_ff": 2048}

    encoder = vanilla_counterpart(tiny_config(), t5).model.encoder

    assert (encoder.d_model, encoder.heads, encoder.layers, encoder.d_ff) == (width, heads, 6, 2048)


def test_every_public_t5_has_a_counterpart():
    for t5 in PUBLIC_CONFIGS.values():
        config = vanilla_counterpart(tiny_config(), t5)

        assert not config.transfer_learning.use_pretrained_lm
        assert config.model.encoder.d_model == t5["d_model"]


def test_a_timing_counts_the_steps_after_those_that_warm_up():
    config = tiny_config()

    timed = time_steps(config, tiny_windows(config), tiny_language_model())

    assert timed.steps == 10
    assert timed.seconds > 0
    assert math.isfinite(timed.peak_rss_mb)


def t5_of(size, **changes):
    """Six timeframes of 64 bars, patches of 8, 64 windows: 3,072 tokens."""
    return with_values(Config(), {"transfer_learning.lm_name_or_path": size} | changes)


@pytest.mark.parametrize(
    ("size", "with_norms_in_parts"), [("t5-small", 653), ("t5-base", 1193), ("t5-large", 2273)]
)
def test_a_step_on_the_meta_device_counts_what_a_real_size_computes(size, with_norms_in_parts):
    t5 = PUBLIC_CONFIGS[f"google-t5/{size}"]
    width, tokens = t5["d_model"], 3072
    inner = t5["num_heads"] * t5["d_kv"]
    weights = 4 * width * inner + 2 * width * t5["d_ff"]
    forward = tokens * t5["num_layers"] * 2 * (weights + 2 * 8 * inner)  # each looks at 8 tokens

    step = count_step(t5_of(size))

    # Backward each product is two; projections and decoders come on top.
    assert 3 * forward < step.flops < 1.03 * 3 * forward
    assert step.kernels < 0.7 * with_norms_in_parts


def test_what_is_counted_on_the_meta_device_follows_the_configuration():
    whole = count_step(t5_of("t5-small"))
    half = count_step(t5_of("t5-small"), windows=32)
    again = count_step(t5_of("t5-small", **{"training.gradient_checkpointing": True}))
    frozen = count_step(t5_of("t5-small", **{"transfer_learning.freeze_lm_epochs": -1}))

    assert half.flops == whole.flops / 2
    assert half.kernels == whole.kernels
    assert half.saved_bytes == pytest.approx(whole.saved_bytes / 2, rel=1e-3)
    assert again.flops / whole.flops == pytest.approx(4 / 3, rel=0.1)
    assert again.saved_bytes < whole.saved_bytes / 4
    assert frozen.flops / whole.flops == pytest.approx(2 / 3, rel=0.1)
