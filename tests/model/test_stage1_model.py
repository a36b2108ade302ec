from typing import get_args

import pytest
import torch
from tiny_training import T5, all_validation, tiny_batch, tiny_config, tiny_language_model
from transformers.models.t5.modeling_t5 import T5Stack

from stage1.base.errors import ModelError
from stage1.base.seeds import Stream, integer_seed
from stage1.config import Config, Initialization, with_values
from stage1.language_models.initialization import build_t5, t5_stack
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS, encoder_shapes
from stage1.model.encoders import T5TimeSeriesAdapter
from stage1.model.stage1_model import Bottleneck, Stage1Model, build_model

STEM = {"stem.width": 6, "stem.kernel": 5}


def config_of(*, model=None, transfer=None, seed=0, **sections):
    return tiny_config(
        model=model or {}, transfer_learning=transfer or {}, training={"seed": seed}, **sections
    )


def built(config, **changes):
    if not config.transfer_learning.use_pretrained_lm:
        return build_model(config, None)
    return build_model(config, tiny_language_model(**changes))


@pytest.mark.parametrize("vanilla", [False, True], ids=["T5", "vanilla"])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param({}, id="plain"),
        pytest.param(STEM, id="stem"),
        pytest.param({"bottleneck_stride": 4}, id="bottleneck"),
        pytest.param(STEM | {"bottleneck_stride": 2}, id="stem and bottleneck"),
    ],
)
def test_all_bars_of_windows_come_out_and_timeframes_see_each_other_with_the_vanilla_encoder_alone(
    model, vanilla
):
    config = config_of(model=model, transfer={"use_pretrained_lm": not vanilla})
    model, batch = built(config).model, tiny_batch(config)
    features = batch.features.clone()
    features[0, 1, 7] += 1  # a visible bar

    before, after = (model(seen, batch.hidden) for seen in (batch.features, features))

    assert before.shape == batch.targets.shape
    assert before.dtype == torch.float32
    assert before.isfinite().all()
    changed = (before[0] != after[0]).flatten(1).any(dim=1)
    assert changed.tolist() == [vanilla, True, vanilla]


def test_a_stem_looks_at_as_many_bars_as_its_kernel_in_its_own_timeframe():
    config = config_of(model=STEM)
    stem = built(config).model.stem
    bars = torch.randn(1, 3, 16, 7, generator=torch.Generator().manual_seed(0))
    other = bars.clone()
    other[0, 1, 8] += 1

    changed = (stem(bars) != stem(other)).any(dim=-1)[0]

    assert stem(bars).shape == (1, 3, 16, 6)
    assert changed.nonzero().tolist() == [[1, bar] for bar in range(6, 11)]


def test_bars_that_share_a_code_share_what_they_know():
    torch.manual_seed(0)
    bottleneck = Bottleneck(8, 4)
    bars = torch.randn(1, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    other = bars.clone()
    other[0, 1, 6] += 1

    changed = (bottleneck(bars) != bottleneck(other)).any(dim=-1)[0]

    assert changed.nonzero().tolist() == [[1, bar] for bar in range(4, 8)]


def parameters_by_hand(config, t5):
    """Of patches, projections, positions, decoder, and the T5 without its token table."""
    frames, length = len(config.data.timeframes), config.data.seq_len
    width, patch = config.model.d_model, config.transfer_learning.patch_len
    inside = t5["d_model"]
    embedding = frames * (7 * patch + 1) * inside + length // patch * inside
    unpatch = frames * (inside + 1) * patch * width
    decoder = frames * ((width + 1) * width + (width + 1) * 4)
    shapes = encoder_shapes(t5).values()
    return embedding + unpatch + decoder + sum(torch.Size(shape).numel() for shape in shapes)


@pytest.mark.parametrize(
    ("t5", "millions"),
    [
        pytest.param(T5, 0.01, id="tiny"),
        pytest.param(PUBLIC_CONFIGS["google-t5/t5-small"], 18.9, id="t5-small, as published"),
        pytest.param(PUBLIC_CONFIGS["google-t5/t5-large"], 302.0, id="t5-large, as published"),
    ],
)
def test_the_parameters_are_those_of_one_t5_without_token_table_and_the_heads(t5, millions):
    config = Config(model={"stem": {"width": 0}})
    with torch.device("meta"):
        model = Stage1Model(config, t5=t5_stack(t5), input_scale=1.0)

    of_t5 = sum(p.numel() for p in model.encoder.t5.parameters())

    assert of_t5 / 1e6 == pytest.approx(millions, abs=0.1)
    assert sum(p.numel() for p in model.parameters()) == parameters_by_hand(config, t5)
    assert sum(isinstance(part, T5Stack) for part in model.modules()) == 1
    assert not any("embed_tokens" in name or "shared" in name for name in model.state_dict())


def test_the_head_hash_knows_every_weight_outside_the_t5():
    hashes = {
        built(config_of(model=model, transfer=transfer)).head_sha256
        for model in ({}, STEM, {"bottleneck_stride": 2}, {"d_model": 12})
        for transfer in ({}, {"patch_len": 8}, {"use_pretrained_lm": False})
    }

    assert len(hashes) == 12


def test_building_a_model_leaves_global_randomness_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    built(config_of(transfer={"initialization": "random"}))

    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("initialization", ["pretrained", "random", "shuffled"])
@pytest.mark.parametrize(
    ("configured", "embedding_rms", "scale"),
    [
        pytest.param({}, 2.5, 2.5, id="the language model's own"),
        pytest.param({"input_scale": 7.0}, 2.5, 7.0, id="configured"),
        pytest.param({"input_scale": 7.0}, None, 7.0, id="configured alone"),
    ],
)
def test_tokens_enter_every_arm_at_the_same_scale(initialization, configured, embedding_rms, scale):
    config = config_of(transfer={"initialization": initialization} | configured)

    encoder = built(config, embedding_rms=embedding_rms).model.encoder

    assert isinstance(encoder, T5TimeSeriesAdapter)
    assert encoder.input_scale == scale


def test_a_language_model_without_embeddings_needs_an_input_scale():
    with pytest.raises(ModelError, match=r"set transfer_learning\.input_scale") as error:
        built(config_of(), embedding_rms=None)

    assert "\n" not in str(error.value)


# --- calendar windows ---

CALENDAR = {"calendar": True, "data": {"sampling_probs": {"m5": 0.6, "m15": 0.6}}}
LAYOUTS = [
    pytest.param({}, id="t5"),
    pytest.param({"model.cross_pairs": [["m1", "m5"], ["m5", "m15"]]}, id="t5 with cross pairs"),
    pytest.param({"transfer_learning.use_pretrained_lm": False}, id="vanilla"),
    pytest.param({"model.stem.width": 4, "model.stem.kernel": 5}, id="with a stem"),
    pytest.param({"model.bottleneck_stride": 4}, id="with a bottleneck"),
]


def calendar_config(changes=()):
    return with_values(tiny_config(**CALENDAR), dict(changes))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("changes", LAYOUTS)
def test_padding_never_changes_an_output_at_a_real_bar(changes, training):
    config = calendar_config(changes)
    model, batch = built(config).model.train(training), tiny_batch(config)
    padding = ~batch.real
    noise = batch.features.masked_fill(padding.unsqueeze(-1), torch.nan)

    before = model(batch.features, batch.hidden, batch.real)
    after = model(noise, batch.hidden ^ padding, batch.real)

    assert padding.any()
    assert before.isfinite().all()
    assert torch.equal(before[batch.real], after[batch.real])


@pytest.mark.parametrize("changes", LAYOUTS)
def test_where_all_bars_are_real_the_mask_changes_nothing(changes):
    config = with_values(tiny_config(), dict(changes))
    model, batch = built(config).model, tiny_batch(config)

    without, masked = (model(batch.features, batch.hidden, real) for real in (None, batch.real))

    assert batch.real.all()
    torch.testing.assert_close(masked, without, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", LAYOUTS)
def test_a_timeframe_that_no_window_has_breaks_neither_output_nor_gradient(changes):
    config = calendar_config(changes)
    model, batch = built(config).model, tiny_batch(config)
    real = batch.real.clone()
    real[:, 1] = False

    decoded = model(batch.features, batch.hidden & real, real)
    decoded[real].square().mean().backward()

    assert decoded.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_t5_is_called_once_for_all_windows_and_timeframes_that_are_there():
    config = calendar_config()
    model, batch, calls = built(config).model, tiny_batch(config), []
    model.encoder.t5.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )

    model(batch.features, batch.hidden, batch.real)

    (call,) = calls
    there = batch.real.any(dim=2)
    assert not there.all()
    assert call["inputs_embeds"].shape == (int(there.sum()), 64 // 4, 16)
    tokens = batch.real.unflatten(2, (-1, 4)).any(dim=-1)[there]
    assert torch.equal(call["attention_mask"][:, 0, 0], tokens)


@pytest.mark.parametrize("sections", [{}, CALENDAR], ids=["equal lengths", "calendar"])
def test_every_prediction_is_a_function_of_its_own_window(sections):
    config = tiny_config(**sections)
    batch, model = all_validation(config), built(config).model.eval()

    together = model(batch.features, batch.hidden, batch.real)

    for window in (0, 11):
        alone = [tensor[window : window + 1] for tensor in (batch.features, batch.hidden)]
        real = batch.real[window]
        single = model(*alone, real.unsqueeze(0))
        torch.testing.assert_close(together[window, real], single[0, real], rtol=1e-4, atol=1e-5)


# --- where a T5's weights are drawn from ---


DRAWN = [arm for arm in get_args(Initialization) if arm != "pretrained"]


def t5_hash(arm, *, seed=3, **transfer):
    return built(config_of(transfer={"initialization": arm} | transfer, seed=seed)).lm_sha256


@pytest.mark.parametrize("arm", DRAWN)
@pytest.mark.parametrize("seed", [0, 3])
def test_without_a_stream_or_a_seed_of_their_own_weights_are_those_of_the_language_model_s_stream(
    arm, seed
):
    drawn = integer_seed(Stream.LANGUAGE_MODEL, seed)

    _, expected = build_t5(tiny_language_model(), initialization=arm, seed=drawn)

    assert t5_hash(arm, seed=seed) == expected
    assert t5_hash(arm, seed=seed, initialization_stream=0) == expected


@pytest.mark.parametrize("arm", DRAWN)
def test_every_stream_draws_weights_of_its_own_for_every_seed(arm):
    hashes = {
        t5_hash(arm, seed=seed, initialization_stream=stream)
        for seed in (0, 1, 2)
        for stream in (0, 1, 2)
    }

    assert len(hashes) == 9


@pytest.mark.parametrize("arm", DRAWN)
@pytest.mark.parametrize("stream", [0, 1])
def test_with_a_seed_of_their_own_weights_are_one_draw_for_all_trials(arm, stream):
    own = {"initialization_seed": 3, "initialization_stream": stream}

    hashes = {t5_hash(arm, seed=seed, **own) for seed in (0, 1, 3)}

    assert hashes == {t5_hash(arm, seed=3, initialization_stream=stream)}


def test_the_draw_of_the_t5_leaves_all_other_weights_alone():
    plain = built(config_of(transfer={"initialization": "random"}))

    for own in ({"initialization_seed": 3}, {"initialization_stream": 1}):
        other = built(config_of(transfer={"initialization": "random"} | own))

        assert other.head_sha256 == plain.head_sha256
        assert other.lm_sha256 != plain.lm_sha256


STARTS = (
    {"initialization": "pretrained"},
    {"initialization": "random"},
    {"initialization": "shuffled"},
    {"n_pretrained_blocks": 1},
    {"initialization": "shuffled", "n_pretrained_blocks": 1},
    {"initialization": "random", "initializer_factor": 0.05},
)


def test_the_t5_that_a_model_starts_from_is_the_same_in_both_kinds_of_window():
    equal, calendar = (
        [built(tiny_config(**kind, transfer_learning=start)).lm_sha256 for start in STARTS]
        for kind in ({}, CALENDAR)
    )

    assert equal == calendar
    assert len(set(equal)) == len(STARTS)


def test_pretrained_weights_are_no_draw():
    assert t5_hash("pretrained") == t5_hash(
        "pretrained", initialization_seed=1, initialization_stream=1
    )
