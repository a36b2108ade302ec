"""Whatever the gaps, lengths, timeframes and masks: no NaN, no leak, no score for what is not."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from synthetic_bars import coarse_market, gappy_minutes, market
from tiny_training import decoded_by, tiny_batch, tiny_config, tiny_model

from stage1.base.errors import DataError
from stage1.base.steps import MINUTES
from stage1.data.bars import Bars, resample_all
from stage1.data.batches import MarketWindows
from stage1.model.losses import total_loss


@st.composite
def trainings(draw):
    """A small configuration of either kind of window, and the minutes of its market."""
    patch_len = draw(st.sampled_from([2, 4]))
    shortest = draw(st.integers(1, 3))
    coarse = draw(st.lists(st.sampled_from(["m5", "m15", "m30"]), unique=True, max_size=3))
    timeframes = ["m1", *sorted(coarse, key=lambda name: MINUTES[name])]
    try:
        config = tiny_config(
            data={
                "timeframes": timeframes,
                "seq_len": patch_len * draw(st.integers(8 // patch_len, 48 // patch_len)),
                "validation_share": 0.5,
                "normalization": draw(st.sampled_from(["instance", "zscore"])),
                "max_gap": draw(st.sampled_from([10, 4320])),
            },
            masking={
                "mask_ratio": draw(st.floats(0.05, 0.9)),
                "mask_span_min": shortest,
                "mask_span_max": shortest + draw(st.integers(0, 4)),
                "sync_across_tf": draw(st.booleans()),
            },
            model={"async_sampler": draw(st.booleans())},
            loss={
                "weights.spec_tf": 0.1,
                "weights.cross": 0.1,
                "weights.amp_phase": 0.1,
            },
            transfer_learning={
                "patch_len": patch_len,
                "use_pretrained_lm": draw(st.booleans()),
            },
        )
        if config.model.async_sampler:
            chances = {name: draw(st.sampled_from([0.0, 0.5, 1.0])) for name in coarse}
            config = config.model_copy(
                update={"data": config.data.model_copy(update={"sampling_probs": chances})}
            )
    except ValidationError:
        assume(False)
    minutes = draw(gappy_minutes(longest_gap=30, runs=8))
    return config, minutes, draw(st.integers(0, 99))


def first_batch(config, bars, seed):
    """The first training batch, by an epoch's random numbers; no example where there is none."""
    try:
        windows = MarketWindows.of(bars, config)
    except DataError:
        assume(False)
    return tiny_batch(config, windows, epoch=seed)


def decode(config, batch):
    model = tiny_model(config)
    return model, decoded_by(model, config, batch)


MANY = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@given(trainings())
@MANY
def test_nothing_is_ever_nan(training):
    config, minutes, seed = training
    batch = first_batch(config, market(minutes, config.data.timeframes), seed)

    model, decoded = decode(config, batch)
    loss = total_loss(decoded, batch, config)
    loss.backward()

    assert all(tensor.isfinite().all() for tensor in (batch.features, batch.targets, batch.scale))
    assert decoded.isfinite().all()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@given(trainings())
@MANY
def test_no_bar_is_scored_that_does_not_exist_or_is_seen(training):
    config, minutes, seed = training
    bars = market(minutes, config.data.timeframes)

    batch = first_batch(config, bars, seed)

    assert not (batch.scored & ~batch.hidden).any()
    assert not (batch.hidden & ~batch.real).any()
    assert not batch.features[batch.hidden | ~batch.real].any()
    for index, name in enumerate(config.data.timeframes):
        prices = dict(zip(bars[name].open_time.tolist(), bars[name].prices, strict=True))
        real = batch.real[:, index]
        log_price = batch.targets[:, index].double() * batch.scale[:, index, None, None]
        log_price = (log_price + batch.center[:, index, None, None])[real]
        truth = np.log([prices[time] for time in batch.open_time[:, index][real].tolist()])
        np.testing.assert_allclose(log_price.numpy(), truth.reshape(-1, 4), atol=1e-5)


@given(trainings())
@MANY
def test_no_hidden_bar_leaks_into_an_output(training):
    config, minutes, seed = training
    bars = market(minutes, config.data.timeframes)
    batch = first_batch(config, bars, seed)
    assume(batch.hidden.any())
    window, timeframe, bar = (
        int(i) for i in batch.hidden.nonzero()[seed % int(batch.hidden.sum())]
    )
    name = config.data.timeframes[timeframe]
    moment = int(batch.open_time[window, timeframe, bar])
    prices = bars[name].prices.copy()
    prices[bars[name].open_time == moment] *= 1.05
    others = {**bars, name: Bars(bars[name].open_time, prices)}

    other = first_batch(config, others, seed)

    if config.data.normalization == "instance":
        assert torch.equal(other.features[window], batch.features[window])
        assert torch.equal(other.center[window], batch.center[window])
        assert torch.equal(other.scale[window], batch.scale[window])
        changed = (other.targets != batch.targets)[window].any(dim=-1)
        assert changed.nonzero().tolist() == [[timeframe, bar]]
        before, after = (decode(config, some)[1][window] for some in (batch, other))
        assert torch.equal(before[batch.real[window]], after[batch.real[window]])
    assert torch.equal(other.hidden, batch.hidden)


@given(trainings())
@MANY
def test_no_padding_leaks_into_an_output(training):
    config, minutes, seed = training
    batch = first_batch(config, market(minutes, config.data.timeframes), seed)
    noise = torch.full_like(batch.features, 1e6 * (seed - 50))
    noisy = batch._replace(
        features=torch.where(batch.real.unsqueeze(-1), batch.features, noise),
        hidden=batch.hidden ^ ~batch.real,
    )

    before, after = (decode(config, some)[1] for some in (batch, noisy))

    assert torch.equal(before[batch.real], after[batch.real])


@given(minutes=gappy_minutes(longest_gap=30, runs=8), seed=st.integers(0, 99), data=st.data())
@MANY
def test_what_happens_in_the_minutes_of_a_scored_bar_changes_no_input(minutes, seed, data):
    calendar = data.draw(st.booleans())
    config = tiny_config(
        data={"timeframes": ["m1", "m5", "m15"], "validation_share": 0.5},
        model={"async_sampler": calendar},
    )
    bars = market(minutes, config.data.timeframes)
    batch = first_batch(config, bars, seed)
    assume(batch.scored.any())
    window, timeframe, bar = batch.scored.nonzero()[seed % int(batch.scored.sum())].tolist()
    opens = int(batch.open_time[window, timeframe, bar])
    length = 60 * MINUTES[config.data.timeframes[timeframe]]
    inside = (bars["m1"].open_time >= opens) & (bars["m1"].open_time < opens + length)
    prices = bars["m1"].prices.copy()
    prices[inside] *= 1.05

    other = first_batch(
        config,
        resample_all(Bars(bars["m1"].open_time, prices), config.data.timeframes),
        seed,
    )

    for name in ("features", "center", "scale", "hidden"):
        assert torch.equal(getattr(batch, name)[window], getattr(other, name)[window])


@pytest.mark.parametrize(
    "timeframes", [["m1", "m5", "m15"], ["m5", "m15", "h1"], ["h1", "h4", "d1"]], ids="-".join
)
@pytest.mark.parametrize("calendar", [False, True], ids=["equal lengths", "calendar"])
def test_no_visible_bar_shares_a_minute_with_a_scored_one_of_a_finer_timeframe(
    calendar, timeframes
):
    config = tiny_config(
        data={"timeframes": timeframes, "seq_len": 128}, model={"async_sampler": calendar}
    )
    bars = coarse_market([m for m in range(17_000) if m % 97 > 8], tuple(timeframes))

    batch = first_batch(config, bars, 0)

    pairs = [(fine, coarse) for coarse in range(3) for fine in range(coarse)]
    overlaps = 0
    for fine, coarse in pairs:
        length = 60 * MINUTES[timeframes[coarse]]
        inside = (batch.open_time[:, fine] // length)[:, :, None] == (
            batch.open_time[:, coarse] // length
        )[:, None, :]
        inside &= batch.real[:, fine, :, None] & batch.real[:, coarse, None, :]
        seen = (batch.real & ~batch.hidden)[:, coarse, None, :]
        assert not (inside & batch.scored[:, fine, :, None] & seen).any()
        seen_fine = (batch.real & ~batch.hidden)[:, fine, :, None]
        assert not (inside & batch.scored[:, coarse, None, :] & seen_fine).any()
        overlaps += int((inside & batch.scored[:, fine, :, None]).sum())
    assert overlaps > 0
