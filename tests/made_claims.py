"""Claims, evaluations and outlooks made by hand, for tests of what shows them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from stage1.claims.catalogue import DEFINITIONS, ERROR_RATE
from stage1.claims.claim import Claim
from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.claims.judge import Evaluation
from stage1.claims.scores import Scores
from stage1.claims.step_cost import SizeCost
from stage1.claims.verdicts import ATTRIBUTABLE, Verdict
from stage1.plan.outlook import Outlook, Prospect

BY_NUMBER = {definition.number: definition for definition in DEFINITIONS}


def made_claim(number: str = "1", /, **changes: Any) -> Claim:
    """A supported claim of 25 % in [21 %, 29 %], p = 0.001 of the interval; `changes` replace."""
    fields: dict[str, Any] = {
        "definition": BY_NUMBER[number],
        "arm_pair": ("pretrained", "random"),
        "claimed": 0.2,
        "interval": Interval(0.25, 0.21, 0.29, 0.001),
        "verdict": Verdict.SUPPORTED,
        "reason": "",
        "attribution": ATTRIBUTABLE,
        "sentence": "It is so.",
        "shown": {},
        "robustness": {},
        "look": 32,
        "level": ERROR_RATE,
    }
    return Claim(**fields | changes)


def made_cost(size: str, ratio: Interval, *, patch_len: int = 8, seconds: float = 0.05) -> SizeCost:
    """The cost of a size without a GPU."""
    return SizeCost(
        size=size,
        patch_len=patch_len,
        rounds=6,
        ratio=ratio,
        seconds_per_step=(seconds, seconds / ratio.estimate),
        memory_mb=(700.0, 650.0),
        gpu_memory_mb=(math.nan, math.nan),
    )


def made_scores(
    correlation: dict[str, Any], *, early_epoch: int = 1, diverged: dict[str, Any] | None = None
) -> Scores:
    """Scores of two arms or more from (configurations, seeds, epochs) each; log val_loss = -r."""
    arrays = {arm: np.asarray(values, dtype=float) for arm, values in correlation.items()}
    shape = next(iter(arrays.values())).shape
    names = tuple(f"c{place}" for place in range(shape[0]))
    none = np.zeros(shape[:2], dtype=bool)
    return Scores(
        configurations=names,
        seeds=tuple(range(1, shape[1] + 1)),
        epochs=np.arange(shape[2]),
        early_epoch=early_epoch,
        values=pd.DataFrame(index=list(names)),
        correlation=arrays,
        log_loss={arm: -values for arm, values in arrays.items()},
        diverged={arm: none for arm in arrays} | (diverged or {}),
        timeframes={arm: np.zeros((*shape[:2], 1)) for arm in arrays},
        timeframe_names=("m1",),
        planned=np.ones(shape[:2], dtype=bool),
        left_out={},
        zero_log_loss=0.0,
    )


def made_evaluation(**changes: Any) -> Evaluation:
    """Six supported claims of a study without costs, warnings or deviations."""
    fields: dict[str, Any] = {
        "scores": made_scores({"pretrained": np.zeros((2, 2, 3)), "random": np.zeros((2, 2, 3))}),
        "claims": [made_claim(str(number)) for number in range(1, 7)],
        "beside": [],
        "costs": [],
        "deviations": [],
        "warnings": [],
        "checks": [],
        "looks": [],
    }
    return Evaluation(**fields | changes)


def read_strictly(text: str) -> Any:
    """What a JSON text holds, which must be strict: NaN and Infinity are none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def unknown_claim(number: str, reason: str) -> Claim:
    """A claim that cannot be evaluated."""
    return made_claim(
        number,
        interval=NO_INTERVAL,
        verdict=Verdict.NOT_EVALUABLE,
        reason=reason,
        sentence=f"This study cannot tell: {reason}.",
    )


def made_outlook(
    definition,
    *,
    looks=(16, 32),
    decided=((0.05, 0.4), (0.0, 0.0), (0.1, 0.5)),
    direction=0.9,
    obstacle="",
    needed=(),
) -> Outlook:
    """What a plan tells of a claim; `decided` by look, of each effect that is possible."""
    prospects = tuple(
        Prospect(
            times * definition.claimed,
            decided=list(shares),
            direction=direction if times else 0.0,
            trainings=36.0 - times,
        )
        for times, shares in enumerate(decided)
    )
    return Outlook(definition, looks, prospects, obstacle, needed)
