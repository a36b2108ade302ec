"""The Lightning module: steps, unfreezing, validation, and what a checkpoint carries.

It optimises manually, since a step whose batch does not fit into memory adds its gradient up from
parts of the batch, and whether it fits shows only when the step is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import pytorch_lightning as lightning
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from stage1.base.metric_table import BASELINE_PREFIX
from stage1.config import Config
from stage1.data.batches import (
    Batch,
    EpochPlan,
    EpochPlans,
    MarketWindows,
    batches_of,
    chained_sha256,
    windows_at_once,
)
from stage1.model.losses import total_loss
from stage1.model.metrics import (
    block_sums,
    blocks_of_windows,
    evaluate,
    evaluate_baselines,
    interpolated,
)
from stage1.model.stage1_model import Built
from stage1.training.checkpoint import CHECKPOINT_KEY, new_record
from stage1.training.memory import BatchGuard, Warn, log_warning, shares
from stage1.training.optimization import build_optimizer, build_schedule
from stage1.training.user_metrics import NO_USER_METRICS, UserMetrics


class Validation(NamedTuple):
    """What no training changes of a validation: a worker makes it once for all its trials."""

    batch: Batch
    """All windows of it."""
    line: Tensor
    """They, interpolated."""
    baseline: dict[str, float]
    """As `evaluate_baselines` has it."""


def validation_of(
    windows: MarketWindows, config: Config, device: torch.device, count: int | None = None
) -> Validation:
    """The validation that a configuration asks for, on a device; of the first `count` windows."""
    ratios = config.evaluation.tf_specific_mask_ratios
    whole = windows.validation_set(config.masking, ratios, device)

    def make() -> Validation:
        batch = Batch(*(field[:count] for field in whole))
        line = interpolated(batch)
        return Validation(batch, line, evaluate_baselines(line, batch, config))

    asked = (config.masking, tuple(ratios.items()), config.loss, device)
    return windows.once((*asked, count or len(whole.scored)), make)


class _Batches:
    """Batches with a length, as Lightning wants to see a data loader."""

    def __init__(self, batches: Iterable[Batch], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return self.count


class Stage1Module(lightning.LightningModule):
    """A model in training.

    Args:
        built: The model and the fingerprints of its weights.
        block_epochs: Epochs after whose validation `blocks` holds their sums; 0 is before the
            first step.
        parts: In which a batch is worked on from the start.
        user_metrics: Taken at every validation beside ours.
        warn: Takes a line whenever memory makes the parts of a batch smaller.
    """

    def __init__(
        self,
        config: Config,
        windows: MarketWindows,
        built: Built,
        *,
        block_epochs: Collection[int] = (),
        parts: int = 1,
        user_metrics: UserMetrics = NO_USER_METRICS,
        warn: Warn = log_warning,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.windows = windows
        self.model, self.t5 = built.model, built.t5
        self.fingerprints = {
            "lm_sha256": built.lm_sha256,
            "head_sha256": built.head_sha256,
            "order_sha256": "",
            "mask_sha256": "",
        }
        self.metrics: dict[str, float] = {}
        self.baseline: dict[str, float] = {}
        self._user_metrics, self._user_baseline = user_metrics, dict[str, float]()
        self.block_epochs = frozenset(block_epochs)
        self.blocks: Tensor | None = None
        self._steps = BatchGuard("a training step", warn, parts=parts)
        self._validation = BatchGuard("a validation batch", warn, parts=parts)
        self._plans = EpochPlans(windows, config)
        self._plan: EpochPlan | None = None
        self._decoded: list[Tensor] = []
        self._losses: list[Tensor] = []

    # Data ---------------------------------------------------------------------------------------

    def train_dataloader(self) -> _Batches:
        """The batches of the current epoch; asked for anew every epoch."""
        plan = self._plans.take(self.current_epoch, self.device)
        self._plan = plan
        batches = self.windows.training_batches(self.config, plan, self.device)
        return _Batches(batches, self.config.training.steps_per_epoch)

    def val_dataloader(self) -> _Batches:
        """The validation set, the same for every trial."""
        batches = batches_of(self.validation_set, windows_at_once(self.config.data))
        return _Batches(batches, len(batches))

    @property
    def validation_set(self) -> Batch:
        """All its windows, where the module is."""
        ratios = self.config.evaluation.tf_specific_mask_ratios
        return self.windows.validation_set(self.config.masking, ratios, self.device)

    # Steps --------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Freeze or free the T5, and note what the epoch trains on.

        Not where the batches are made: Lightning asks for those twice when it resumes.
        """
        assert self._plan is not None
        arrays = {"order_sha256": self._plan.order, "mask_sha256": self._plan.uniforms}
        for name, array in arrays.items():
            self.fingerprints[name] = chained_sha256(self.fingerprints[name] or "", array)
        freeze = self.config.transfer_learning.freeze_lm_epochs
        self.model.let_t5_learn(freeze >= 0 and self.current_epoch >= freeze)
        self._losses = []

    def decode(self, batch: Batch) -> Float[Tensor, "batch timeframe time channel"]:
        """All bars of a batch."""
        # Windows of equal length have no padding, and need no mask.
        padded = self.config.model.async_sampler
        present = (batch.real, batch.lengths) if padded else (None, None)
        decoded: Tensor = self.model(batch.features, batch.hidden, *present)
        return decoded

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """What is minimised, of a batch at once."""
        return total_loss(self.decode(batch), batch, self.config)

    @property
    def accumulation(self) -> int:
        """Parts in which a step's gradient is added up; 1 = the whole batch at once."""
        return self._steps.parts

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One step of optimiser and schedule, whatever fits into memory; gives the batch's loss."""
        optimizer: Any = self.optimizers()
        loss = self._steps.run(batch, self.add_up_gradient, undo=optimizer.zero_grad)
        self._losses.append(loss)
        with self._full_precision():
            optimizer.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()
        return loss

    def add_up_gradient(self, parts: list[Batch]) -> Tensor:
        """Give every parameter the gradient of a batch that comes in parts.

        Each part's loss counts by its share of the scored bars, so that loss and gradient of the
        Huber term are exactly the whole batch's. The other terms are means over other things: of
        them it is the mean over the parts, weighted alike, and not quite the whole batch's.

        Returns:
            The loss, without a graph.
        """
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        losses = []
        for part, share in zip(parts, shares(parts) if len(parts) > 1 else [1.0], strict=True):
            loss = share * self.loss(part)
            with self._full_precision():
                self.manual_backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _full_precision(self) -> torch.autocast:
        """Mixed precision is for the forward pass: backward operations follow its types."""
        return torch.autocast(self.device.type, enabled=False)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient.

        Called by Lightning after it has undone the loss scaling of 16-mixed: before `step` the
        gradients would still be scaled, and clipped to nearly nothing. Its own clipping takes no
        fused optimiser beside mixed precision, of whatever kind.
        """
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.gradient_clip)

    def train_loss(self) -> float:
        """Mean loss of the current epoch's steps so far; NaN before the first."""
        return float(torch.stack(self._losses).mean()) if self._losses else float("nan")

    def configure_optimizers(self) -> Any:
        """AdamW, and a schedule that moves with every step."""
        optimizer = build_optimizer(self.model, self.config)
        schedule = build_schedule(optimizer, self.config)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    # Validation ---------------------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Decode one batch; the metrics wait for all of them."""
        self._decoded.append(self._validation.run(batch, self._decode_parts))

    def predict_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Decode one batch for whoever wants the bars themselves, on the CPU."""
        return self._validation.run(batch, self._decode_parts).cpu()

    def _decode_parts(self, parts: list[Batch]) -> Tensor:
        return torch.cat([self.decode(part) for part in parts])

    def on_validation_epoch_end(self) -> None:
        """Metrics over all batches that were validated, at once."""
        decoded = torch.cat(self._decoded)
        self._decoded = []
        batch, line, baseline = validation_of(self.windows, self.config, self.device, len(decoded))
        of_user = self._user_metrics
        if not self._user_baseline:
            self._user_baseline = of_user.measure(line, batch, prefix=BASELINE_PREFIX)
        self.baseline = baseline | self._user_baseline
        self.metrics = evaluate(decoded, line, batch, self.config)
        self.metrics |= of_user.measure(decoded, batch)
        self.blocks = self._block_sums(decoded, batch)
        # As tensors, which Lightning leaves on the CPU; it would put numbers on the device.
        self.log_dict({name: torch.tensor(value) for name, value in self.metrics.items()})

    def _block_sums(self, decoded: Tensor, batch: Batch) -> Tensor | None:
        """`block_sums` of the validation set, after the epochs that are to have them."""
        if not self.block_epochs:
            return None
        epoch = 0 if self.trainer.sanity_checking else self.current_epoch + 1
        if epoch not in self.block_epochs:
            return None
        validation = self.windows.split.validation
        blocks = blocks_of_windows(validation.starts, validation.ends)[: len(decoded)]
        count = int(blocks.max()) + 1
        places = torch.from_numpy(blocks).to(decoded.device)
        return block_sums(decoded, batch, places, count=count).cpu()

    # Checkpoints --------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what our checkpoints carry: the record of the training, random state, parts."""
        checkpoint[CHECKPOINT_KEY] = {
            **new_record(self.config, self.windows, self.t5, self.fingerprints),
            "rng": torch.get_rng_state(),
            "accumulation": self._steps.parts,
        }
        if self.device.type == "cuda":
            checkpoint[CHECKPOINT_KEY]["cuda_rng"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take fingerprints, random state and parts per step back."""
        stored = checkpoint[CHECKPOINT_KEY]
        self.fingerprints = dict(stored["fingerprints"])
        torch.set_rng_state(stored["rng"])
        device = self.trainer.strategy.root_device  # the module is on its way there
        if device.type == "cuda" and "cuda_rng" in stored:
            torch.cuda.set_rng_state(stored["cuda_rng"].cpu(), device)
        self._steps.parts = max(stored["accumulation"], self._steps.parts)
