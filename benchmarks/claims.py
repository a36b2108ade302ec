"""Error rates and power of the tests of the claims, on made-up studies; the tables of the README.

    python benchmarks/claims.py [--studies 2000] [--processes 2]

Everything here is a count, so it does not depend on the machine's speed. Studies are played on
response surfaces over the space of search_spaces/transfer.yaml, on the points of Sobol sequences.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np

from stage1.claims.catalogue import (
    DEFINITIONS,
    EARLY_SIGNAL,
    ERROR_RATE,
    FAMILY_ERROR,
    SENSITIVITY,
    STABILITY,
    Definition,
)
from stage1.claims.error_rates import (
    UNEQUAL_NOISE,
    ErrorRates,
    Played,
    Share,
    any_false_finding,
    error_rates,
    levels,
    play,
)
from stage1.claims.intervals import ratio_interval
from stage1.claims.surfaces import Setting
from stage1.claims.synthetic import Draw, World, arms_of, at_look, draw_studies
from stage1.claims.verdicts import Verdict
from stage1.run.looks import DesignSize

SETTINGS = (
    Setting(0, ordered=True),
    Setting(0, ordered=True),
    Setting(4, ordered=True),
    Setting(2, ordered=True),
    Setting(2, ordered=False),
)
SIZE = DesignSize((16, 32, 64), seeds=2, replicated=4, grows=True)
TWICE = DesignSize((16, 32), seeds=2, grows=True)
TYPICAL = World(SETTINGS)
LESS_ALIKE = TYPICAL._replace(arm_correlation=0.8)
WORLDS = {
    "as the runs that were made": TYPICAL,
    "arms less alike": LESS_ALIKE,
    "rough": LESS_ALIKE._replace(roughness=0.6),
    "cliff in random": TYPICAL._replace(cliffs=(0.0, 5.0)),
    "cliff in pretrained": TYPICAL._replace(cliffs=(5.0, 0.0)),
    "cliff in both": TYPICAL._replace(cliffs=(5.0, 5.0)),
    "heavy tails (t4)": LESS_ALIKE._replace(heavy_tailed=True),
    "lognormal noise in pretrained": TYPICAL._replace(noise=0.015, noise_spread=(1.0, 0.0)),
    "three runs diverged": TYPICAL._replace(diverged=3),
}
RATIOS = (1.0, 0.8, 0.6, 0.5, 1.25)
ROOMY = World(SETTINGS, early_correlation=0.35, final_correlation=0.5)
OTHERS = {
    "Gaussian": ROOMY,
    "t4": ROOMY._replace(heavy_tailed=True),
    "noise unequal in one arm": ROOMY._replace(noise_spread=(1.0, 0.0)),
}


class Counted(NamedTuple):
    """What many studies of claim 1 say, in one world."""

    played: dict[float, list[tuple[tuple[Verdict, int], ...]]]
    """By ratio: verdict and side of the interval (-1, 0, 1) of each study at each look."""
    former: list[Share]
    """The former interval: how often it misses the true ratio of spreads, by look."""


def sides(played: Iterable[Played]) -> list[tuple[tuple[Verdict, int], ...]]:
    return [
        tuple((one.decision.verdict, int(one.effect.low > 0) - (one.effect.high < 0)) for one in s)
        for s in played
    ]


def former_misses(draw: Draw, world: World) -> Iterator[bool]:
    """Whether Fieller's interval of the variances misses their true ratio, at every look.

    The former interval of claim 1, where noise is too small to matter.
    """
    scale = draw.deviations / draw.gaps
    truth = (scale[0] / scale[1]) ** 2
    arms = arms_of(draw, world)
    for look, level in zip(SIZE.looks, levels(SIZE), strict=True):
        values = [
            pseudo_values(np.nanmean(arm.log_loss, axis=1)) for arm in at_look(arms, draw, look)
        ]
        interval = ratio_interval(*values, error_rate=level)
        yield not interval.low <= truth <= interval.high


def pseudo_values(scores: np.ndarray) -> np.ndarray:
    """The jackknife's, of a variance."""
    n = len(scores)
    squares = np.square(scores - scores.mean())
    without = (squares.sum() - squares * n / (n - 1)) / (n - 2)
    return n * squares.sum() / (n - 1) - (n - 1) * without


def play_world(job: tuple[str, int]) -> tuple[str, Counted]:
    name, studies = job
    world = WORLDS[name]
    draws = draw_studies(world, SIZE, studies=studies, seed=len(name))
    played = {ratio: sides(play(draws, world, SIZE, SENSITIVITY, 1 - ratio)) for ratio in RATIOS}
    missed = np.array([list(former_misses(draw, world)) for draw in draws])
    former = [Share(int(hits), studies) for hits in missed.sum(axis=0)]
    return name, Counted(played, former)


def play_others(job: tuple[str, str, int]) -> tuple[tuple[str, str], tuple]:
    """Error rates of claims 2 to 6, and of 1 for the family of all, by world and claim.

    Without their definition, whose functions no process can send to another.
    """
    tails, number, studies = job
    draws = draw_studies(OTHERS[tails], TWICE, studies=studies, seed=1)
    rates = error_rates(draws, OTHERS[tails], TWICE, definition_of(number), seed=1)
    return (tails, number), rates[1:]


def definition_of(number: str) -> Definition:
    return next(one for one in DEFINITIONS if one.number == number)


def print_false_alarms(counted: dict[str, Counted]) -> None:
    print("## Claim 1: a ratio of 1\n")
    print(
        "The interval excludes that, by the look's own level; in brackets the former interval "
        "(Fieller on the spreads) against the true ratio of spreads.\n"
    )
    allowed = [f"{level:.3%}" for level in levels(SIZE)]
    print_row(["world", *(f"{look} configurations" for look in SIZE.looks), "at any look"])
    print_row(["---"] * (len(SIZE.looks) + 2))
    print_row(["allowed", *allowed, f"{ERROR_RATE:.2%}"])
    for name, counts in counted.items():
        played = counts.played[1.0]
        cells = []
        for place, level in enumerate(levels(SIZE)):
            share = share_of(study[place][1] != 0 for study in played)
            cells.append(f"{marked(share, level)} ({counts.former[place].value:.1%})")
        ever = share_of(any(side for _, side in study) for study in played)
        print_row([name, *cells, marked(ever, ERROR_RATE)])
    print()


def print_edge(counted: dict[str, Counted]) -> None:
    print("## Claim 1: a true reduction of exactly 20 %\n")
    print(f"SUPPORTED / NOT SUPPORTED at any look; allowed {ERROR_RATE / 2:.2%} each\n")
    print_row(["world", "SUPPORTED", "NOT SUPPORTED or CONTRADICTED"])
    print_row(["---"] * 3)
    for name, counts in counted.items():
        wrong = [
            share_of(
                any(verdict in verdicts for verdict, _ in study) for study in counts.played[0.8]
            )
            for verdicts in (
                (Verdict.SUPPORTED,),
                (Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED),
            )
        ]
        print_row([name, *(marked(share, ERROR_RATE / 2) for share in wrong)])
    print()


def print_power(counted: dict[str, Counted]) -> None:
    decisive = (Verdict.SUPPORTED, Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED)
    print("## Claim 1: power\n")
    print(
        "Direction seen / SUPPORTED / NOT SUPPORTED at a look, by its own level; then the share "
        "decided by each look, and the trainings of two arms until then.\n"
    )
    looks = [f"{look}" for look in SIZE.looks]
    decided = [f"decided by {look}" for look in SIZE.looks]
    print_row(["world", "true ratio", *looks, *decided, "trainings"])
    print_row(["---"] * (2 * len(looks) + 3))
    for name, counts in counted.items():
        for ratio, played in counts.played.items():
            at_looks, ends = [], []
            for place in range(len(SIZE.looks)):
                column = [study[place] for study in played]
                right = 1 if ratio < 1 else -1
                at_looks.append(
                    f"{share_of(side == right for _, side in column).value:.0%} / "
                    f"{share_of(v is Verdict.SUPPORTED for v, _ in column).value:.0%} / "
                    f"{share_of(v is Verdict.NOT_SUPPORTED for v, _ in column).value:.0%}"
                )
            for study in played:
                found = (n for n, (verdict, _) in enumerate(study) if verdict in decisive)
                ends.append(next(found, len(study)))
            by = [f"{np.mean(np.array(ends) <= n):.0%}" for n in range(len(SIZE.looks))]
            last = len(SIZE.looks) - 1
            trainings = np.mean([2 * SIZE.pairs(SIZE.looks[min(end, last)]) for end in ends])
            print_row([name, f"{ratio:g}", *at_looks, *by, f"{trainings:.0f}"])
    print()


def print_others(rates: dict[tuple[str, str], ErrorRates]) -> None:
    print(f"## All claims, looks {', '.join(map(str, TWICE.looks))}, two seeds each\n")
    print(
        f"No effect: a direction is found at any look (allowed {ERROR_RATE:.2%}) / effect exactly "
        f"as claimed: SUPPORTED (allowed {ERROR_RATE / 2:.2%}) / there the direction is seen. "
        f"Stability may err in {UNEQUAL_NOISE:.0%} where noise is unequal in one arm.\n"
    )
    print_row(["claim", *OTHERS])
    print_row(["---"] * (len(OTHERS) + 1))
    for definition in DEFINITIONS:
        cells = []
        for tails in OTHERS:
            one = rates[tails, definition.number]
            unequal = definition is STABILITY and tails not in ("Gaussian", "t4")
            most = UNEQUAL_NOISE if unequal else ERROR_RATE
            at = one.at_claimed
            edge = "not possible" if at is None else marked(at.supported, most / 2)
            seen = "" if at is None else f" / {at.positive.value:.0%}"
            cells.append(f"{marked(one.without_effect.found, most)} / {edge}{seen}")
        print_row([definition.registered_name, *cells])
    family = []
    for tails in OTHERS:
        fewest = min(len(one.false_findings) for (t, _), one in rates.items() if t == tails)
        cut = [
            one._replace(false_findings=one.false_findings[:fewest])
            for (t, _), one in rates.items()
            if t == tails
        ]
        family.append(marked(any_false_finding(cut), FAMILY_ERROR))
    print_row([f"at least one of the six (allowed {FAMILY_ERROR:.0%})", *family])
    print()


def share_of(hits: Iterable[bool]) -> Share:
    every = list(hits)
    return Share(sum(every), len(every))


def marked(share: Share, allowed: float) -> str:
    """A share with its error, and whether it is more than three of them above what it may be."""
    return f"{share.value:.2%} ±{share.error:.2%}{' ABOVE' if share.exceeds(allowed) else ''}"


def print_row(cells: Iterable[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    studies = options.studies
    print(f"{studies} made-up studies per number.\n")
    ranks = math.ceil(studies / 5)  # the bootstrap takes long
    with Pool(options.processes) as pool:
        jobs = [(name, studies) for name in WORLDS]
        counted = dict(pool.imap(play_world, jobs, chunksize=1))
        print_false_alarms(counted)
        print_edge(counted)
        print_power(counted)
        others = [
            (tails, one.number, ranks if one is EARLY_SIGNAL else studies)
            for tails in OTHERS
            for one in DEFINITIONS
        ]
        played = pool.imap(play_others, others, chunksize=1)
        print_others({key: ErrorRates(definition_of(key[1]), *rates) for key, rates in played})


if __name__ == "__main__":
    main()
