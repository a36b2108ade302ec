import hashlib
import math

import pytest
import torch
from tiny_training import (
    all_validation,
    tiny_batch,
    tiny_config,
    tiny_language_model,
    tiny_windows,
)

from stage1.model.losses import total_loss
from stage1.model.metrics import evaluate, evaluate_baselines, interpolated
from stage1.model.stage1_model import T5_PREFIX, build_model
from stage1.training.checkpoint import CHECKPOINT_KEY
from stage1.training.module import Stage1Module

MODES = [pytest.param(False, id="synchronous windows"), pytest.param(True, id="calendar windows")]


def module_of(config):
    return Stage1Module(config, tiny_windows(config), build_model(config, tiny_language_model()))


def begin_epoch(module, epoch, monkeypatch):
    """Ask for an epoch's batches and begin it, as Lightning does."""
    monkeypatch.setattr(Stage1Module, "current_epoch", epoch)
    module.train_dataloader()
    module.on_train_epoch_start()


def t5_learns(module):
    return {p.requires_grad for n, p in module.model.named_parameters() if n.startswith(T5_PREFIX)}


def heads_learn(module):
    return {
        p.requires_grad for n, p in module.model.named_parameters() if not n.startswith(T5_PREFIX)
    }


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize(
    ("freeze", "epoch", "learns"),
    [(0, 0, True), (2, 0, False), (2, 1, False), (2, 2, True), (2, 9, True), (-1, 9, False)],
)
def test_all_of_the_t5_is_frozen_before_its_epoch_and_none_of_it_after(
    freeze, epoch, learns, calendar, monkeypatch
):
    config = tiny_config(
        transfer_learning={"freeze_lm_epochs": freeze},
        data={"seq_len": 64 if calendar else 16},
        model={"async_sampler": calendar},
    )
    module = module_of(config)

    begin_epoch(module, epoch, monkeypatch)

    assert t5_learns(module) == {learns}
    assert heads_learn(module) == {True}


@pytest.mark.parametrize("calendar", MODES)
def test_the_loss_of_a_batch_is_that_of_its_decoded_bars(calendar):
    config = tiny_config(
        loss={"weights.cross": 0.1},
        data={"seq_len": 64 if calendar else 16},
        model={"async_sampler": calendar},
    )
    module, batch = module_of(config), tiny_batch(config)

    loss = module.loss(batch)

    decoded = module.model(batch.features, batch.hidden, batch.real)
    expected = total_loss(decoded, batch, config).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.requires_grad


def test_before_the_first_step_the_training_loss_is_not_a_number():
    assert math.isnan(module_of(tiny_config()).train_loss())


def test_validation_measures_the_whole_set_at_once_with_the_baseline_beside(monkeypatch):
    config = tiny_config()
    module, batch = module_of(config), all_validation(config)
    monkeypatch.setattr(module, "log_dict", lambda metrics: None)
    module.eval()

    with torch.no_grad():
        for index, part in enumerate(module.val_dataloader()):
            module.validation_step(part, index)
        module.on_validation_epoch_end()
        decoded = module.model(batch.features, batch.hidden)

    line = interpolated(batch)
    assert module.metrics == pytest.approx(evaluate(decoded, line, batch, config))
    assert module.baseline == evaluate_baselines(line, batch, config)


def test_an_epoch_s_batches_are_as_many_as_it_has_steps():
    config = tiny_config(training={"steps_per_epoch": 5})

    loader = module_of(config).train_dataloader()

    assert len(loader) == len(list(loader)) == 5


def test_the_hashes_chain_what_every_epoch_is_trained_on(monkeypatch):
    config = tiny_config()
    module = module_of(config)

    order, masks = "", ""
    for epoch in range(3):
        begin_epoch(module, epoch, monkeypatch)
        plan = tiny_windows(config).plan_epoch(config, epoch)
        order = hashlib.sha256(order.encode() + plan.order.tobytes()).hexdigest()
        masks = hashlib.sha256(masks.encode() + plan.uniforms.tobytes()).hexdigest()

    assert module.fingerprints["order_sha256"] == order
    assert module.fingerprints["mask_sha256"] == masks


def test_a_checkpoint_carries_configuration_fingerprints_and_random_state(monkeypatch):
    config = tiny_config()
    module, other, checkpoint = module_of(config), module_of(config), {}
    begin_epoch(module, 0, monkeypatch)
    torch.manual_seed(5)

    module.on_save_checkpoint(checkpoint)
    expected = torch.rand(3)
    torch.manual_seed(6)
    other.on_load_checkpoint(checkpoint)

    assert checkpoint[CHECKPOINT_KEY]["config"] == config.model_dump(mode="json")
    assert other.fingerprints == module.fingerprints
    assert torch.equal(torch.rand(3), expected)
