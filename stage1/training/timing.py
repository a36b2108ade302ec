"""What a trial takes: short trainings, timed, the T5 against the vanilla encoder; a step counted.

Timings need weights, data and the machine in question. `count_step` needs a configuration alone.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from stage1.config import Config, with_values
from stage1.data.batches import Batch, MarketWindows
from stage1.data.features import kind_of
from stage1.language_models.resolver import LanguageModel
from stage1.model.losses import total_loss
from stage1.model.stage1_model import model_on_paper, with_some_channel
from stage1.run.columns import PRETRAINED, VANILLA
from stage1.training.fit import EpochRow, StepClock, fit, lean_trainer
from stage1.training.module import validation_of

STEPS = 5
"""Of an epoch of a timing."""
TRIAL_EPOCHS = 2
"""Of the timing of a trial; the first one warms up."""
EPOCHS = 3
"""Of the timing of steps; the first one warms up."""
_FREEZE = "transfer_learning.freeze_lm_epochs"


def timed_fit(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    epochs: int,
    **trainer_options: Any,
) -> tuple[StepClock, list[EpochRow]]:
    """A short training as a trial does it: its clock, and the rows it reported.

    Args:
        config: Complete; its horizon and the length of its epochs do not matter.
        windows: As `fit` takes them.
        language_model: Likewise.
        epochs: Of `STEPS` steps each; validated after the last one.
        trainer_options: For Lightning's Trainer.
    """
    gc.collect()  # what is left of an earlier training would count as this one's memory
    clock, rows = StepClock(), list[EpochRow]()
    fit(
        with_values(config, {"training.epochs": epochs, "training.steps_per_epoch": STEPS}),
        windows,
        language_model,
        report=rows.append,
        callbacks=[clock],
        check_val_every_n_epoch=epochs,
        **trainer_options,
    )
    return clock, rows


class TrialTiming(NamedTuple):
    """What a training of some configuration took, part by part."""

    start_seconds: float
    """Model, optimiser and the first validation: all that comes before the first step."""
    step_seconds: float
    validation_seconds: float  # and whatever else an epoch does beside its steps
    peak_rss_mb: float
    peak_vram_mb: float | None  # None without a GPU

    def trial_seconds(self, *, epochs: float, steps_per_epoch: int) -> float:
        """Wall time of a trial that is trained for so many epochs, alone on its core."""
        epoch = self.validation_seconds + steps_per_epoch * self.step_seconds
        return self.start_seconds + epochs * epoch


def time_trial(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    accelerator: str = "cpu",
) -> TrialTiming:
    """Train a few steps as a trial does, with two validations of the whole validation set.

    The T5 learns from the first step, unless it never does: while it is frozen a step takes less.
    Where a single thread of the CPU does the work, the time it waited for other programs is taken
    off, so that a busy machine gives the times of an idle one. The arguments are those of
    `timed_fit`.
    """
    if config.transfer_learning.freeze_lm_epochs > 0:
        config = with_values(config, {_FREEZE: 0})
    with lean_trainer(config, accelerator=accelerator) as trainer:
        # Made once per worker, not once per trial.
        validation_of(windows, config, trainer.strategy.root_device)
    started, worked = time.perf_counter(), time.process_time()
    clock, rows = timed_fit(
        config, windows, language_model, epochs=TRIAL_EPOCHS, accelerator=accelerator
    )
    share = 1.0
    if is_single_threaded(config, accelerator):
        worked = time.process_time() - worked
        share = min(worked / (time.perf_counter() - started), 1.0)
    first, last = rows
    rest = last["seconds"] - first["seconds"] - sum(clock.seconds)
    return TrialTiming(
        start_seconds=share * first["seconds"],
        step_seconds=share * clock.seconds[-1] / clock.steps[-1],
        validation_seconds=share * rest,
        peak_rss_mb=last["peak_rss_mb"],
        peak_vram_mb=last["peak_vram_mb"],
    )


def is_single_threaded(config: Config, accelerator: str) -> bool:
    """Whether a single thread of the CPU trains: its processor time is that of an idle machine."""
    return accelerator == "cpu" and config.training.threads == 1


class StepTiming(NamedTuple):
    """What some training steps took."""

    steps: int
    seconds: float  # wall time of all of them together
    peak_rss_mb: float
    peak_vram_mb: float | None  # None without a GPU


def time_rounds(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel,
    *,
    rounds: int,
    accelerator: str = "cpu",
) -> list[dict[str, Any]]:
    """Time the T5 and the vanilla encoder of its width in turn, both learning from the first step.

    The order alternates (T5, vanilla; vanilla, T5; ...), so that a machine that becomes slower or
    faster on the way treats both alike. `config` is that of a trial with the T5, and each encoder
    is timed `rounds` times.

    Returns:
        Rows of cost.parquet.
    """
    unfrozen = with_values(config, {_FREEZE: 0})
    arms = [
        (PRETRAINED, unfrozen, language_model),
        (VANILLA, vanilla_counterpart(unfrozen, language_model.config), None),
    ]
    rows = []
    gc.collect()
    gc.freeze()  # to look through all imported libraries before each timing would take longer
    try:
        for number in range(rounds):
            for arm, of_arm, model in arms if number % 2 == 0 else reversed(arms):
                timing = time_steps(of_arm, windows, model, accelerator=accelerator)
                rows.append(
                    {
                        "arm": arm,
                        "size": language_model.name,
                        "patch_len": config.transfer_learning.patch_len,
                        "round": number,
                        **timing._asdict(),
                    }
                )
    finally:
        gc.unfreeze()
    return rows


def vanilla_counterpart(config: Config, t5: dict[str, Any]) -> Config:
    """The configuration with the vanilla encoder of a T5's width, depth and heads.

    The T5's heads need not divide its width: then the vanilla encoder has the next smaller number
    that does.
    """
    width = int(t5["d_model"])
    heads = max(n for n in range(1, int(t5["num_heads"]) + 1) if width % n == 0)
    return with_values(
        config,
        {
            "transfer_learning.use_pretrained_lm": False,
            "model.encoder.d_model": width,
            "model.encoder.layers": int(t5["num_layers"]),
            "model.encoder.heads": heads,
            "model.encoder.d_ff": int(t5["d_ff"]),
        },
    )


def time_steps(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    accelerator: str = "cpu",
) -> StepTiming:
    """Time some training steps as a trial takes them, after a few that warm up.

    Memory is that of a whole training: model, optimiser, steps, and a validation batch. The
    arguments are those of `timed_fit`.
    """
    clock, rows = timed_fit(
        config,
        windows,
        language_model,
        epochs=EPOCHS,
        accelerator=accelerator,
        num_sanity_val_steps=0,
        limit_val_batches=1,
    )
    (row,) = rows
    steps, seconds = sum(clock.steps[1:]), sum(clock.seconds[1:])
    return StepTiming(steps, seconds, row["peak_rss_mb"], row["peak_vram_mb"])


class StepCount(NamedTuple):
    """What a GPU does in a training step, as far as the configuration says it."""

    flops: int
    """Of matrix products, attention and convolutions; a multiplication and an addition are two."""
    kernels: int
    """Started one after another: the operations on tensors, views left out."""
    saved_bytes: int
    """Of memory from the forward pass until the backward pass needs it, weights left out."""


def count_step(config: Config, *, windows: int | None = None) -> StepCount:
    """Count forward pass and backward pass of a batch, in float32, on the meta device.

    Needs no weights, data, memory or GPU. A norm of the T5 counts as on a GPU, where it is one
    kernel and two backward; attention counts in its parts, of which a GPU makes fewer kernels.
    Clipping and the optimiser are left out: they are a few kernels per parameter group that read
    and write all parameters. The T5 learns, unless it never does.

    Args:
        config: Of any size; its language model's dimensions come from its folder or the table of
            public sizes.
        windows: Of the batch; None = `training.batch_size`, which then must be a number.

    Raises:
        ModelError: The language model's dimensions are not known.
        ValueError: The batch size is still `auto`.

    Source:
        Ours.
    """
    config = with_some_channel(config)
    model = model_on_paper(config).train()
    if config.transfer_learning.freeze_lm_epochs < 0:
        model.let_t5_learn(False)
    for norm in model.modules():
        if isinstance(norm, torch.nn.RMSNorm):
            norm.forward = partial(_one_kernel, norm.weight)  # type: ignore[method-assign]
    batch = _batch_on_paper(config, windows or config.training.windows_per_step)
    present = (batch.real, batch.lengths) if config.model.async_sampler else (None, None)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return tensor

    flops, kernels = FlopCounterMode(display=False), _Kernels()
    with flops, kernels, saved_tensors_hooks(note, lambda tensor: tensor):
        loss = total_loss(model(batch.features, batch.hidden, *present), batch, config)
        loss.backward()
    beside_weights = sum(size for key, size in saved.items() if key not in weights)
    return StepCount(flops.get_total_flops(), kernels.count, beside_weights)


def _batch_on_paper(config: Config, windows: int) -> Batch:
    """Shapes of a training batch on the meta device, and which timeframes are in its windows."""
    data, kind = config.data, kind_of(config.data)
    rows = (windows, len(data.timeframes))
    scales = rows if kind.one_scale else (*rows, len(kind.channels))
    lengths = torch.full(rows, data.seq_len)
    if config.model.async_sampler:
        for index, (name, minutes) in enumerate(zip(data.timeframes, data.minutes, strict=True)):
            lengths[:, index] //= minutes // data.minutes[0]
            lengths[round(windows * data.sampling_probs.get(name, 1.0)) :, index] = 0

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    bars = (*rows, data.seq_len)
    return Batch(
        features=empty(*bars, kind.features),
        hidden=empty(*bars, dtype=torch.bool),
        scored=empty(*bars, dtype=torch.bool),
        targets=empty(*bars, len(kind.channels)),
        center=empty(*scales, dtype=torch.float64),
        scale=empty(*scales, dtype=torch.float64),
        open_time=empty(*bars, dtype=torch.int64),
        real=empty(*bars, dtype=torch.bool),
        lengths=lengths,
    )


class _Kernels(TorchDispatchMode):
    """Counts the operations that do something with a tensor's values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        returns = [one.alias_info for one in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        allocates = func.overloadpacket.__name__ in ("_unsafe_view", "empty", "empty_like")
        self.count += not (is_view or allocates)
        return func(*args, **(kwargs or {}))


class _OneKernel(torch.autograd.Function):
    """Stands for a norm: a kernel, and backward one each for its weight and its input."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weight, values)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(one.clone() for one in ctx.saved_tensors)


def _one_kernel(weight: Tensor, values: Tensor) -> Tensor:
    result: Tensor = _OneKernel.apply(weight, values)  # type: ignore[no-untyped-call]
    return result
