"""Error rates and power of the tests of the claims, on made-up studies; the tables of the README.

    python benchmarks/claims.py [--studies 2000] [--processes 2]

Everything here is a count, so it does not depend on the machine's speed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np

from stage1.claims.catalogue import (
    ABOUT_SCORES,
    DEFINITIONS,
    EARLY_SIGNAL,
    ERROR_RATE,
    FAMILY_ERROR,
    SENSITIVITY,
    STABILITY,
    Definition,
    Unit,
)
from stage1.claims.error_rates import Counts, Share, any_false_finding, simulate
from stage1.claims.intervals import Interval, ratio_interval, student_interval
from stage1.claims.spread import seed_variance_ratio
from stage1.claims.synthetic import ALIKE, ScoreModel, draw_studies
from stage1.claims.tuning_value import tuning_value

CONFIGURATIONS = (8, 16, 32, 64)
EFFECTS = {
    "sensitivity": (0.2, 0.3, 0.4, 0.5, 0.75),
    "early gain": (0.05, 0.1, 0.2),
    "gain at the horizon": (0.05, 0.1, 0.2),
    "stability": (0.2, 0.5, 0.7, 0.9),
    "early signal": (0.1, 0.15),
}
RANK_POWER_STUDIES = 500


class Job(NamedTuple):
    number: str
    configurations: int
    heavy_tailed: bool
    effect: float
    studies: int


BY_NUMBER = {definition.number: definition for definition in DEFINITIONS}


def model(number: str, configurations: int, *, heavy_tailed: bool) -> ScoreModel:
    """Seeds agree better where ranks are asked for: below that, claim 5 cannot be evaluated."""
    reliability = 0.9 if number == EARLY_SIGNAL.number else 0.7
    return ScoreModel(configurations, seeds=2, reliability=reliability, heavy_tailed=heavy_tailed)


def run(job: Job) -> tuple[Job, Counts]:
    of = model(job.number, job.configurations, heavy_tailed=job.heavy_tailed)
    definition = BY_NUMBER[job.number]
    seed = hash((job.configurations, job.heavy_tailed, round(1000 * job.effect))) % 2**31
    counts = simulate(of, definition, job.effect, studies=job.studies, seed=seed)
    return job, counts


def run_family(job: Job) -> tuple[Job, Share]:
    of = ScoreModel(job.configurations, 2, reliability=0.9, heavy_tailed=job.heavy_tailed)
    return job, any_false_finding(of, studies=job.studies, seed=job.configurations)


def percent(share: Share) -> str:
    return f"{share.value:.2%} ±{share.error:.2%}"


def print_error_rates(pool: Pool, studies: int) -> None:
    jobs = [
        Job(one.number, number, heavy, effect, studies)
        for one in DEFINITIONS
        for number in CONFIGURATIONS
        for heavy in (False, True)
        for effect in (0.0, edge(one))
        if number >= one.effort.least_configurations
    ]
    rates = dict(pool.imap_unordered(run, jobs))
    print("## Error rates\n")
    for title, at_claimed, allowed in (
        ("No effect: the interval excludes that", False, ERROR_RATE),
        ("Effect exactly as claimed: SUPPORTED", True, ERROR_RATE / 2),
    ):
        print(f"{title}; allowed {allowed:.2%}\n")
        header = [f"{n}, {tails}" for n in CONFIGURATIONS for tails in ("Gaussian", "t4")]
        print_row(["claim", *header])
        print_row(["---"] * (len(header) + 1))
        for one in DEFINITIONS:
            cells = []
            for number in CONFIGURATIONS:
                for heavy in (False, True):
                    effect = edge(one) if at_claimed else 0.0
                    counts = rates.get(Job(one.number, number, heavy, effect, studies))
                    cells.append(in_cell(counts, at_claimed, allowed))
            print_row([one.registered_name, *cells])
        print()


def edge(definition: Definition) -> float:
    """The effect that is just what is claimed, as `simulate` takes it."""
    return definition.claimed if definition.planted else 0.0


def in_cell(counts: Counts | None, at_claimed: bool, allowed: float) -> str:
    if counts is None:
        return "not evaluable"
    share = counts.supported if at_claimed else counts.found
    return f"{percent(share)}{' DEFECT' if share.exceeds(allowed) else ''}"


def print_family(pool: Pool, studies: int) -> None:
    jobs = [
        Job("", number, heavy, 0.0, studies) for number in CONFIGURATIONS for heavy in (False, True)
    ]
    print(f"At least one of the six errs; allowed {FAMILY_ERROR:.0%}\n")
    print_row(["configurations", "Gaussian", "t4"])
    print_row(["---"] * 3)
    shares = {job[1:3]: share for job, share in pool.imap_unordered(run_family, jobs)}
    for number in CONFIGURATIONS:
        print_row([str(number), *(percent(shares[number, heavy]) for heavy in (False, True))])
    print()


def print_power(pool: Pool, studies: int) -> None:
    jobs = [
        Job(one.number, number, False, effect, few(one, studies))
        for one in ABOUT_SCORES
        for effect in EFFECTS[one.name]
        for number in CONFIGURATIONS
        if number >= one.effort.least_configurations
    ]
    counts = dict(pool.imap_unordered(run, jobs))
    print("## Power: direction seen / SUPPORTED\n")
    print_row(["claim", "true effect", *(f"{n} configurations" for n in CONFIGURATIONS)])
    print_row(["---"] * (len(CONFIGURATIONS) + 2))
    for one in ABOUT_SCORES:
        for effect in EFFECTS[one.name]:
            cells = []
            for number in CONFIGURATIONS:
                key = Job(one.number, number, False, effect, few(one, studies))
                found = counts.get(key)
                cells.append(
                    f"{found.positive.value:.2f} / {found.supported.value:.2f}"
                    if found
                    else "not evaluable"
                )
            size = f"{effect:.0%}" if one.unit is Unit.SHARE else f"{effect:.2f}"
            print_row([one.registered_name, size, *cells])
    print()


def few(definition: Definition, studies: int) -> int:
    return min(studies, RANK_POWER_STUDIES) if definition is EARLY_SIGNAL else studies


def former_interval(first: np.ndarray, second: np.ndarray) -> Interval:
    """The way not taken for claim 1: Fieller's interval of noise-free variances' pseudo-values."""
    arms = np.stack([first, second])
    n, seeds = arms.shape[1:]

    def variance(scores: np.ndarray) -> np.ndarray:
        noise = scores.var(-1, ddof=1) / seeds
        return scores.mean(-1).var(-1, ddof=1) - noise.mean(-1)

    without = np.stack([variance(np.delete(arms, place, axis=1)) for place in range(n)], axis=1)
    values = n * variance(arms)[:, None] - (n - 1) * without
    return ratio_interval(values[0], values[1], error_rate=ERROR_RATE)


def log_seed_interval(first: np.ndarray, second: np.ndarray) -> Interval:
    """The way not taken for claim 4: all degrees of freedom."""
    arms = np.stack([first, second])

    def log_ratio(scores: np.ndarray) -> float:
        totals = scores.var(-1, ddof=1).sum(-1)
        return math.log(totals[0] / totals[1])

    return jackknife(arms, log_ratio, degrees=arms.shape[1] - 1)


def jackknife(arms: np.ndarray, statistic, *, degrees: float) -> Interval:
    n = arms.shape[1]
    each = np.array([statistic(np.delete(arms, place, axis=1)) for place in range(n)])
    error = math.sqrt((n - 1) / n * np.square(each - each.mean()).sum())
    return student_interval(statistic(arms), error, degrees=degrees, error_rate=ERROR_RATE)


def compare_ways(job: Job) -> tuple[Job, list[float]]:
    """Shares of studies in which (ours, the other way) find a smaller spread, or any difference."""
    of = ScoreModel(job.configurations, 2, heavy_tailed=job.heavy_tailed)
    planted = BY_NUMBER[job.number].planted
    first_arm = planted.shape(of, job.effect) if job.effect else ALIKE
    hits = np.zeros(2)
    generator = np.random.default_rng(7)
    for first, second in draw_studies(of, first_arm, studies=job.studies, generator=generator):
        pair = (first.log_loss, second.log_loss)
        if job.number == SENSITIVITY.number:
            ours = tuning_value(*(-arm for arm in pair), error_rate=ERROR_RATE).ratio
            other, null = former_interval(*pair), 1.0
        else:
            ours = seed_variance_ratio(*pair, error_rate=ERROR_RATE)
            other, null = log_seed_interval(*pair), 0.0
        hits += [one.high < null or one.low > null for one in (ours, other)]
    return job, list(hits / job.studies)


def print_ways(pool: Pool, studies: int) -> None:
    print("## Why these intervals: share of studies in which a difference is found\n")
    print_row(["claim", "configurations", "scores", "true effect", "ours", "the other way"])
    print_row(["---"] * 6)
    jobs = [
        Job(one.number, number, heavy, effect, studies)
        for one, effects in ((SENSITIVITY, (0.0, 0.5, 0.75)), (STABILITY, (0.0, 0.7)))
        for effect in effects
        for number in (16, 64)
        for heavy in (False, True)
    ]
    for job, shares in pool.imap(compare_ways, jobs):
        tails = "t4" if job.heavy_tailed else "Gaussian"
        cells = [f"{share:.2%}" for share in shares]
        print_row(
            [
                BY_NUMBER[job.number].name,
                str(job.configurations),
                tails,
                f"{job.effect:.0%}",
                *cells,
            ]
        )
    print()
    print(
        "The other way: sensitivity, Fieller's interval of the spreads without the seeds' noise; "
        "stability, the same interval with all N - 1 degrees of freedom.\n"
    )


def print_row(cells: Iterable[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.studies} made-up studies per number, 2 seeds.\n")
    with Pool(options.processes) as pool:
        print_error_rates(pool, options.studies)
        print_family(pool, options.studies)
        print_power(pool, options.studies)
        print_ways(pool, min(options.studies, 2000))


if __name__ == "__main__":
    main()
