"""Train a small T5 by span corruption with Lightning: deterministic, resumable, within a budget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import T5Config, T5ForConditionalGeneration

from stage1.pretrain.corpus import VOCABULARY_SIZE, TokenStreams
from stage1.pretrain.progress import StepProgress, quiet
from stage1.pretrain.spans import EOS_ID, PAD_ID, SENTINELS, SpanCorruption, corrupted_batch
from stage1.pretrain.state import STATE_FILE, Plan, Size, StateKeeper, read_state

ROWS_PER_STEP = 16
PEAK_LEARNING_RATE = 1e-1
WARMUP_SHARE = 0.3
HELD_OUT_BATCHES = 13

DIMENSIONS: dict[Size, dict[str, int]] = {
    "nano": {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 192, "num_layers": 2},
    "micro": {"d_model": 96, "d_kv": 32, "num_heads": 3, "d_ff": 256, "num_layers": 3},
}


class Losses(NamedTuple):
    """Held-out cross-entropy, in nats per non-sentinel target token."""

    model: float
    unigram: float
    untrained: float


def t5_config(size: Size) -> T5Config:
    """T5 v1.1 (gated GELU, no biases) with tied embeddings and a decoder of one block."""
    tokens = VOCABULARY_SIZE + SENTINELS
    return T5Config(
        **DIMENSIONS[size],
        vocab_size=-(-tokens // 64) * 64,  # T5's own habit: rows padded to a round number
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        dropout_rate=0.0,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        decoder_start_token_id=PAD_ID,
    )


def span_objective() -> SpanCorruption:
    """The objective with the sentinels at the end of this vocabulary."""
    return SpanCorruption(first_sentinel=VOCABULARY_SIZE + SENTINELS - 1)


def token_losses(model: T5ForConditionalGeneration, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every target token, teacher-forced: (batch, target)."""
    logits = model(input_ids=inputs, labels=targets, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )


def is_word(targets: Tensor) -> Tensor:
    """True for target tokens that are text: neither sentinel nor end of sequence."""
    return (targets < VOCABULARY_SIZE) & (targets != EOS_ID)


def held_out_batches(stream: NDArray[np.int32]) -> list[tuple[Tensor, Tensor]]:
    """The fixed evaluation set: the same rows and spans for every model."""
    pairs = (
        corrupted_batch(stream, span_objective(), rows=ROWS_PER_STEP, seed=(2, index))
        for index in range(HELD_OUT_BATCHES)
    )
    return [(torch.from_numpy(inputs), torch.from_numpy(targets)) for inputs, targets in pairs]


@torch.no_grad()
def held_out_loss(model: T5ForConditionalGeneration, stream: NDArray[np.int32]) -> float:
    """Mean cross-entropy on the held-out text's hidden word pieces, in nats."""
    total, count = 0.0, 0
    for inputs, targets in held_out_batches(stream):
        words = is_word(targets)
        total += float(token_losses(model, inputs, targets)[words].sum())
        count += int(words.sum())
    return total / count


def unigram_loss(streams: TokenStreams) -> float:
    """The same mean for a model that knows the training text's token frequencies only (add-one)."""
    counts = np.bincount(streams.training, minlength=VOCABULARY_SIZE) + 1.0
    surprise = -np.log(counts / counts.sum())
    words = [targets[is_word(targets)] for _, targets in held_out_batches(streams.held_out)]
    return float(surprise[torch.cat(words).numpy()].mean())


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batch k depends on (seed, k) alone: a resumed training sees what it would have seen."""

    def __init__(self, stream: NDArray[np.int32], *, first: int, steps: int, seed: int) -> None:
        self.stream, self.first, self.steps, self.seed = stream, first, steps, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(self.first, self.steps):
            inputs, targets = corrupted_batch(
                self.stream, span_objective(), rows=ROWS_PER_STEP, seed=(self.seed, step)
            )
            yield torch.from_numpy(inputs), torch.from_numpy(targets)


class SpanCorruptionModule(lightning.LightningModule):
    """T5 under T5's optimiser: Adafactor with steps relative to each tensor's size.

    Source:
        Shazeer and Stern 2018, "Adafactor"; Raffel et al. 2020, section 3.1.2. Cosine decay in
        place of the inverse square root is ours.
    """

    def __init__(self, size: Size, *, steps: int, held_out: NDArray[np.int32]) -> None:
        super().__init__()
        self.model = T5ForConditionalGeneration(t5_config(size)).train()
        self.steps = steps
        self.held_out = held_out
        self.curve: list[tuple[int, float]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Mean loss of every target token, sentinels too."""
        return token_losses(self.model, *batch).mean()

    def configure_optimizers(self) -> Any:
        """Adafactor; the learning rate rises, then falls as a cosine, step by step."""
        optimizer = torch.optim.Adafactor(self.model.parameters(), lr=PEAK_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            PEAK_LEARNING_RATE,
            total_steps=self.steps,
            pct_start=WARMUP_SHARE,
            cycle_momentum=False,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def evaluate(self) -> None:
        """Take the held-out loss of this step into the curve."""
        loss = held_out_loss(self.model, self.held_out)
        self.curve.append((self.global_step, round(loss, 4)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curve with the weights."""
        checkpoint["curve"] = [list(point) for point in self.curve]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the curve up where it was kept."""
        self.curve = [(int(step), float(loss)) for step, loss in checkpoint["curve"]]


def steps_within(budget: timedelta, size: Size, stream: NDArray[np.int32], seed: int) -> int:
    """How many steps fit the budget, from a few measured ones; a tenth is kept in reserve."""
    module = SpanCorruptionModule(size, steps=1, held_out=stream)
    optimizer = torch.optim.Adafactor(module.model.parameters(), lr=PEAK_LEARNING_RATE)
    seconds = []
    for batch in _Batches(stream, first=0, steps=8, seed=seed):
        started = time.perf_counter()
        token_losses(module.model, *batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return max(int(0.9 * budget.total_seconds() / float(np.median(seconds))), 1)


def train(
    plan: Plan, streams: TokenStreams, out: Path, *, budget: timedelta | None, resume: bool
) -> SpanCorruptionModule:
    """Pretrain; ends after the plan's steps or when the budget is used up, whichever is first.

    The state for `resume` lies in `out`: refreshed as often as the held-out loss is taken, and when
    the training ends early.

    Args:
        plan: Must be the state's own with `resume`.
        streams: Each longer than a row.
        out: Folder of the state.
        budget: For this session; at least one step is done. None for no limit.
        resume: Whether to go on from the state.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the state is saved; at once after a second.
        ResultsError: The state to go on from cannot be read.
    """
    state = out / STATE_FILE
    saved = read_state(state) if resume else None
    first, seconds = (saved.step, saved.seconds) if saved else (0, 0.0)
    keeper = StateKeeper(state, plan, budget=budget, seconds=seconds)
    lightning.seed_everything(plan.seed, verbose=False)
    module = SpanCorruptionModule(plan.size, steps=plan.steps, held_out=streams.held_out)
    batches = DataLoader(
        _Batches(streams.training, first=first, steps=plan.steps, seed=plan.seed), batch_size=None
    )
    with quiet(), keeper.listening():
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=plan.steps,
            callbacks=[keeper, StepProgress(plan.steps)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=None,
            deterministic=True,
        )
        try:
            trainer.fit(module, batches, ckpt_path=state if resume else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C, and of a request to terminate
            raise KeyboardInterrupt from None
    if keeper.interrupted:
        raise KeyboardInterrupt
    return module
