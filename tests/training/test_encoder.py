import numpy as np
import pytest
import torch
from small_checkpoint import changed_checkpoint, write_checkpoint, write_market
from synthetic_bars import market
from synthetic_series import series_config, series_of, waves, write_folder
from tiny_training import tiny_batch, tiny_config, tiny_model, tiny_windows

import stage1
from stage1.base.errors import DataError, ResultsError
from stage1.training.checkpoint import read_trained
from stage1.training.encoder import bars_for, trained_model

KINDS = [
    pytest.param({}, id="T5"),
    pytest.param({"transfer_learning": {"use_pretrained_lm": False}}, id="vanilla encoder"),
    pytest.param({"model": {"cross_pairs": [["m1", "m5"]], "stem.width": 8}}, id="cross and stem"),
    pytest.param({"data": {"seq_len": 64}, "model": {"async_sampler": True}}, id="calendar"),
    pytest.param({"training": {"gradient_checkpointing": True}}, id="gradient checkpointing"),
]


@pytest.mark.parametrize("sections", KINDS)
def test_the_model_of_a_checkpoint_decodes_as_the_trained_one(tmp_path, sections):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, **sections)
    config = tiny_config(**sections)
    trained = tiny_model(config)
    state = torch.load(path, weights_only=True)["state_dict"]
    trained.load_state_dict({name.removeprefix("model."): state[name] for name in state})
    batch = tiny_batch(config)

    model = trained_model(read_trained(path)).eval()

    with torch.no_grad():
        expected = trained.eval()(batch.features, batch.hidden, batch.real)
        assert torch.equal(model(batch.features, batch.hidden, batch.real), expected)


def test_an_encoder_is_loaded_ready_to_use_without_the_language_model(checkpoint, monkeypatch):
    monkeypatch.setattr("stage1.training.session.resolve", None)

    encoder = stage1.load_encoder(checkpoint)

    assert isinstance(encoder, torch.nn.Module)
    assert not any(part.training for part in encoder.modules())
    assert encoder.timeframes == ("m1", "m5", "m15")
    assert (encoder.seq_len, encoder.d_model) == (16, 8)
    assert {(p.device.type, p.dtype, p.requires_grad) for p in encoder.parameters()} == {
        ("cpu", torch.float32, True)
    }


def test_an_encoder_sees_a_validation_window_as_the_training_did_but_for_the_hiding(tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", data={"normalization": "zscore"})
    encoder = stage1.load_encoder(tmp_path / "x.ckpt")
    config = tiny_config(data={"normalization": "zscore"})
    (trained,) = tiny_windows(config).validation_batches(config.masking)
    windows = encoder.windows(market(2000, encoder.timeframes))
    places = np.searchsorted(windows.ends, trained.open_time[:, 0, -1].numpy() + 60)

    batch = windows.batch(places)

    assert torch.equal(batch.targets, trained.targets)


def test_loading_draws_no_random_number(checkpoint):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)

    stage1.load_encoder(checkpoint)

    assert torch.equal(torch.rand(3), expected)


def test_the_package_has_no_other_name_by_chance():
    with pytest.raises(AttributeError, match="has no attribute 'load_decoder'"):
        _ = stage1.load_decoder


def dropped(content):
    del content["state_dict"]["model.decoder.1.weight"]


def reshaped(content):
    content["state_dict"]["model.encoder.unpatch.projection.bias"] = torch.zeros(3)


@pytest.mark.parametrize("change", [dropped, reshaped])
def test_weights_of_another_configuration_are_refused_in_one_line(tmp_path, checkpoint, change):
    path = changed_checkpoint(checkpoint, tmp_path / "x.ckpt", change)

    with pytest.raises(ResultsError, match="must hold the weights of its own config") as fault:
        stage1.load_encoder(path)

    assert "\n" not in str(fault.value)


def test_a_folder_that_lacks_a_timeframe_is_refused_by_the_names_of_both(tmp_path):
    folder = write_market(tmp_path / "bars", timeframes=("m1", "m15"))

    with pytest.raises(DataError) as fault:
        bars_for(tiny_config(), folder)

    assert str(fault.value) == (
        f"{folder}: must have the timeframes that the model was trained on, m1, m5, m15, got m1, "
        "m15; make them with `python -m stage1.prepare M1.csv --timeframes m1,m5,m15`"
    )


def test_a_folder_with_more_timeframes_gives_those_of_the_model(tmp_path):
    folder = write_market(tmp_path / "bars")

    config = tiny_config(data={"timeframes": ["m1", "m15"]})

    assert list(bars_for(config, folder)) == ["m1", "m15"]


@pytest.fixture(scope="module")
def series_encoder(series_checkpoint):
    return stage1.load_encoder(series_checkpoint)


def test_an_encoder_of_a_series_takes_its_folder_to_codes_and_vectors(series_encoder, tmp_path):
    folder = write_folder(tmp_path / "waves", waves(100))
    windows = series_encoder.windows(bars_for(series_encoder.config, folder))

    (batch,) = windows.batches(1000)

    # The sixteenth bar of four hours ends after 64; a window every hour from then on.
    assert windows.ends.tolist() == [3600 * hour for hour in range(64, 101)]
    assert batch.features.shape == (37, 2, 16, 6)  # three channels and their changes
    assert series_encoder(batch.features, real=batch.real).shape == (37, 2, 16, 8)
    assert series_encoder.embed(batch.features, batch.real).shape == (37, 2, 8)


def test_a_channel_that_rests_is_measured_by_its_movement_in_the_training(series_encoder):
    still = waves(64)
    still[:, 1] = 3.0
    bars = series_of(still)

    batch = series_encoder.windows(bars).batch(np.array([0]))

    trained = waves()[:280, 1]
    np.testing.assert_allclose(batch.scale[..., 1], 0.01 * trained.std(), rtol=1e-9)


@pytest.mark.parametrize(
    ("step", "channels", "said"),
    [
        ("1d", 3, r"data\.step must be that of .*x1\.parquet, 1d, got 1h"),
        ("1h", 2, r"data\.channels must be columns of numbers .*, got 'wave2'"),
    ],
)
def test_a_folder_of_another_series_is_refused(tmp_path, step, channels, said):
    folder = write_folder(tmp_path / "waves", waves(100, channels=channels), step)

    with pytest.raises(DataError, match=said):
        bars_for(series_config(), folder)


def test_further_columns_of_a_series_do_no_harm(tmp_path):
    folder = write_folder(tmp_path / "waves", waves(100, channels=5))

    assert bars_for(series_config(), folder)["x1"].prices.shape == (100, 3)


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        (series_of(waves(100, channels=2)), r"trained on, wave0, wave1, wave2, got 2 in x1"),
        (series_of(waves(40)), r"over 0 steps, got 40 bars of x1 without one; add data"),
        (series_of(waves(100), ["x1"]), r"trained on, x1, x4, got x1; load them with"),
    ],
)
def test_bars_that_do_not_fit_the_encoder_of_a_series_are_refused(series_encoder, bars, said):
    with pytest.raises(DataError, match=said):
        series_encoder.windows(bars)
