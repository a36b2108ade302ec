import numpy as np
import pytest
import torch
from compared_by_hand import compared_by_hand, huber_by_hand
from tiny_training import BOTH_KINDS, tiny_batch, tiny_config

from stage1.config import Config
from stage1.model.losses import LOSSES, masked_mean, reconstruction_loss, total_loss
from stage1.model.spectral import amplitude_phase_loss, stft_loss

OPTIONAL = [name for name in LOSSES if name != "recon_tf"]


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_the_reconstruction_loss_is_the_mean_huber_loss_of_scored_bars_and_pulls_on_them_alone(
    delta, generator
):
    batch = tiny_batch(tiny_config())
    decoded = torch.randn(batch.targets.shape, generator=generator, requires_grad=True)

    loss = reconstruction_loss(decoded, batch, delta=delta)
    loss.backward()

    assert torch.equal((decoded.grad != 0).all(dim=-1), batch.scored)
    error = (decoded.detach() - batch.targets).double().numpy()[batch.scored.numpy()]
    assert loss.item() == pytest.approx(huber_by_hand(error, delta).mean(), rel=1e-6)


@BOTH_KINDS
@pytest.mark.parametrize("nothing", [float("nan"), float("inf")])
def test_what_is_no_number_where_no_bar_is_scored_changes_neither_loss_nor_gradient(
    nothing, calendar, generator
):
    batch = tiny_batch(tiny_config(calendar=calendar))
    values = torch.randn(batch.targets.shape, generator=generator)
    elsewhere = ~batch.scored.unsqueeze(-1)
    results = []
    for bars, targets in (
        (values, batch.targets),
        (values.masked_fill(elsewhere, nothing), batch.targets.masked_fill(elsewhere, nothing)),
    ):
        decoded = bars.clone().requires_grad_()
        loss = reconstruction_loss(decoded, batch._replace(targets=targets), delta=1.0)
        loss.backward()
        results.append((loss, decoded.grad))

    (one, of_one), (two, of_two) = results
    assert torch.equal(one, two)
    assert torch.equal(of_one, of_two)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("term", LOSSES)
def test_every_term_is_computed_in_float32_whatever_comes_in(term, kind, generator):
    config = tiny_config(calendar=True)
    batch = tiny_batch(config)
    decoded = torch.randn(batch.targets.shape, generator=generator).to(kind).requires_grad_()
    expected = LOSSES[term](decoded.detach().float(), batch, config)

    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[term](decoded, batch, config)
        loss.backward()

    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert decoded.grad.dtype == kind
    assert torch.isfinite(decoded.grad).all()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("term", LOSSES)
def test_a_gpu_gives_the_same_loss_and_gradient(term, kind, generator):
    config = tiny_config(calendar=True)
    batch = tiny_batch(config)
    values = torch.randn(batch.targets.shape, generator=generator).to(kind)
    results = []
    for device in ("cpu", "cuda"):
        decoded = values.to(device).requires_grad_()
        loss = LOSSES[term](decoded, batch.to(torch.device(device)), config)
        loss.backward()
        results.append((loss.detach().cpu(), decoded.grad.cpu()))

    (loss, slope), (gpu_loss, gpu_slope) = results
    torch.testing.assert_close(gpu_loss, loss)
    torch.testing.assert_close(gpu_slope, slope, rtol=1e-2, atol=1e-5)


@BOTH_KINDS
@pytest.mark.parametrize("term", LOSSES)
def test_on_the_meta_device_no_term_asks_for_a_value(term, calendar):
    config = tiny_config(calendar=calendar)
    batch = tiny_batch(config).to(torch.device("meta"))
    decoded = torch.empty_like(batch.targets, requires_grad=True)

    loss = LOSSES[term](decoded, batch, config)  # `item` and `nonzero` raise there
    loss.backward()

    assert (loss.device.type, loss.shape) == ("meta", ())
    assert decoded.grad.shape == decoded.shape


def test_the_mean_over_nothing_is_0():
    nothing = torch.zeros(2, 3, dtype=torch.bool)

    assert masked_mean(torch.full((2, 3), float("nan")), nothing).item() == 0


@BOTH_KINDS
def test_the_total_is_the_weighted_sum(calendar, generator):
    weights = {"recon_tf": 2.0, "spec_tf": 0.3, "cross": 0.5, "amp_phase": 0.7}
    config = tiny_config(
        calendar=calendar,
        loss={
            **{f"weights.{name}": weight for name, weight in weights.items()},
            "huber_delta": 0.7,
        },
    )
    batch = tiny_batch(config)
    decoded = torch.randn(batch.targets.shape, generator=generator)

    total = total_loss(decoded, batch, config)

    compared = compared_by_hand(decoded, batch, config.data.minutes)
    terms = {
        "recon_tf": reconstruction_loss(decoded, batch, delta=0.7).item(),
        "spec_tf": stft_loss(decoded, batch).item(),
        "cross": np.mean([np.square(one.difference) for one in compared]),
        "amp_phase": amplitude_phase_loss(decoded, batch).item(),
    }
    assert min(terms.values()) > 0.01
    expected = sum(weights[name] * term for name, term in terms.items())
    assert total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("term", OPTIONAL)
def test_a_weight_of_0_computes_nothing(term, monkeypatch):
    def must_not_be_called(*arguments, **options):
        raise AssertionError("computed")

    monkeypatch.setitem(LOSSES, term, must_not_be_called)
    others = {f"weights.{name}": 0.5 for name in OPTIONAL if name != term}
    batch = tiny_batch(tiny_config())

    total_loss(batch.targets, batch, tiny_config(loss=others))

    with pytest.raises(AssertionError, match="computed"):
        total_loss(batch.targets, batch, tiny_config(loss={f"weights.{term}": 0.5}))


@BOTH_KINDS
def test_all_terms_together_pull_on_every_timeframe_and_on_no_padding(calendar, generator):
    config = tiny_config(
        calendar=calendar,
        loss={f"weights.{name}": 0.5 for name in OPTIONAL},
        training={"batch_size": 12},
    )
    batch = tiny_batch(config)
    decoded = torch.randn(batch.targets.shape, generator=generator).bfloat16().requires_grad_()

    total_loss(decoded, batch, config).backward()

    assert torch.isfinite(decoded.grad).all()
    assert (decoded.grad.abs().amax(dim=(0, 2, 3)) > 0).all()
    assert not decoded.grad[~batch.real].any()


def test_every_term_has_a_weight_and_the_default_objective_is_reconstruction_alone():
    weights = Config().loss.weights.model_dump()

    assert weights == dict.fromkeys(LOSSES, 0) | {"recon_tf": 1}
