"""Trainings on the meta device: what is on no device, and where the host waits, shows there."""

import sys
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from tiny_training import BOTH_KINDS, tiny_config, tiny_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stage1.base.metric_table import metric_names
from stage1.config.training import LossWeights
from stage1.training.fit import lean_trainer
from stage1.training.module import Stage1Module

META = torch.device("meta")


class MetaAccelerator(CPUAccelerator):
    """Takes the meta device."""

    def setup_device(self, device):
        assert device == META


class AsOnAGpu(TorchDispatchMode, Callback):
    """Refuses in steps and validations what a GPU refuses or makes the host wait for.

    Not between epochs, where Lightning asks for values. Operations whose result has as many values
    as a tensor says have no meta kernel: torch refuses these itself. It takes bars on the CPU
    beside others on the device, and a mask as an index, whose places a GPU counts first.
    """

    def __init__(self):
        super().__init__()
        self.watches = False
        self.fetched = 0

    def begin(self, *arguments):
        self.watches = True

    def end(self, *arguments):
        self.watches = False

    on_train_batch_start = on_validation_start = begin
    on_train_batch_end = on_validation_end = end

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        if all(one.device != META for one in tensors):
            return func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and kwargs.get("device", META) != META:
            self.fetched += self.watches
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is torch.ops.aten._local_scalar_dense.default:
            assert not self.watches, "the host waits for a value"
            return 0
        if self.watches and func not in COPIES:
            elsewhere = [one for one in tensors if one.device != META and one.ndim]
            assert not elsewhere, f"{func} of a tensor on the CPU"
        if self.watches and func in INDEXING:
            indices = [one for one in args[1] if one is not None]
            assert all(one.dtype != torch.bool for one in indices), f"{func} of a mask"
        return func(*args, **kwargs)


COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
INDEXING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
)
ENCODERS = pytest.mark.parametrize("uses_t5", [True, False], ids=["T5", "vanilla"])


@pytest.fixture
def on_meta(monkeypatch):
    """Trains a module for an epoch on the meta device; gives what the host got from it."""
    # The fused optimiser has a meta kernel, and asks for a list of devices that lacks meta.
    # Nor is there mixed precision on it, to be left.
    monkeypatch.setattr(Stage1Module, "_full_precision", lambda module: nullcontext())
    adam = sys.modules[torch.optim.Adam.__module__]
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda parameter: None)

    def run(module):
        strategy = SingleDeviceStrategy(device=META, accelerator=MetaAccelerator())
        gpu = AsOnAGpu()
        options = {"num_sanity_val_steps": 0, "max_epochs": 1, "callbacks": [gpu]}
        options |= {"devices": "auto", "strategy": strategy}
        with lean_trainer(module.config, accelerator="auto", **options) as trainer, gpu:
            trainer.fit(module)
        return trainer, gpu

    return run


@BOTH_KINDS
@ENCODERS
def test_on_the_meta_device_no_loss_needs_the_cpu_and_the_host_waits_for_metrics_and_blocks_alone(
    uses_t5, calendar, on_meta
):
    config = tiny_config(
        calendar=calendar,
        loss={f"weights.{name}": 1.0 for name in LossWeights.model_fields},
        transfer_learning={"use_pretrained_lm": uses_t5},
        model={"stem.width": 4, "bottleneck_stride": 2, "dropout": 0.1},
    )
    module = tiny_module(config)
    module.block_epochs = {1}

    trainer, gpu = on_meta(module)

    assert trainer.global_step == 3
    assert gpu.fetched <= 4  # metrics, blocks; two values of the baseline, the first time
    assert set(metric_names(config.data.timeframes)) <= set(module.metrics)
