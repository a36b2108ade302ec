"""The Lightning module: steps, unfreezing, validation, and what a checkpoint carries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytorch_lightning as lightning
import torch
from jaxtyping import Float
from torch import Tensor

from stage1.config import Config
from stage1.data.batches import Batch, EpochPlan, MarketWindows, chained_sha256
from stage1.model.blocks import block_sums, blocks_of_windows
from stage1.model.by_timeframe import model_inputs, stacked
from stage1.model.losses import total_loss
from stage1.model.metrics import evaluate, evaluate_baseline, zero_loss
from stage1.model.stage1_model import T5_PREFIX, Built
from stage1.timeframes import MINUTES
from stage1.training.optimization import build_optimizer, build_schedule

CHECKPOINT_KEY = "stage1"


class _Batches:
    """Batches that already are batches, as Lightning wants to see them."""

    def __init__(self, batches: Iterable[Batch], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return self.count


class Stage1Module(lightning.LightningModule):
    """A model in training.

    Args:
        config: Complete.
        windows: The bars.
        built: The model and the fingerprints of its weights.
        block_epochs: Epochs after whose validation `blocks` holds their sums; 0 is before the
            first step.
    """

    def __init__(
        self,
        config: Config,
        windows: MarketWindows,
        built: Built,
        block_epochs: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.windows = windows
        self.model = built.model
        self.minutes = tuple(MINUTES[name] for name in config.data.timeframes)
        self.fingerprints = {
            "lm_sha256": built.lm_sha256,
            "head_sha256": built.head_sha256,
            "order_sha256": "",
            "mask_sha256": "",
        }
        self.metrics: dict[str, float] = {}
        self.baseline: dict[str, float] = {}
        self.block_epochs = frozenset(block_epochs)
        self.blocks: Tensor | None = None
        self._plan: EpochPlan | None = None
        self._decoded: list[Tensor] = []
        self._losses: list[Tensor] = []

    # Data ---------------------------------------------------------------------------------------

    def train_dataloader(self) -> _Batches:
        """The batches of the current epoch; asked for anew every epoch."""
        plan = self.windows.plan_epoch(self.config, self.current_epoch)
        self._plan = plan
        batches = self.windows.training_batches(self.config, plan)
        return _Batches(batches, self.config.training.steps_per_epoch)

    def val_dataloader(self) -> _Batches:
        """The validation set, the same for every trial."""
        batches = self._validation_batches()
        return _Batches(batches, len(batches))

    def _validation_batches(self) -> list[Batch]:
        ratios = self.config.evaluation.tf_specific_mask_ratios
        return self.windows.validation_batches(self.config.masking, ratios)

    # Steps --------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Freeze or free the T5, and note what the epoch trains on.

        Not where the batches are made: Lightning asks for those twice when it resumes.
        """
        assert self._plan is not None
        for name, array in (
            ("order_sha256", self._plan.order),
            ("mask_sha256", self._plan.uniforms),
        ):
            self.fingerprints[name] = chained_sha256(self.fingerprints[name] or "", array)
        freeze = self.config.transfer_learning.freeze_lm_epochs
        learns = freeze >= 0 and self.current_epoch >= freeze
        for name, parameter in self.model.named_parameters():
            if name.startswith(T5_PREFIX):
                parameter.requires_grad_(learns)
        self._losses = []

    def decode(self, batch: Batch) -> Float[Tensor, "batch timeframe time 4"]:
        """All bars of a batch; calendar windows go through the model timeframe by timeframe."""
        if not self.config.model.async_sampler:
            whole: Tensor = self.model(batch.features, batch.hidden)
            return whole
        timeframes = self.config.data.timeframes
        decoded = self.model(*model_inputs(batch, timeframes))
        return stacked(decoded, timeframes, self.config.data.seq_len)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch."""
        decoded = self.decode(batch)
        loss = total_loss(decoded, batch, self.config.loss, self.minutes)
        self._losses.append(loss.detach())
        return loss

    def train_loss(self) -> float:
        """Mean loss of the current epoch's steps so far; NaN before the first."""
        return float(torch.stack(self._losses).mean()) if self._losses else float("nan")

    def configure_optimizers(self) -> Any:
        """AdamW, and a schedule that moves with every step."""
        optimizer = build_optimizer(self.model, self.config)
        schedule = build_schedule(optimizer, self.config)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    # Validation ---------------------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Decode one batch; the metrics wait for all of them."""
        self._decoded.append(self.decode(batch))

    def on_validation_epoch_end(self) -> None:
        """Metrics over all batches that were validated, at once; the baseline's once a training."""
        parts = self._validation_batches()[: len(self._decoded)]
        batch = Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        decoded = torch.cat(self._decoded).cpu()
        self._decoded = []
        if not self.baseline:
            zero = {"zero_val_loss": zero_loss(batch, self.config)}
            self.baseline = evaluate_baseline(batch, self.config) | zero
        self.metrics = evaluate(decoded, batch, self.config)
        self.blocks = self._block_sums(decoded, batch)
        self.log_dict(self.metrics)

    def _block_sums(self, decoded: Tensor, batch: Batch) -> Tensor | None:
        """The sums of `stage1.model.blocks`, after the epochs that are to have them."""
        if not self.block_epochs:
            return None
        epoch = 0 if self.trainer.sanity_checking else self.current_epoch + 1
        if epoch not in self.block_epochs:
            return None
        validation = self.windows.split.validation
        blocks = torch.from_numpy(blocks_of_windows(validation.starts, validation.ends))
        return block_sums(decoded, batch, blocks[: len(decoded)])

    # Checkpoints --------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a checkpoint of ours carries: configuration, fingerprints, random state."""
        checkpoint[CHECKPOINT_KEY] = {
            "config": self.config.model_dump(mode="json"),
            "fingerprints": dict(self.fingerprints),
            "rng": torch.get_rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take fingerprints and random state back."""
        self.fingerprints = dict(checkpoint[CHECKPOINT_KEY]["fingerprints"])
        torch.set_rng_state(checkpoint[CHECKPOINT_KEY]["rng"])
