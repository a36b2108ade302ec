import math

import pytest
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.language_models.resolver import resolve
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS
from stage1.model.encoders import SharedEncoder
from stage1.model.stage1_model import build_model
from stage1.training import timing as cost
from stage1.training.timing import StepTiming, time_rounds, time_steps, vanilla_counterpart

FROZEN = tiny_config(transfer_learning={"freeze_lm_epochs": -1})


@pytest.fixture
def timings(monkeypatch):
    """In place of trainings: notes what is timed; the n-th timing takes n seconds."""
    noted = []

    def noted_steps(config, windows, language_model, *, accelerator):
        noted.append((config, language_model, accelerator))
        return StepTiming(10, float(len(noted)), 100.0, None)

    monkeypatch.setattr(cost, "time_steps", noted_steps)
    return noted


def test_both_encoders_take_turns_in_going_first(timings):
    rows = time_rounds(FROZEN, tiny_windows(FROZEN), tiny_language_model(), rounds=3)

    assert [(row["round"], row["arm"], row["seconds"]) for row in rows] == [
        (0, "pretrained", 1),
        (0, "vanilla", 2),
        (1, "vanilla", 3),
        (1, "pretrained", 4),
        (2, "pretrained", 5),
        (2, "vanilla", 6),
    ]
    assert {(row["size"], row["patch_len"], row["steps"]) for row in rows} == {("tiny", 4, 10)}


def test_the_two_differ_in_the_encoder_alone_and_learn_from_the_first_step(timings):
    model = tiny_language_model()

    time_rounds(FROZEN, tiny_windows(FROZEN), model, rounds=1, accelerator="gpu")

    (t5, of_t5, device), (vanilla, of_vanilla, _) = timings
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


def test_the_counterpart_of_a_bundled_t5_is_built_with_its_width():
    config = vanilla_counterpart(tiny_config(), resolve("english-t5-nano").config)

    encoder = build_model(config, None).model.encoder

    assert isinstance(encoder, SharedEncoder)
    assert len(encoder.blocks) == config.model.encoder.layers


def test_a_timing_counts_the_steps_after_those_that_warm_up():
    config = tiny_config()

    timing = time_steps(config, tiny_windows(config), tiny_language_model())

    assert timing.steps == 10
    assert 0 < timing.seconds < 60
    assert math.isfinite(timing.peak_rss_mb)
