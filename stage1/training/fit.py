"""Train one configuration and report every epoch, for trials and trainings alike."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from stage1.base.checkpoints import load_checkpoint, save_checkpoint
from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import atomic_path
from stage1.base.metric_table import BLOCKS
from stage1.base.seeds import Stream, integer_seed
from stage1.config import Config, differing_keys
from stage1.data.batches import MarketWindows
from stage1.language_models.ladder import relative_step
from stage1.language_models.resolver import LanguageModel
from stage1.model.stage1_model import T5_PREFIX, build_model
from stage1.run.columns import RELATIVE_STEP
from stage1.training.checkpoint import CHECKPOINT_KEY, checked_record
from stage1.training.memory import (
    Warn,
    log_warning,
    out_of_memory_is_a_trial_error,
    peak_rss_mb,
    peak_vram_mb,
    reset_peaks,
)
from stage1.training.module import Stage1Module
from stage1.training.user_metrics import NO_USER_METRICS, UserMetrics

EpochRow = dict[str, Any]
"""One completed epoch: `epoch` (0 = before the first step), metrics, measurements, fingerprints,
and under `BLOCKS` an array of sums after the epochs that were to have them."""

_UNWANTED_WARNINGS = (
    ".*LeafSpec.*",
    ".*num_workers.*",
    ".*does not have many workers.*",
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
    ".*GPU available but not used.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    "The dirpath has changed.*",  # a training goes on in another folder
)
"""Warnings of Lightning that no user of stage1 can act on."""


class StepClock(Callback):
    """Times the training steps of every epoch, the gathering of their batches included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []  # of all steps of an epoch together, by epoch
        self.steps: list[int] = []  # by epoch
        self._last = 0.0

    @property
    def seconds_per_step(self) -> float:
        """Mean over all steps so far; 0 before the first."""
        return sum(self.seconds) / max(sum(self.steps), 1)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock. Called by Lightning."""
        finish_queued(module.device)
        self.seconds.append(0.0)
        self.steps.append(0)
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Count a step and its time. Called by Lightning."""
        if batch_index + 1 == trainer.num_training_batches:
            finish_queued(module.device)
        now = time.perf_counter()
        self.seconds[-1] += now - self._last
        self.steps[-1] += 1
        self._last = now


def finish_queued(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; seldom, since it works beside the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class RelativeSteps(Callback):
    """Measures how far the T5's weights move in an epoch, by `relative_step`.

    Keeps a copy of them from the epoch's start to its validation, where they lie; its time is no
    step's, if it stands before the clock.
    """

    def __init__(self) -> None:
        self.last = math.nan  # of the last epoch; NaN before the first, and without a T5
        self._before: dict[str, Tensor] = {}

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Copy the weights. Called by Lightning."""
        self._before = {name: weight.clone() for name, weight in _t5_weights(module).items()}

    def on_validation_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Compare them, and let the copy go. Called by Lightning."""
        self.last = relative_step(self._before, _t5_weights(module))
        self._before = {}


def _t5_weights(module: Stage1Module) -> dict[str, Tensor]:
    parameters = module.model.named_parameters()
    return {name: weight.detach() for name, weight in parameters if name.startswith(T5_PREFIX)}


class EpochReports(Callback):
    """Hands every completed epoch to `report`, with what was measured on the way.

    Checkpoints carry the rows and the times of the epochs, so that a training that goes on from one
    knows what came before it.
    """

    def __init__(
        self, report: Callable[[EpochRow], None], clock: StepClock, steps: RelativeSteps
    ) -> None:
        self.report, self.clock, self.steps = report, clock, steps
        self.rows: list[EpochRow] = []
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The rows, block sums as tensors, which are safe to load. Called by Lightning."""
        return {
            "rows": [_with_blocks(row, torch.from_numpy) for row in self.rows],
            "seconds": time.perf_counter() - self.started,
            "step_seconds": self.clock.seconds,
            "steps": self.clock.steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back. Called by Lightning."""
        self.rows = [_with_blocks(row, Tensor.numpy) for row in state_dict["rows"]]
        self.started = time.perf_counter() - state_dict["seconds"]
        self.clock.seconds, self.clock.steps = state_dict["step_seconds"], state_dict["steps"]

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Report the epoch that was just validated. Called by Lightning."""
        groups = trainer.optimizers[0].param_groups
        row: EpochRow = {
            "epoch": 0 if trainer.sanity_checking else trainer.current_epoch + 1,
            **module.metrics,
            **module.baseline,
            "train_loss": module.train_loss(),
            "lr": float(next(group["lr"] for group in groups if group["name"] == "head")),
            RELATIVE_STEP: self.steps.last,
            "seconds": time.perf_counter() - self.started,
            "seconds_per_step": self.clock.seconds_per_step,
            "steps": trainer.global_step,
            "peak_rss_mb": peak_rss_mb(),
            "peak_vram_mb": peak_vram_mb(module.device),
            "parameters": sum(p.numel() for p in module.model.parameters()),
            "accumulation": module.accumulation,
            **module.fingerprints,
            **({} if module.blocks is None else {BLOCKS: module.blocks.numpy()}),
        }
        self.rows.append(row)
        self.report(row)


def _with_blocks(row: EpochRow, convert: Callable[[Any], Any]) -> EpochRow:
    return row | {BLOCKS: convert(row[BLOCKS])} if BLOCKS in row else row


class WholeFiles(TorchCheckpointIO):
    """Writes a state beside the one before it, which stays until the new one is whole.

    Lightning would make a copy in memory, write that to another disk perhaps, and move it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a state. Called by Lightning."""
        with atomic_path(Path(path)) as file:
            save_checkpoint(checkpoint, file)


def rows_of_checkpoint(checkpoint: Path, config: Config, windows: MarketWindows) -> list[EpochRow]:
    """The rows of all epochs up to a checkpoint of `fit`, as they were reported.

    Raises:
        ResultsError: Missing, damaged, not made by `fit`, or of another training than that of this
            configuration, its seed included, on these bars.
    """
    content = load_checkpoint(checkpoint, made_by="stage1")
    state = content.get("callbacks", {}).get(EpochReports.__qualname__)
    if state is None:
        raise ResultsError(f"{checkpoint}: must be a checkpoint of stage1, got another program's")
    record = checked_record(content[CHECKPOINT_KEY], checkpoint)
    differing = differing_keys(record.config, config)
    differing += ["bars"] if record.bars.sha256 != windows.fingerprint else []
    if differing:
        raise ResultsError(
            f"{checkpoint}: must be of this training, differs in {', '.join(differing)}"
        )
    return [_with_blocks(row, Tensor.numpy) for row in state["rows"]]


def fit(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    report: Callable[[EpochRow], None],
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    block_epochs: Collection[int] = (),
    parts: int = 1,
    user_metrics: UserMetrics = NO_USER_METRICS,
    warn: Warn = log_warning,
    **trainer_options: Any,
) -> Stage1Module:
    """Train to the horizon; every trial and every training runs this.

    On a CPU the same arguments on the same machine give bit-identical rows, times aside; on a GPU
    some operations add numbers up in any order.

    Args:
        config: Complete; `training.epochs` is the horizon.
        windows: The bars, resident.
        language_model: As `transfer_learning.lm_name_or_path` resolves, or None for the vanilla
            encoder.
        report: Called after every completed epoch, first with epoch 0. What it raises ends the
            training.
        callbacks: Further Lightning callbacks.
        checkpoint: Lightning checkpoint to go on from.
        block_epochs: Epochs whose rows are to hold the sums of their validation blocks.
        parts: In which a batch is worked on at least, for one that is known not to fit into memory.
        user_metrics: Taken at every validation beside ours.
        warn: Takes a line when a batch does not fit into memory and is worked on in parts.
        trainer_options: For Lightning's Trainer, over the lean defaults.

    Raises:
        ConfigError: The device does not have the precision.
        ModelError: The language model does not fit the configuration.
        TrialError: Memory does not suffice for a single window, or for the model.
    """
    torch.set_num_threads(config.training.threads)
    clock, steps = StepClock(), RelativeSteps()
    reports = EpochReports(report, clock, steps)
    options: dict[str, Any] = {
        "max_epochs": config.training.epochs,
        "reload_dataloaders_every_n_epochs": 1,
        # The whole validation set: the row of epoch 0, which a resumed training has behind it.
        "num_sanity_val_steps": 0 if checkpoint else -1,
        **trainer_options,
    }
    with lean_trainer(config, callbacks=[steps, clock, reports, *callbacks], **options) as trainer:
        reset_peaks(trainer.strategy.root_device)
        built = build_model(config, language_model)
        module = Stage1Module(
            config,
            windows,
            built,
            block_epochs=block_epochs,
            parts=parts,
            user_metrics=user_metrics,
            warn=warn,
        )
        torch.manual_seed(integer_seed(Stream.DROPOUT, config.training.seed))
        try:
            trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
                raise KeyboardInterrupt from None
            raise
    return module


@contextmanager
def lean_trainer(
    config: Config, *, accelerator: str = "cpu", **options: Any
) -> Iterator[lightning.Trainer]:
    """A Trainer on one device that shows and writes nothing, for as long as the block lasts.

    In the block arithmetic is the configured one, what memory does not suffice for is a
    `TrialError`, and Lightning says nothing that no user of stage1 can act on.

    Args:
        config: Of a training.
        accelerator: Lightning's name of the device: cpu, or cuda.
        options: Lightning's; they override the lean ones.

    Raises:
        ConfigError: The device does not have the precision.
    """
    training = config.training
    lean: dict[str, Any] = {
        "devices": 1,
        "precision": "32-true" if training.precision == "tf32" else training.precision,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "plugins": [WholeFiles()],
    }
    options = lean | options
    if options["precision"] == lean["precision"]:
        check_precision(config, accelerator)
    with quiet_lightning(), out_of_memory_is_a_trial_error(), arithmetic(training.precision):
        yield lone_trainer(accelerator=accelerator, **options)


_FOREIGN_OPTIONS = "PL_TRAINER_"
"""Begins the environment variables that stand for options of every Trainer of Lightning."""


def lone_trainer(*, plugins: Sequence[Any] = (), **options: Any) -> lightning.Trainer:
    """A Trainer that is the only one at its work, whatever the environment says.

    In a job of SLURM, torchrun or MPI, Lightning would take itself for one of many, and leave
    writing to the first of them.
    """
    environment = LightningEnvironment()
    environment.set_global_rank(0)
    foreign = [name for name in os.environ if name.startswith(_FOREIGN_OPTIONS)]
    before = {name: os.environ.pop(name) for name in foreign}
    try:
        return lightning.Trainer(plugins=[environment, *plugins], **options)
    finally:
        os.environ.update(before)


def accelerator_here() -> str:
    """Lightning's name of the device for a single training: the GPU where CUDA finds one.

    A Mac's is left alone: it has no float64, in which statistics are taken.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_precision(config: Config, accelerator: str) -> None:
    """Refuse a precision that a device does not have, where torch would take another one.

    Raises:
        ConfigError: It does not.
    """
    training, on_gpu = config.training, accelerator == "cuda"
    fault = training.precision_fault(on_gpu=on_gpu)
    wants_tf32 = on_gpu and training.precision == "tf32"
    if wants_tf32 and torch.cuda.get_device_capability() < _FIRST_WITH_TF32:
        name = torch.cuda.get_device_name()
        fault = f"must be 32-true or 16-mixed on a {name}, which has no TF32, got tf32"
    if fault is not None:
        raise ConfigError(f"training.precision: {fault}")


_FIRST_WITH_TF32 = (8, 0)  # Ampere, by compute capability


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Have a GPU compute what `training.precision` says, and differentiate T5's attention.

    Of its own accord torch takes TF32 for convolutions and not for products. cuDNN's attention has
    no gradient for a bias, which is what T5 learns positions by, and for some lengths gives NaN for
    the queries'. Of its convolutions some add up in any order.

    The switches are torch's older ones: Lightning asks for them, and torch refuses to answer where
    the newer ones were used.

    Args:
        precision: As the configuration names it.
    """
    cudnn, attention = torch.backends.cudnn, torch.backends.cuda
    before = (
        torch.get_float32_matmul_precision(),
        cudnn.allow_tf32,
        cudnn.deterministic,
        attention.cudnn_sdp_enabled(),
    )

    def set_all(products: str, tf32: bool, deterministic: bool, cudnn_attention: bool) -> None:
        torch.set_float32_matmul_precision(products)
        cudnn.allow_tf32, cudnn.deterministic = tf32, deterministic
        attention.enable_cudnn_sdp(cudnn_attention)

    tf32 = precision == "tf32"
    set_all("high" if tf32 else "highest", tf32, True, False)
    try:
        yield
    finally:
        set_all(*before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning says that no user of stage1 can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # set to INFO at its import
    with warnings.catch_warnings():
        for message in _UNWANTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield
