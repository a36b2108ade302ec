import pytest
import torch
from tiny_training import T5, all_validation, tiny_batch, tiny_config, tiny_language_model

from stage1.base.errors import ModelError
from stage1.base.seeds import Stream, integer_seed
from stage1.config import Config
from stage1.language_models.initialization import build_t5, t5_stack
from stage1.language_models.t5_dimensions import PUBLIC_CONFIGS, encoder_shapes
from stage1.model.adapter import T5TimeSeriesAdapter
from stage1.model.convolutions import Bottleneck
from stage1.model.shared_encoder import SharedEncoder
from stage1.model.stage1_model import T5_PREFIX, Stage1Model, build_model, input_scale

STEM = {"stem.width": 6, "stem.kernel": 5}
VARIANTS = [
    pytest.param({}, id="plain"),
    pytest.param(STEM, id="stem"),
    pytest.param({"bottleneck_stride": 4}, id="bottleneck"),
    pytest.param(STEM | {"bottleneck_stride": 2}, id="stem and bottleneck"),
]


def config_of(*, model=None, transfer=None, seed=0, **sections):
    return tiny_config(
        model=model or {}, transfer_learning=transfer or {}, training={"seed": seed}, **sections
    )


def built(config, **changes):
    if not config.transfer_learning.use_pretrained_lm:
        return build_model(config, None)
    return build_model(config, tiny_language_model(**changes))


def influence(model, batch, *, window=0, timeframe=0, bar=7):
    """Which decoded bars change with one visible bar, (timeframe, time)."""
    with torch.no_grad():
        before = model(batch.features, batch.hidden)
        features = batch.features.clone()
        features[window, timeframe, bar] += 1
        after = model(features, batch.hidden)
    return (before != after)[window].any(dim=-1)


@pytest.mark.parametrize("vanilla", [False, True], ids=["T5", "vanilla"])
@pytest.mark.parametrize("model", VARIANTS)
def test_windows_go_in_and_all_their_bars_come_out(model, vanilla):
    config = config_of(model=model, transfer={"use_pretrained_lm": not vanilla})
    batch = tiny_batch(config)

    decoded = built(config).model(batch.features, batch.hidden)

    assert decoded.shape == batch.targets.shape
    assert decoded.dtype == torch.float32
    assert decoded.isfinite().all()


@pytest.mark.parametrize("model", VARIANTS)
def test_with_a_t5_no_timeframe_sees_another(model):
    config = config_of(model=model)

    changed = influence(built(config).model, tiny_batch(config), timeframe=1)

    assert changed.any(dim=1).tolist() == [False, True, False]


def test_with_the_vanilla_encoder_every_timeframe_sees_the_others():
    config = config_of(transfer={"use_pretrained_lm": False})

    changed = influence(built(config).model, tiny_batch(config), timeframe=1)

    assert changed.any(dim=1).all()


def test_a_bar_with_the_features_of_a_hidden_one_does_not_look_hidden():
    config = config_of()
    batch, model = tiny_batch(config), built(config).model
    nothing = torch.zeros_like(batch.features)

    hidden = model(nothing, torch.ones_like(batch.hidden))
    average = model(nothing, torch.zeros_like(batch.hidden))

    assert (hidden != average).any(dim=-1).all()


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


def test_the_parameters_are_those_of_one_t5_without_token_table_and_the_heads():
    config = config_of()

    model = built(config).model

    assert sum(p.numel() for p in model.parameters()) == parameters_by_hand(config, T5)
    assert not any("embed_tokens" in name or "shared" in name for name in model.state_dict())


@pytest.mark.parametrize(
    ("name", "millions"), [("google-t5/t5-small", 18.9), ("google-t5/t5-large", 302.0)]
)
def test_public_sizes_count_as_published_without_their_token_table(name, millions):
    config = Config(model={"stem": {"width": 0}})
    with torch.device("meta"):
        t5 = t5_stack(PUBLIC_CONFIGS[name])
        model = Stage1Model(config, t5=t5, input_scale=1.0)

    counted = sum(p.numel() for p in model.encoder.t5.parameters())

    assert counted / 1e6 == pytest.approx(millions, abs=0.1)
    assert sum(p.numel() for p in model.parameters()) == parameters_by_hand(
        config, PUBLIC_CONFIGS[name]
    )


def test_arms_of_one_seed_share_all_weights_but_the_t5_s():
    arms = {
        arm: built(config_of(transfer={"initialization": arm}))
        for arm in ("pretrained", "random", "shuffled")
    }

    states = {arm: result.model.state_dict() for arm, result in arms.items()}
    for name, tensor in states["pretrained"].items():
        for arm in ("random", "shuffled"):
            if not name.startswith(T5_PREFIX):
                assert torch.equal(tensor, states[arm][name])
    assert len({result.head_sha256 for result in arms.values()}) == 1
    assert len({result.lm_sha256 for result in arms.values()}) == 3
    assert arms["pretrained"].lm_sha256 == tiny_language_model().sha256


def test_another_seed_gives_other_heads_and_other_random_weights():
    random = {"initialization": "random"}

    one, same, two = (built(config_of(transfer=random, seed=seed)) for seed in (0, 0, 1))

    assert (one.head_sha256, one.lm_sha256) == (same.head_sha256, same.lm_sha256)
    assert one.head_sha256 != two.head_sha256
    assert one.lm_sha256 != two.lm_sha256


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


def test_a_vanilla_model_has_no_language_model_s_hash():
    result = built(config_of(transfer={"use_pretrained_lm": False}))

    assert result.lm_sha256 is None
    assert isinstance(result.model.encoder, SharedEncoder)


def test_dropout_acts_in_every_arm_from_the_start():
    for changes in (
        {"initialization": "pretrained"},
        {"initialization": "random"},
        {"initialization": "shuffled"},
        {"use_pretrained_lm": False},
    ):
        config = config_of(model={"dropout": 0.3}, transfer=changes)
        model, batch = built(config).model, tiny_batch(config)

        assert all(module.training for module in model.modules())
        first, second = (model(batch.features, batch.hidden) for _ in range(2))
        assert not torch.equal(first, second)


@pytest.mark.parametrize("initialization", ["pretrained", "random", "shuffled"])
def test_tokens_enter_every_arm_at_the_language_model_s_own_scale(initialization):
    encoder = built(config_of(transfer={"initialization": initialization})).model.encoder

    assert isinstance(encoder, T5TimeSeriesAdapter)
    assert encoder.input_scale == 2.5


def test_a_configured_input_scale_goes_before_the_language_model_s_own():
    config = config_of(transfer={"input_scale": 7.0})

    assert input_scale(config, tiny_language_model()) == 7.0
    assert input_scale(config, tiny_language_model(embedding_rms=None)) == 7.0


def test_a_language_model_without_embeddings_needs_an_input_scale():
    with pytest.raises(ModelError, match=r"set transfer_learning\.input_scale") as error:
        built(config_of(), embedding_rms=None)

    assert "\n" not in str(error.value)


def test_every_prediction_is_a_function_of_its_own_window():
    config = config_of()
    batch, model = all_validation(config), built(config).model.eval()

    together = model(batch.features, batch.hidden)

    for window in (0, 11):
        alone = model(batch.features[window : window + 1], batch.hidden[window : window + 1])
        torch.testing.assert_close(together[window], alone[0], rtol=1e-4, atol=1e-5)


# --- where a T5's weights are drawn from ---


def t5_hash(arm, *, seed=3, **transfer):
    return built(config_of(transfer={"initialization": arm} | transfer, seed=seed)).lm_sha256


@pytest.mark.parametrize("arm", ["random", "shuffled"])
@pytest.mark.parametrize("seed", [0, 3])
def test_without_a_stream_or_a_seed_of_their_own_weights_are_those_of_the_language_model_s_stream(
    arm, seed
):
    drawn = integer_seed(Stream.LANGUAGE_MODEL, seed)

    _, expected = build_t5(tiny_language_model(), initialization=arm, seed=drawn)

    assert t5_hash(arm, seed=seed) == expected
    assert t5_hash(arm, seed=seed, initialization_stream=0) == expected


@pytest.mark.parametrize("arm", ["random", "shuffled"])
def test_every_stream_draws_weights_of_its_own_for_every_seed(arm):
    hashes = {
        t5_hash(arm, seed=seed, initialization_stream=stream)
        for seed in (0, 1, 2)
        for stream in (0, 1, 2)
    }

    assert len(hashes) == 9


@pytest.mark.parametrize("stream", [0, 1])
def test_with_a_seed_of_their_own_weights_are_one_draw_for_all_trials(stream):
    own = {"initialization_seed": 3, "initialization_stream": stream}

    hashes = {t5_hash("random", seed=seed, **own) for seed in (0, 1, 3)}

    assert hashes == {t5_hash("random", seed=3, initialization_stream=stream)}


def test_the_draw_of_the_t5_leaves_all_other_weights_alone():
    plain = built(config_of(transfer={"initialization": "random"}))

    for own in ({"initialization_seed": 3}, {"initialization_stream": 1}):
        other = built(config_of(transfer={"initialization": "random"} | own))

        assert other.head_sha256 == plain.head_sha256
        assert other.lm_sha256 != plain.lm_sha256


def test_pretrained_weights_are_no_draw():
    assert t5_hash("pretrained") == t5_hash(
        "pretrained", initialization_seed=1, initialization_stream=1
    )
