import numpy as np
import pytest
import torch
from scipy.signal.windows import hann
from synthetic_bars import market
from tiny_training import tiny_batch, tiny_config

from stage1.data.batches import Batch, MarketWindows
from stage1.model.spectral import (
    EPSILON,
    amplitude_phase_loss,
    completed,
    spectral_delta,
    spectral_distances,
    stft_loss,
)

TIME = torch.arange(32) / 32
LOSSES = [stft_loss, amplitude_phase_loss]
KINDS = [
    pytest.param(16, {}, id="windows of equal length"),
    pytest.param(35, {"transfer_learning": {"patch_len": 5}}, id="of an odd length"),
    pytest.param(64, {"model": {"async_sampler": True}}, id="calendar windows"),
    pytest.param(
        64,
        {"model": {"async_sampler": True}, "masking": {"sync_across_tf": False}},
        id="calendar windows scored everywhere",
    ),
]


def batch_of(seq_len, sections=None):
    config = tiny_config(
        data={"seq_len": seq_len, "validation_windows": 500},
        training={"batch_size": 6},
        **sections or {},
    )
    return tiny_batch(config, MarketWindows.of(market(4000, config.data.timeframes), config))


def noisy(batch, generator, size=0.5):
    return batch.targets + size * torch.randn(batch.targets.shape, generator=generator)


def gradient(loss, decoded, batch):
    decoded = decoded.clone().requires_grad_()
    loss(decoded, batch).backward()
    return decoded.grad


def series_by_hand(decoded, batch, chosen):
    """True and completed prices of every series, without padding, and whether a bar is scored."""
    for window, timeframe in np.ndindex(batch.real.shape[:2]):
        length = int(batch.real[window, timeframe].sum())
        where = chosen[window, timeframe, :length].numpy()
        for price in range(4):
            truth = batch.targets[window, timeframe, :length, price].double().numpy()
            mine = decoded[window, timeframe, :length, price].double().numpy()
            is_scored = bool(batch.scored[window, timeframe].any())
            yield truth, np.where(where, mine, truth), is_scored


def stft_by_hand(decoded, batch):
    """Frame by frame, with numpy."""
    result = []
    for length in (8, 16, 32):
        true, own = [], []
        for truth, mine, _ in series_by_hand(decoded, batch, batch.scored):
            for start in range(0, len(truth) - length + 1, length // 4):
                for series, frames in ((truth, true), (mine, own)):
                    frame = series[start : start + length] * hann(length, sym=False)
                    frames.append(np.abs(np.fft.rfft(frame)))
        if true:
            true, own = np.array(true), np.array(own)
            convergence = np.linalg.norm(true - own) / np.linalg.norm(true)
            logs = np.abs(np.log(true + EPSILON) - np.log(own + EPSILON))
            result.append(convergence + logs.mean())
    return np.mean(result)


def amplitude_phase_by_hand(decoded, batch):
    """Series by series, with numpy's two-sided transform."""
    result = []
    padded = batch.real.shape[2]
    for truth, mine, is_scored in series_by_hand(decoded, batch, batch.scored):
        if is_scored:
            x, y = (np.fft.fft(series - series.mean(), n=padded) for series in (truth, mine))
            both = np.abs(x) * np.abs(y)
            amplitude = both.sum() / np.sqrt((np.abs(x) ** 2).sum() * (np.abs(y) ** 2).sum())
            phase = (both * np.cos(np.angle(x) - np.angle(y))).sum() / both.sum()
            result.append(1 - (amplitude + phase) / 2)
    return np.mean(result)


def delta_by_hand(decoded, batch):
    apart, size = 0.0, 0.0
    padded = batch.real.shape[2]
    for truth, mine, is_scored in series_by_hand(decoded, batch, batch.hidden):
        if is_scored:
            x, y = (np.fft.rfft(series - series.mean(), n=padded) for series in (truth, mine))
            apart += np.abs(np.abs(y) - np.abs(x)).sum()
            size += np.abs(x).sum()
    return apart / size


# Both losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seq_len", "sections"), KINDS)
@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [(stft_loss, stft_by_hand), (amplitude_phase_loss, amplitude_phase_by_hand)],
    ids=["stft", "amplitude and phase"],
)
def test_a_loss_is_what_numpy_makes_of_every_real_series(
    loss, by_hand, seq_len, sections, generator
):
    batch = batch_of(seq_len, sections)
    decoded = noisy(batch, generator)

    result = loss(decoded, batch)

    assert result.item() > 1e-3
    assert result.item() == pytest.approx(by_hand(decoded, batch), rel=1e-4)


@pytest.mark.parametrize(("seq_len", "sections"), KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_exactly_0_where_the_scored_bars_are_right_and_pulls_on_them_alone_elsewhere(
    loss, seq_len, sections, generator
):
    batch = batch_of(seq_len, sections)
    decoded = batch.targets.masked_fill(~batch.scored.unsqueeze(-1), 77.0)

    reached = gradient(loss, noisy(batch, generator), batch).abs().sum(dim=-1) > 0

    assert torch.equal(reached, batch.scored)
    assert loss(decoded, batch).item() == 0
    assert torch.isfinite(gradient(loss, decoded, batch)).all()


@pytest.mark.parametrize("which", ["visible", "hidden and not scored", "padding"])
@pytest.mark.parametrize("loss", LOSSES)
def test_bars_that_are_not_scored_never_enter_a_loss_as_they_are_decoded(loss, which, generator):
    batch = batch_of(64, {"model": {"async_sampler": True}})
    decoded = noisy(batch, generator)
    chosen = {
        "visible": batch.real & ~batch.hidden,
        "hidden and not scored": batch.hidden & ~batch.scored,
        "padding": ~batch.real,
    }[which]
    assert chosen.any()
    elsewhere = decoded.masked_fill(chosen.unsqueeze(-1), float("inf"))
    padded = batch.targets.masked_fill(~batch.real.unsqueeze(-1), float("nan"))
    other = batch._replace(targets=padded)  # nor does the truth at padding

    assert torch.equal(loss(decoded, batch), loss(elsewhere, other))
    assert torch.equal(gradient(loss, decoded, batch), gradient(loss, elsewhere, other))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_falls_on_the_way_from_the_decoded_bars_to_the_true_ones(loss, generator):
    batch = batch_of(32)
    decoded = noisy(batch, generator, size=0.05)

    slope = (gradient(loss, decoded, batch) * (batch.targets - decoded)).sum()

    assert slope < 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("of", ["targets", "decoded", "both"])
def test_constant_series_have_a_finite_loss_and_gradient(loss, of, generator):
    batch = batch_of(16)
    decoded = noisy(batch, generator)
    if of != "decoded":
        batch = batch._replace(targets=torch.zeros_like(batch.targets))
    if of != "targets":
        decoded = torch.zeros_like(decoded)

    assert torch.isfinite(loss(decoded, batch))
    assert torch.isfinite(gradient(loss, decoded, batch)).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("without", ["a scored bar", "a real bar"])
def test_where_nothing_is_scored_a_loss_is_0_and_so_is_its_gradient(loss, without, generator):
    batch = batch_of(64, {"model": {"async_sampler": True}})
    nothing = torch.zeros_like(batch.scored)
    batch = batch._replace(scored=nothing)
    if "real" in without:
        batch = batch._replace(real=nothing)
    decoded = noisy(batch, generator).requires_grad_()

    result = loss(decoded, batch)
    (result + 0 * decoded.sum()).backward()

    assert result.item() == 0
    assert not decoded.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_decoded_as_no_number_is_not_hidden(loss, generator):
    batch = batch_of(16)
    decoded = noisy(batch, generator).masked_fill(batch.scored.unsqueeze(-1), float("nan"))

    assert torch.isnan(loss(decoded, batch))


# Each -------------------------------------------------------------------------------------------


def test_only_the_resolutions_that_fit_into_a_window_count(generator):
    batch = batch_of(16)
    decoded = noisy(batch, generator)
    longer = Batch(  # the same bars, and room for more
        *(torch.nn.functional.pad(t.movedim(2, -1), (0, 48)).movedim(-1, 2) for t in batch[:4]),
        *batch[4:7],
        real=torch.nn.functional.pad(batch.real, (0, 48)),
        lengths=batch.lengths,
    )
    with_room = torch.nn.functional.pad(decoded, (0, 0, 0, 48))

    loss = stft_loss(with_room, longer)

    assert loss.item() == pytest.approx(stft_loss(decoded, batch).item(), rel=1e-5)


def test_windows_too_short_for_a_frame_have_no_stft_loss(generator):
    batch = Batch(*(tensor[:, :, :7] if tensor.dim() > 2 else tensor for tensor in batch_of(16)))

    assert stft_loss(noisy(batch, generator), batch).item() == 0


@pytest.mark.parametrize("cycles", [1, 3, 16])
def test_a_loud_series_has_the_amplitudes_and_phases_of_a_quiet_one(cycles):
    truth = torch.cos(2 * torch.pi * cycles * TIME)

    distances = spectral_distances(truth[None], 2.5 * truth[None])

    assert distances.amplitude.item() == pytest.approx(0, abs=1e-6)
    assert distances.phase.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("turn", "phase"), [(0.25, 1), (0.5, 2), (1 / 6, 0.5)])
def test_a_series_that_comes_later_has_the_amplitudes_and_other_phases(turn, phase):
    truth, later = (torch.sin(2 * torch.pi * (3 * TIME - shift)) for shift in (0.0, turn))

    distances = spectral_distances(truth[None], later[None])

    assert distances.amplitude.item() == pytest.approx(0, abs=1e-6)
    assert distances.phase.item() == pytest.approx(phase, abs=1e-5)


@pytest.mark.parametrize("mine", [torch.sin(10 * torch.pi * TIME), torch.zeros(32)])
def test_series_without_a_common_frequency_are_not_correlated(mine):
    truth = torch.sin(6 * torch.pi * TIME)

    distances = spectral_distances(truth[None], mine[None])

    assert [one.item() for one in distances] == pytest.approx([1, 1], abs=1e-2)


@pytest.mark.parametrize("bars", [9, 16, 31])
def test_the_product_of_both_correlations_is_pearson_s(bars, generator):
    one, two = torch.randn(2, 50, bars, generator=generator)
    series = [one, one + two]
    padded = [
        torch.nn.functional.pad(values - values.mean(dim=1, keepdim=True), (0, 32 - bars))
        for values in series
    ]

    distances = spectral_distances(*padded)

    product = (1 - distances.amplitude) * (1 - distances.phase)
    expected = [np.corrcoef(*pair)[0, 1] for pair in zip(*series, strict=True)]
    np.testing.assert_allclose(product, expected, atol=1e-5)


def test_a_wrong_level_of_the_decoded_bars_is_no_perfect_correlation():
    batch = batch_of(32)

    assert amplitude_phase_loss(batch.targets + 0.5, batch).item() > 1e-3


def test_the_amplitude_phase_loss_lies_between_0_and_one_and_a_half(generator):
    truth = torch.randn(200, 16, generator=generator)
    truth = truth - truth.mean(dim=1, keepdim=True)
    others = [-truth, truth.flip(1), torch.randn(200, 16, generator=generator), 1e-6 * truth]

    for mine in others:
        amplitude, phase = spectral_distances(truth, mine)
        assert amplitude.min() >= 0
        assert amplitude.max() <= 1 + 1e-6
        assert phase.min() >= 0
        assert phase.max() <= 2 + 1e-6


# The metric -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seq_len", "sections"), KINDS)
def test_the_delta_compares_the_amplitudes_of_windows_as_a_user_gets_them(
    seq_len, sections, generator
):
    batch = batch_of(seq_len, sections)
    decoded = noisy(batch, generator)

    delta = spectral_delta(completed(decoded, batch.targets, batch.hidden), batch)

    assert delta == pytest.approx(delta_by_hand(decoded, batch), rel=1e-5)
