import pytest
import torch
from tiny_training import (
    BOTH_KINDS,
    tiny_batch,
    tiny_config,
    tiny_fit,
    tiny_module,
)

from stage1.model.losses import total_loss


@BOTH_KINDS
def test_the_loss_of_a_batch_is_that_of_its_decoded_bars(calendar):
    config = tiny_config(calendar=calendar, loss={"weights.cross": 0.1})
    module, batch = tiny_module(config), tiny_batch(config)

    loss = module.loss(batch)

    decoded = module.model(batch.features, batch.hidden, batch.real)
    assert loss.item() == pytest.approx(total_loss(decoded, batch, config).item(), rel=1e-5)
    assert loss.requires_grad


# Gradient checkpointing -------------------------------------------------------------------------


ENCODERS = pytest.mark.parametrize("t5", [True, False], ids=["T5", "vanilla"])


def config_of(*, t5, checkpointing, calendar=False, freeze=0, **training):
    return tiny_config(
        calendar=calendar,
        model={"dropout": 0.3, "encoder.layers": 4},
        transfer_learning={"use_pretrained_lm": t5, "freeze_lm_epochs": freeze},
        training={"gradient_checkpointing": checkpointing, **training},
    )


def loss_of(config, device="cpu"):
    """The loss of a training batch, and what it is the loss of."""
    module, batch = tiny_module(config).to(device), tiny_batch(config)
    torch.manual_seed(3)
    return module.loss(batch.to(torch.device(device))), module


@BOTH_KINDS
@ENCODERS
def test_gradients_are_the_same_to_the_last_bit_dropout_and_all(t5, calendar):
    gradients = []

    for checkpointing in (False, True):
        config = config_of(calendar=calendar, t5=t5, checkpointing=checkpointing)
        loss, module = loss_of(config)
        loss.backward()
        gradients.append({name: p.grad for name, p in module.model.named_parameters()})

    kept, again = gradients
    found = {name for name, gradient in kept.items() if gradient is not None}
    assert {name for name, gradient in again.items() if gradient is not None} == found
    assert any("block" in name for name in found)
    assert all(torch.equal(kept[name], again[name]) for name in found)


def bytes_kept(config):
    """Memory that the backward pass of a batch waits for."""
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss, _ = loss_of(config)
    assert loss.requires_grad
    return sum(kept.values())


@ENCODERS
def test_less_than_half_the_activations_are_kept(t5):
    kept, again = (
        bytes_kept(config_of(calendar=True, t5=t5, checkpointing=checkpointing, batch_size=64))
        for checkpointing in (False, True)
    )

    assert again < kept / 2


@pytest.mark.gpu
@ENCODERS
def test_the_peak_of_video_memory_falls(t5):
    peaks = []

    for checkpointing in (False, True):
        config = config_of(t5=t5, checkpointing=checkpointing, batch_size=512)
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss, _ = loss_of(config, "cuda")
        loss.backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del loss

    assert peaks[1] < 0.7 * peaks[0]


@ENCODERS
def test_a_training_is_the_same_with_and_without(t5):
    losses = []

    for checkpointing in (False, True):
        rows, _ = tiny_fit(config_of(t5=t5, checkpointing=checkpointing, freeze=1, epochs=2))
        losses.append([(row["val_loss"], str(row["train_loss"])) for row in rows])

    assert losses[0] == losses[1]
