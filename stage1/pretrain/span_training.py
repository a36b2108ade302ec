"""Train a small T5 by span corruption with Lightning: deterministic, resumable, within a budget."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import T5Config, T5ForConditionalGeneration

from stage1.base.files import atomic_path
from stage1.language_models.names import CONFIG_FILE, WEIGHTS_FILE
from stage1.pretrain.corpus import VOCABULARY_SIZE, TokenStreams
from stage1.pretrain.saved_state import (
    EVALUATIONS,
    STATE_FILE,
    Plan,
    Size,
    StateKeeper,
    StepProgress,
    quiet,
    read_state,
)
from stage1.pretrain.spans import EOS_ID, PAD_ID, SENTINELS, SpanCorruption, corrupted_batch
from stage1.training.fit import arithmetic, finish_queued, lone_trainer

ROWS_PER_STEP = 16
WARMUP_SHARE = 0.1
HELD_OUT_BATCHES = 13
_TIMED_STEPS = 9
TABLE_LEARNING_RATE = 0.2
"""Of the token table, whose entries have RMS 1 when T5 draws them."""
TABLE_BETAS = (0.9, 0.999)
"""A rare word has a large gradient once in many steps. In between, a shorter memory has forgotten
it, and makes full steps of the softmax's small pushes."""
NORM_LEARNING_RATE = 0.01
BIAS_LEARNING_RATE = 0.05
"""Of the relative attention biases, which must grow to several units to look at a neighbour."""
MATRIX_LEARNING_RATE = 0.128
"""Divided by d_model: 2e-3, 1e-3 and 5e-4 for the three sizes."""

DIMENSIONS: dict[Size, dict[str, int]] = {
    "nano": {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 192, "num_layers": 2},
    "micro": {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 384, "num_layers": 4},
    "mini": {"d_model": 256, "d_kv": 64, "num_heads": 4, "d_ff": 768, "num_layers": 4},
}


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


def new_model(size: Size) -> T5ForConditionalGeneration:
    """A T5 as `transformers` draws it, but for where its decoder looks first.

    With keys of the attention to the encoder parallel to its queries, the sentinel that a span
    begins with finds the same sentinel in the encoder. Drawn independently they find nothing: then
    nothing rewards the encoder for gathering a gap's neighbours there, and a short training never
    learns that the order of words matters. Uses the global generator.

    Source:
        Ours.
    """
    model = T5ForConditionalGeneration(t5_config(size)).train()
    with torch.no_grad():
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            scale = attention.k.weight.std() / attention.q.weight.std()
            attention.k.weight.copy_(scale * attention.q.weight)
    return model


def make_optimizer(model: T5ForConditionalGeneration) -> torch.optim.AdamW:
    """AdamW with a learning rate for each kind of weight, no weight decay."""
    kinds: dict[str, list[Tensor]] = {"table": [], "norm": [], "bias": [], "matrix": []}
    for name, weight in model.named_parameters():  # the tied table once, as `shared`
        kind = "norm" if weight.ndim == 1 else "matrix"
        if name == "shared.weight":
            kind = "table"
        elif "relative_attention_bias" in name:
            kind = "bias"
        kinds[kind].append(weight)
    return torch.optim.AdamW(
        [
            {"params": kinds["table"], "lr": TABLE_LEARNING_RATE, "betas": TABLE_BETAS},
            {"params": kinds["norm"], "lr": NORM_LEARNING_RATE},
            {"params": kinds["bias"], "lr": BIAS_LEARNING_RATE},
            {"params": kinds["matrix"], "lr": MATRIX_LEARNING_RATE / model.model_dim},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )


class CurvePoint(NamedTuple):
    """One evaluation during the training; losses in nats per token."""

    step: int
    held_out: float
    """On non-sentinel targets of the held-out text."""
    training: float
    """On all targets, mean of the steps since the last evaluation."""


@dataclass(frozen=True)
class Losses:
    """Held-out cross-entropy, in nats per non-sentinel target token."""

    model: float
    unigram: float
    untrained: float


def span_objective() -> SpanCorruption:
    """The objective with the sentinels at the end of this vocabulary."""
    return SpanCorruption(first_sentinel=VOCABULARY_SIZE + SENTINELS - 1)


def token_losses(model: T5ForConditionalGeneration, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every target token, teacher-forced: (batch, target)."""
    # not by `labels`, with which transformers would compute a loss of its own beside this one
    shifted = model.prepare_decoder_input_ids_from_labels(targets)
    logits = model(input_ids=inputs, decoder_input_ids=shifted, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="none"
    )
    return losses.view_as(targets)


def is_word(targets: Tensor) -> Tensor:
    """True for target tokens that are text: neither sentinel nor end of sequence."""
    return (targets < VOCABULARY_SIZE) & (targets != EOS_ID)


def held_out_batches(stream: NDArray[np.int32]) -> list[tuple[Tensor, Tensor]]:
    """The fixed evaluation set: the same rows and spans for every model."""
    return [_batch(stream, seed=(2, index)) for index in range(HELD_OUT_BATCHES)]


def _batch(stream: NDArray[np.int32], *, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
    inputs, targets = corrupted_batch(stream, span_objective(), rows=ROWS_PER_STEP, seed=seed)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


@torch.no_grad()
def held_out_loss(model: T5ForConditionalGeneration, stream: NDArray[np.int32]) -> float:
    """Mean cross-entropy on the held-out text's hidden word pieces, in nats."""
    total, count = 0.0, 0
    for batch in held_out_batches(stream):
        inputs, targets = (ids.to(model.device) for ids in batch)
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
            yield _batch(self.stream, seed=(self.seed, step))


class SpanCorruptionModule(lightning.LightningModule):
    """T5 under AdamW, with a learning rate for each kind of weight.

    Source:
        Ours. T5's own Adafactor (Shazeer and Stern 2018, section 8) makes every step the same share
        of its tensor; a share that lets the token table learn in some thousand steps is ten times
        what the matrices of a deep encoder bear.
    """

    def __init__(self, size: Size, *, steps: int, held_out: NDArray[np.int32]) -> None:
        super().__init__()
        self.model, self.steps, self.held_out = new_model(size), steps, held_out
        self.curve: list[CurvePoint] = []
        self._since_last_point: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Mean loss of every target token, sentinels too."""
        loss = token_losses(self.model, *batch).mean()
        self._since_last_point.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rates rise, then fall as a cosine, step by step."""
        optimizer = make_optimizer(self.model)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=self.steps,
            # OneCycleLR divides by zero where the rise would end at step 0
            pct_start=WARMUP_SHARE if self.steps * WARMUP_SHARE > 1 else 0.0,
            cycle_momentum=False,
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def evaluate(self) -> None:
        """Take the losses of this step into the curve."""
        held_out = held_out_loss(self.model, self.held_out)
        training = float(np.mean(self._since_last_point))
        self._since_last_point.clear()
        self.curve.append(CurvePoint(self.global_step, round(held_out, 4), round(training, 4)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curve with the weights."""
        checkpoint["curve"] = [list(point) for point in self.curve]
        checkpoint["since_last_point"] = list(self._since_last_point)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the curve up where it was kept."""
        self.curve = [CurvePoint(*point) for point in checkpoint["curve"]]
        self._since_last_point = list(checkpoint["since_last_point"])


def steps_within(budget: timedelta, plan: Plan, streams: TokenStreams) -> int:
    """How many steps fit the budget beside the evaluations; a tenth of it is kept in reserve.

    Raises:
        KeyboardInterrupt: After Ctrl-C, or a request to terminate.
    """
    watch = _Stopwatch()
    module = SpanCorruptionModule(plan.size, steps=_TIMED_STEPS, held_out=streams.held_out)
    with quiet():
        _fit(plan, module, streams.training, [watch])
    step = float(np.median(np.diff(watch.ended)))
    return max(int((0.9 * budget.total_seconds() - EVALUATIONS * watch.evaluation) / step), 1)


class _Stopwatch(Callback):
    """When each step had ended, also on a GPU, and what an evaluation takes there.

    Lightning takes the model back to the CPU as soon as the training is over.
    """

    def __init__(self) -> None:
        self.ended: list[float] = []
        self.evaluation = 0.0  # seconds

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        finish_queued(module.device)
        self.ended.append(time.perf_counter())

    def on_train_end(self, trainer: Any, module: Any) -> None:
        started = time.perf_counter()
        held_out_loss(module.model, module.held_out)
        self.evaluation = time.perf_counter() - started


def _fit(
    plan: Plan,
    module: SpanCorruptionModule,
    stream: NDArray[np.int32],
    callbacks: list[Callback],
    *,
    first: int = 0,
    state: Path | None = None,
) -> None:
    """Train a module on its steps from the first on, from a state where there is one."""
    batches = _Batches(stream, first=first, steps=module.steps, seed=plan.seed)
    trainer = lone_trainer(
        accelerator=plan.accelerator,
        precision=plan.precision,
        devices=1,
        max_steps=module.steps,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
    )
    try:
        loader = DataLoader(batches, batch_size=None)
        with arithmetic(plan.precision):
            trainer.fit(module, loader, ckpt_path=state, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C, and of a request to terminate
        raise KeyboardInterrupt from None


def train(
    plan: Plan, streams: TokenStreams, out: Path, *, budget: timedelta | None, resume: bool
) -> SpanCorruptionModule:
    """Pretrain; ends after the plan's steps or when the budget is used up, whichever is first.

    The state in `out` is refreshed whenever the held-out loss is taken or the training ends early.

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
    sha256 = streams.vocabulary_sha256
    keeper = StateKeeper(state, plan, vocabulary_sha256=sha256, budget=budget, seconds=seconds)
    lightning.seed_everything(plan.seed, verbose=False)
    module = SpanCorruptionModule(plan.size, steps=plan.steps, held_out=streams.held_out)
    callbacks = [keeper, StepProgress(plan.steps)]
    with quiet(), keeper.listening():
        _fit(plan, module, streams.training, callbacks, first=first, state=saved and state)
    if keeper.interrupted:
        raise KeyboardInterrupt
    return module


def save_model(model: T5ForConditionalGeneration, out: Path) -> None:
    """Write config and float16 weights where `transformers` finds them, each file atomically."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model.half().save_pretrained(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            with atomic_path(out / name) as path:
                shutil.copyfile(Path(folder) / name, path)


def load_saved(folder: Path) -> T5ForConditionalGeneration:
    """The model as it was saved, in float32 and evaluation mode."""
    with quiet():
        return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
