"""Made-up runs: the tables of a study from the scores of its arms, in memory or in a folder.

A test plants what it looks for in the scores, or in a table before it is written:

    nothing_learned = arm_scores(np.zeros((8, 2)))
    all_diverged = arm_scores(np.zeros((8, 2)), diverged=np.ones((8, 2), dtype=bool))
    one_seed_again = arm_scores(np.zeros((32, 2)))  # the second seed counts where it was planned
    on_the_first_four = arm_scores(np.zeros((4, 2)))
    worse_with_half_the_spread = drawn_arm(generator, configurations=8, mean=0.4, spread=0.015)
    at_a_ceiling = arm_scores(np.minimum(scores, 0.95))

    tables = study_tables({"pretrained": worse_with_half_the_spread, "random": nothing_learned})
    tables.trials["lm_sha256"] = tables.trials["arm"]  # the same weights with every seed
    tables = study_tables(arms, points=4 * [{LR: 1e-3}, {LR: 2e-3}])  # two distinct configurations
    tables = study_tables(
        {"pretrained": one_seed_again, "random": one_seed_again, "shuffled": on_the_first_four},
        design={"looks": [16, 32], "replicated": 4},
    )
    run = write_run(tmp_path / "run", tables)

`PLANTED` holds whole runs of which it is known what may be said of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from stage1.base.files import sha256_of_file
from stage1.claims.catalogue import ERROR_RATE, Definition
from stage1.claims.scores import ArmScores, RunTables, Scores, design_scores
from stage1.claims.verdicts import Finding
from stage1.config import Config, with_values
from stage1.config.data import PRICES
from stage1.run.columns import (
    BLOCK_COLUMNS,
    COMPLETED,
    COST_COLUMNS,
    CURVE_COLUMNS,
    DESIGN,
    DIVERGED,
    FAILED,
    INTEGER,
    PARAMETER_PREFIX,
    PRETRAINED,
    RANDOM,
    RANDOM_FIXED,
    ROLES,
    SEARCH,
    SHUFFLED,
    SHUFFLED_FIXED,
    TEST_COLUMNS,
    TEXT,
    TRIAL_COLUMNS,
    VANILLA,
    Column,
)
from stage1.run.folder import RunFolder
from stage1.run.registration import (
    COST_ROUNDS,
    CostPlan,
    Preregistration,
    RandomArm,
    early_epoch,
    preregistration_text,
)
from stage1.run.resolved_space import Design, ResolvedSpace

EARLY, HORIZON = 1, 2
"""Epochs of `study_tables`, unless it is told another horizon."""
ZERO_VAL_LOSS = 1.0
"""So that a log val_loss above 0 is clipped."""
BASELINE = 0.2
"""val_correlation of the interpolation."""
LR = "training.optimizer.lr"
PATCH = "transfer_learning.patch_len"
FACTOR = "transfer_learning.lm_learning_rate_factor"
FREEZE = "transfer_learning.freeze_lm_epochs"
RICH_SPACE = {
    LR: {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    FACTOR: {"type": "float", "low": 0.03, "high": 3.0, "log": True},
    FREEZE: {"type": "int", "low": 0, "high": 3},
    PATCH: {"type": "choice", "options": [4, 8, 16]},
}
SIZE = "google-t5/t5-small"
TIMEFRAMES = ("m1", "m5")
ARMS = (PRETRAINED, RANDOM, SHUFFLED)
BLOCKS = 12
START = datetime(2026, 11, 1, tzinfo=UTC)
ERRORS = {DIVERGED: "val_loss is not finite at epoch 1", FAILED: "No space left on device"}
IDENTITY = ("trial_id", "stage", "arm", "config_id", "seed")


# --- scores ---


def arm_scores(final, *, name="", early=None, log_loss=None, diverged=None) -> ArmScores:
    """Scores of an arm; what is not given follows from the final correlation."""
    final = np.asarray(final, dtype=float)
    return ArmScores(
        name,
        early=final / 2 if early is None else np.asarray(early, dtype=float),
        final=final,
        log_loss=-final if log_loss is None else np.asarray(log_loss, dtype=float),
        diverged=np.zeros(final.shape, dtype=bool) if diverged is None else np.asarray(diverged),
    )


def drawn_arm(
    generator, *, configurations=16, seeds=2, mean=0.5, spread=0.03, noise=0.01, loss_spread=0.2
) -> ArmScores:
    """An arm of Gaussian scores; early ones agree with final ones."""
    quality = generator.normal(size=(configurations, 1))
    luck = generator.normal(size=(2, configurations, seeds)) * noise / spread
    early, final = quality + luck
    return arm_scores(
        mean + spread * final, early=0.7 * mean + spread * early, log_loss=-1 - loss_spread * final
    )


def judged(definition: Definition, first: ArmScores, second: ArmScores) -> Finding:
    """What two arms' scores say of a claim at the usual error rate."""
    arms = (first._replace(name="first arm"), second._replace(name="second arm"))
    return definition.judge(*arms, error_rate=ERROR_RATE)


def scores_of(tables: RunTables) -> Scores:
    """The scores of a run's design."""
    return design_scores(tables.trials, tables.curves, tables.space, tables.registration)


# --- a study and its registration ---


def synthetic_space(
    *, arms: tuple[str, ...] = ARMS, configurations: int = 4, seeds: int = 2, horizon: int = 4
) -> dict[str, Any]:
    """What space.yaml of a synthetic run holds, seed 0."""
    values = {
        "data.timeframes": list(TIMEFRAMES),
        "training.epochs": horizon,
        "training.threads": 1,
    }
    return {
        "name": "synthetic",
        "seed": 0,
        "objective": {"metric": "val_correlation", "mode": "max"},
        "horizon_epochs": horizon,
        "arms": {arm: {"transfer_learning.initialization": arm} for arm in arms},
        "space": {
            LR: {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            PATCH: {"type": "choice", "options": [4, 8]},
        },
        "design": {"configurations": configurations, "seeds": seeds},
        "search": {"trials": len(arms), "sampler": "tpe"},
        "resources": {"cpus": 1, "gpus": 0},
        "config": with_values(Config(), values).model_dump(mode="json"),
        "data": {"fingerprint": "0" * 64},
    }


def synthetic_study(**size: Any) -> ResolvedSpace:
    """The same as it is read."""
    return ResolvedSpace.model_validate(synthetic_space(**size))


def changed_study(space: ResolvedSpace, /, **changes: Any) -> ResolvedSpace:
    """A resolved study with other values of top-level keys."""
    return ResolvedSpace.model_validate(space.model_dump() | changes)


def registered(space: ResolvedSpace, /, **changes: Any) -> Preregistration:
    """What is fixed before the first trial of a study whose arms are called by their roles."""
    arms, size = list(space.arms), space.design.size
    fields: dict[str, Any] = {
        "space_sha256": "0" * 64,
        "written_at": START - timedelta(minutes=1),
        "arms": arms,
        "roles": {role: role for role in ROLES if role in changes.get("arms", arms)},
        "configurations": size.configurations,
        "seeds": list(range(1, size.seeds + 1)),
        "replicated": size.replicated,
        "control": size.control,
        "looks": list(size.looks) if size.grows else 1,
        "horizon_epoch": space.horizon_epochs,
        "early_epoch": early_epoch(space.horizon_epochs),
        "random_arm": (
            RandomArm(initializer_factor=1.0, input_scale=None) if RANDOM in arms else None
        ),
        "cost": CostPlan(size=SIZE, patch_len=8) if PRETRAINED in arms else None,
        "training_windows": 1000,
        "language_models": {SIZE: "b" * 64},
        "versions": {"torch": "2.13.0"},
    }
    return Preregistration(**fields | changes)


def synthetic_preregistration(run: RunFolder, space: dict[str, Any], /, **changes: Any) -> str:
    """The content of prereg.yaml for a space.yaml that is written already."""
    fields = {"space_sha256": sha256_of_file(run.space)} | changes
    return preregistration_text(registered(ResolvedSpace.model_validate(space), **fields))


# --- rows ---


def synthetic_trial(trial_id: str, /, **columns: Any) -> dict[str, Any]:
    """A completed trial of the design as `RunWriter.add_trial` takes it; `columns` replace."""
    return {
        "trial_id": trial_id,
        "stage": DESIGN,
        "arm": "random",
        "config_id": "c0",
        "seed": 1,
        "status": COMPLETED,
        "epochs": 4,
        PARAMETER_PREFIX + LR: 1e-3,
        PARAMETER_PREFIX + PATCH: 8,
        "val_loss": 0.1,
        "val_correlation": 0.9,
        "val_skill": 0.1,
        "val_corr_m1": 0.91,
        "val_corr_m5": 0.89,
        "baseline_val_loss": 0.12,
        "baseline_val_correlation": BASELINE,
        "zero_val_loss": ZERO_VAL_LOSS,
        "seconds": 12.0,
        "seconds_per_step": 0.03,
        "peak_rss_mb": 700.0,
        "parameters": 115_000,
        "lm_sha256": "a" * 64,
        "steps": 400,
        "started_at": START,
        "node": "localhost",
    } | columns


def synthetic_curve(
    final: float, *, early: float | None = None, loss: float = 0.1, epochs: int = 4
) -> list[dict[str, Any]]:
    """A curve that rises from 0 to `final`, by way of `early` at the early epoch."""
    at = [0, early_epoch(epochs), epochs]
    correlation = [0.0, 0.8 * final if early is None else early, final]
    epoch = np.arange(epochs + 1)
    losses = np.interp(epoch, at, [ZERO_VAL_LOSS, ZERO_VAL_LOSS, loss])
    values = np.interp(epoch, at, correlation)
    return [
        {
            "epoch": int(place),
            "val_loss": float(loss),
            "val_correlation": float(value),
            "val_skill": _skill(value),
            "train_loss": math.nan if place == 0 else float(loss),
            "lr": 1e-3,
            "seconds": 3.0 * int(place),
        }
        for place, loss, value in zip(epoch, losses, values, strict=True)
    ]


def _skill(correlation: float) -> float:
    return float((correlation - BASELINE) / (1 - BASELINE))


def synthetic_blocks(correlations: dict[str, float], *, epoch: int) -> list[dict[str, Any]]:
    """Rows of blocks.parquet from which the correlation of each timeframe comes out.

    Every block has as many bars, means of 0 and variances of 1; its own correlation is a little
    off, by amounts that add up to 0 over the blocks.
    """
    n = 40
    return [
        {
            "epoch": epoch,
            "timeframe": timeframe,
            "channel": channel,
            "block": block,
            "n": n,
            "sum_truth": 0.0,
            "sum_decoded": 0.0,
            "sum_truth_squared": float(n),
            "sum_decoded_squared": float(n),
            "sum_product": n * (value + 0.02 * math.cos(2 * math.pi * block / BLOCKS)),
        }
        for timeframe, value in correlations.items()
        for channel in PRICES
        for block in range(BLOCKS)
    ]


def synthetic_cost(
    ratios: Sequence[float] = (1.1, 1.101, 1.1, 1.099, 1.102, 1.098),
    *,
    size: str = SIZE,
    patch_len: int = 8,
) -> list[dict[str, Any]]:
    """Rows of cost.parquet: seconds of the T5 over those of the vanilla encoder, one per round."""
    return [
        {
            "arm": arm,
            "size": size,
            "patch_len": patch_len,
            "round": number,
            "steps": 10,
            "seconds": 0.2 * ratio if arm == PRETRAINED else 0.2,
            "peak_rss_mb": 700.0,
            "peak_vram_mb": None,
        }
        for number, ratio in enumerate(ratios)
        for arm in ((PRETRAINED, VANILLA) if number % 2 == 0 else (VANILLA, PRETRAINED))
    ]


def timed_cost(ratios: Sequence[float], **names: Any) -> pd.DataFrame:
    """The same as a table."""
    return _frame(synthetic_cost(ratios, **names), COST_COLUMNS)


# --- tables ---


class _Rows(NamedTuple):
    trials: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    blocks: list[dict[str, Any]]

    def add(self, row: dict[str, Any], curve: Sequence[dict[str, Any]]) -> None:
        self.trials.append(row | {"started_at": START + timedelta(minutes=len(self.trials))})
        identity = {name: row[name] for name in IDENTITY}
        self.curves.extend(identity | point for point in curve)


def study_tables(
    arms: Mapping[str, ArmScores],
    /,
    *,
    horizon: int = HORIZON,
    points: Sequence[Mapping[str, Any]] | None = None,
    search: Sequence[float] = (),
    with_blocks: bool = False,
    cost: Sequence[Mapping[str, Any]] = (),
    name: str = "made-up",
    design: Mapping[str, Any] | None = None,
    **registration: Any,
) -> RunTables:
    """The tables of a finished study whose arms are called by their roles.

    A diverged trial has a curve of epoch 0 alone; one without a final score has failed.

    Args:
        arms: Scores by arm, (configurations, seeds); an arm with fewer configurations was trained
            on the first ones alone.
        horizon: Epochs of a trial.
        points: Hyperparameters of each configuration, by dotted key.
        search: Final val_correlation of further trials, of the arms in turn; NaN = diverged.
        with_blocks: Whether the design's trials have their sums by blocks of time.
        cost: Rows of the cost block.
        name: Of the study.
        design: As space.yaml has it; None = one look at all configurations and seeds of the arms.
            Seeds that it does not have were not trained.
        registration: In place of what the registration would hold.
    """
    configurations = max(len(scores.final) for scores in arms.values())
    seeds = next(iter(arms.values())).final.shape[1]
    design = design or {"configurations": configurations, "seeds": seeds}
    size = Design.model_validate(design).size
    points = points or [{LR: 1e-3 * (c + 1)} for c in range(configurations)]
    rows = _Rows([], [], [])
    for c, s, arm in product(range(configurations), range(seeds), arms):
        if c >= len(arms[arm].final) or s >= size.seeds_of(c):
            continue
        row, curve = _design_trial(arm, arms[arm], c, s, points[c], horizon)
        rows.add(row, curve)
        if with_blocks and row["status"] == COMPLETED:
            rows.blocks.extend(_blocks_of(row, curve, horizon))
    for place, final in enumerate(search):
        rows.add(*_search_trial(list(arms)[place % len(arms)], place, final, points[0], horizon))
    space = changed_study(
        synthetic_study(arms=tuple(arms), horizon=horizon),
        name=name,
        design=design,
        search={"trials": len(search), "sampler": "tpe"},
    )
    return RunTables(
        run=RunFolder(Path("runs/made-up")),
        space=space,
        registration=registered(space, **registration),
        trials=_frame(rows.trials, TRIAL_COLUMNS),
        curves=_frame(rows.curves, CURVE_COLUMNS),
        cost=_frame(cost, COST_COLUMNS),
        blocks=_frame(rows.blocks, BLOCK_COLUMNS),
        test_period=_frame((), TEST_COLUMNS),
        deviations=[],
    )


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """Rows in the types in which tables are read."""
    frame = pd.DataFrame(rows)
    for column in columns:
        if column.is_family or (rows and column.name not in frame):
            continue
        if column.name not in frame:
            frame[column.name] = None
        types = {TEXT: "str", INTEGER: "int64" if column.required else "Int64"}
        if column.type in types:
            frame = frame.astype({column.name: types[column.type]})
    return frame


def _design_trial(
    arm: str, scores: ArmScores, c: int, s: int, point: Mapping[str, Any], horizon: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    final, loss = float(scores.final[c, s]), math.exp(scores.log_loss[c, s])
    curve = synthetic_curve(final, early=float(scores.early[c, s]), loss=loss, epochs=horizon)
    status = COMPLETED if math.isfinite(final) else FAILED
    columns = {
        "arm": arm,
        "config_id": f"design{c:03d}",
        "seed": s + 1,
        "seconds_per_step": 0.03 if arm == PRETRAINED else 0.02,
        "lm_sha256": f"{arm} {s}",
        "head_sha256": f"head {s}",
        "order_sha256": f"order {s}",
        "mask_sha256": f"mask {s}",
    }
    status = DIVERGED if scores.diverged[c, s] else status
    return _ended(f"design-{c:03d}-{arm}-{s + 1}", status, curve, columns, point)


def _search_trial(
    arm: str, place: int, final: float, point: Mapping[str, Any], horizon: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    columns = {"stage": SEARCH, "arm": arm, "config_id": f"search{place:03d}", "seed": 0}
    status = COMPLETED if math.isfinite(final) else DIVERGED
    curve = synthetic_curve(final, loss=0.05, epochs=horizon)
    return _ended(f"search-{place:03d}-{arm}", status, curve, columns, point)


def _ended(
    trial_id: str,
    status: str,
    curve: list[dict[str, Any]],
    columns: dict[str, Any],
    point: Mapping[str, Any],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A trial's row and what it has of its curve."""
    end = {name: curve[-1][name] for name in ("val_loss", "val_correlation", "val_skill")}
    end |= {f"val_corr_{timeframe}": end["val_correlation"] for timeframe in TIMEFRAMES}
    if status != COMPLETED:
        curve, end = curve[:1], dict.fromkeys(end, math.nan)
        end["error"] = ERRORS[status]
    row = synthetic_trial(trial_id, **columns, **end, status=status, epochs=len(curve) - 1)
    row = {key: value for key, value in row.items() if not key.startswith(PARAMETER_PREFIX)}
    return row | {PARAMETER_PREFIX + key: value for key, value in point.items()}, curve


def _blocks_of(
    row: dict[str, Any], curve: list[dict[str, Any]], horizon: int
) -> Iterator[dict[str, Any]]:
    identity = {name: row[name] for name in IDENTITY}
    for epoch in (early_epoch(horizon), horizon):
        value = curve[epoch]["val_correlation"]
        for block in synthetic_blocks({"m1": value + 0.01, "m5": value - 0.01}, epoch=epoch):
            yield identity | block


# --- folders ---


def write_run(path: Path, tables: RunTables) -> RunFolder:
    """Write tables as the folder of a finished run."""
    run = RunFolder(path)
    path.mkdir(parents=True)
    space = tables.space.model_dump(mode="json", exclude_unset=True)
    run.space.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    registration = tables.registration.model_copy(
        update={"space_sha256": sha256_of_file(run.space)}
    )
    run.prereg.write_text(preregistration_text(registration), encoding="utf-8")
    for table, columns, file in (
        (tables.trials, TRIAL_COLUMNS, run.trials),
        (tables.curves, CURVE_COLUMNS, run.curves),
        (tables.blocks, BLOCK_COLUMNS, run.blocks),
        (tables.cost, COST_COLUMNS, run.cost),
    ):
        if len(table):
            absent = [one.name for one in columns if not one.is_family and one.name not in table]
            table.assign(**dict.fromkeys(absent)).to_parquet(file)
    return run


def write_synthetic_run(
    path: Path, *, arms: tuple[str, ...] = ARMS, configurations: int = 4, seeds: int = 2
) -> RunFolder:
    """A small finished run: the whole design, and one search trial per arm, the last one diverged.

    With its registration, the sums of its blocks and, if an arm is pretrained, its cost block.
    Design trial (arm a, configuration c, seed s) ends at correlation 0.91 - 0.01 a - 0.02 c +
    0.004 s, so the first arm's first configuration is the best.
    """
    c, s = np.mgrid[:configurations, 1 : seeds + 1]
    scores = {
        arm: arm_scores(0.91 - 0.01 * a - 0.02 * c + 0.004 * s, log_loss=np.full(c.shape, -2.3))
        for a, arm in enumerate(arms)
    }
    scores = {arm: each._replace(early=0.86 * each.final) for arm, each in scores.items()}
    tables = study_tables(
        scores,
        horizon=4,
        points=[{LR: 1e-3 * 2 ** (c % 4), PATCH: 4 if c % 2 else 8} for c in range(configurations)],
        search=[*(0.99 for _ in arms[1:]), math.nan],
        with_blocks=True,
        cost=synthetic_cost() if PRETRAINED in arms else (),
        name="synthetic",
    )
    return write_run(path, tables)


def write_rich_run(path: Path, *, configurations: int = 64, seeds: int = 2) -> RunFolder:
    """A finished run as large as a serious study, with scores that vary as real ones do.

    Of three arms and two language models; one trial of the design diverged, another failed.
    """
    generator = np.random.default_rng(0)
    points = [_drawn_point(generator) for _ in range(configurations)]
    luck = 0.015 * generator.standard_normal((len(ARMS), configurations, seeds))
    level, spread = (0.06, 0.0, 0.03), (0.7, 1.0, 0.9)
    scores = {}
    for place, arm in enumerate(ARMS):
        quality = 0.58 + level[place] + spread[place] * np.array([_distance(at) for at in points])
        final = quality[:, None] + luck[place]
        loss = 0.45 * (1 - 0.9 * final.clip(0))
        scores[arm] = arm_scores(final, early=0.7 * final, log_loss=np.log(loss))
    scores[RANDOM].diverged[1, 0] = True
    scores[SHUFFLED].final[3, 1] = math.nan
    ratios = 1 + 0.01 * np.sin(3 * np.arange(COST_ROUNDS))
    sizes = {"english-t5-nano": 1.08, SIZE: 1.31}
    tables = study_tables(
        scores,
        horizon=15,
        points=points,
        search=[0.6] * 16,
        with_blocks=True,
        cost=[row for size in sizes for row in synthetic_cost(sizes[size] * ratios, size=size)],
        name="rich",
    )
    return write_run(path, tables._replace(space=changed_study(tables.space, space=RICH_SPACE)))


def _drawn_point(generator: np.random.Generator) -> dict[str, Any]:
    return {
        LR: 10 ** generator.uniform(-4, -2),
        FACTOR: 10 ** generator.uniform(-1.5, 0.47),
        FREEZE: int(generator.integers(0, 4)),
        PATCH: int(generator.choice([4, 8, 16])),
    }


def _distance(point: dict[str, Any]) -> float:
    """What a point loses to the best: a ridge in lr, small patches better."""
    off = -0.06 * (math.log10(point[LR]) + 2.7) ** 2 - 0.02 * math.log10(point[FACTOR]) ** 2
    return off - 0.01 * point[FREEZE] - 0.015 * math.log2(point[PATCH] / 4)


# --- runs with a planted truth ---

GROWING = {"looks": [16, 32], "replicated": 4}


def arm_of_losses(losses: Any, **changes: Any) -> ArmScores:
    """An arm whose val_correlation is what its val_loss leaves to 1; early it is 0.7 of that."""
    final = 1 - np.asarray(losses)
    return arm_scores(final, early=0.7 * final, log_loss=np.log(losses))._replace(**changes)


def planted(seed: int = 0, *, configurations: int = 32, **losses: tuple[float, float, float]):
    """Arms on one surface: by arm the mean val_loss, its spread, and the noise of a seed."""
    generator = np.random.default_rng(seed)
    quality = generator.uniform(-1, 1, size=(configurations, 1))
    return {
        arm: arm_of_losses(
            mean + spread * quality + noise * generator.normal(size=(configurations, 2))
        )
        for arm, (mean, spread, noise) in losses.items()
    }


def _all_diverged() -> RunTables:
    arms = planted(pretrained=(0.4, 0.1, 0.01), random=(0.4, 0.1, 0.01))
    arms[PRETRAINED].diverged[:] = True
    return study_tables(arms, design=GROWING)


def _uncertain_control() -> RunTables:
    arms = planted(pretrained=(0.3, 0.1, 0.005), random=(0.5, 0.1, 0.005))
    scatter = np.random.default_rng(7).normal(scale=0.05, size=(32, 1))
    arms[SHUFFLED] = arm_of_losses(1 - arms[PRETRAINED].final + scatter - scatter.mean())
    return study_tables(arms, design=GROWING)


def _copies() -> RunTables:
    """A loss that eight configurations would show and four do not."""
    points = [{LR: rate, PATCH: length} for rate in (1e-3, 2e-3) for length in (4, 8)]
    random = np.array([0.4, 0.45, 0.5, 0.55])
    pretrained = random + np.array([0.01, 0.03, 0.02, 0.04])
    arms = {PRETRAINED: pretrained, RANDOM: random}
    twice = {arm: arm_of_losses(np.tile(losses, (2, 2)).T) for arm, losses in arms.items()}
    return study_tables(twice, points=2 * points)


def _fixed_draw(*, controls: bool) -> RunTables:
    """Weights that do not vary with the seed, in the place of the pretrained ones: no gain."""
    fixed, varying = (0.4, 0.1, 0.005), (0.4, 0.1, 0.02)
    arms = {PRETRAINED: fixed, RANDOM: varying, SHUFFLED: varying}
    if controls:
        arms |= {RANDOM_FIXED: fixed, SHUFFLED_FIXED: fixed}
    return study_tables(planted(**arms), design={"looks": [16, 32], "seeds": 2})


_SOUND = {PRETRAINED: (0.3, 0.1, 0.005), RANDOM: (0.5, 0.1, 0.005)}
PLANTED: dict[str, Callable[[], RunTables]] = {
    "nothing learned": lambda: study_tables(
        planted(
            pretrained=(0.98, 0.002, 0.001), random=(0.4, 0.1, 0.01), shuffled=(0.4, 0.1, 0.01)
        ),
        design=GROWING,
    ),
    "all diverged": _all_diverged,
    "flatter because worse": lambda: study_tables(
        planted(pretrained=(0.7, 0.09, 0.005), random=(0.4, 0.1, 0.005)), design=GROWING
    ),
    "fixed draw": lambda: _fixed_draw(controls=False),
    "fixed draw beside fixed arms": lambda: _fixed_draw(controls=True),
    "bad control": lambda: study_tables(
        planted(**_SOUND, shuffled=(0.6, 0.1, 0.005)), design=GROWING
    ),
    "good control": lambda: study_tables(
        planted(**_SOUND, shuffled=(0.25, 0.1, 0.005)), design=GROWING
    ),
    "uncertain control": _uncertain_control,
    "unfinished control": lambda: study_tables(
        {
            name: arm_of_losses(1 - arm.final[: 12 if name == SHUFFLED else 32])
            for name, arm in planted(**_SOUND, shuffled=(0.6, 0.1, 0.005)).items()
        },
        design=GROWING,
    ),
    "no control": lambda: study_tables(planted(**_SOUND), design=GROWING),
    "a loss at a ceiling": lambda: study_tables(
        planted(pretrained=(0.1, 0.02, 0.002), random=(0.08, 0.02, 0.002)), design=GROWING
    ),
    "four of eight distinct": _copies,
}
"""Runs by what is planted in them; `write_run` makes folders of them."""
