"""All claims of a run, from its tables to verdicts."""

from __future__ import annotations

import math
from typing import NamedTuple

from stage1.claims.also_shown import also_shown
from stage1.claims.catalogue import BESIDE, DEFINITIONS
from stage1.claims.claim import ATTRIBUTABLE, NO_GAIN, NOT_ATTRIBUTABLE, NOT_TESTED, Claim
from stage1.claims.finding import CLAIMED, COST, Definition, Finding, too_few_finite
from stage1.claims.intervals import NO_INTERVAL
from stage1.claims.scores import RunTables, Scores, design_scores
from stage1.claims.second_opinions import block_intervals, label_swaps, log_scale
from stage1.claims.sentences import (
    COST_ESTIMAND,
    ERROR_REDUCTION,
    ESTIMANDS,
    claim_sentence,
    cost_sentence,
)
from stage1.claims.soundness import (
    baseline_warning,
    deviations,
    divergence_warnings,
    pairing_checks,
    pairing_warnings,
    same_weights,
    unfinished,
    without_fingerprint,
)
from stage1.claims.step_cost import SizeCost, size_costs
from stage1.claims.verdicts import Decision, Verdict, decide_cost
from stage1.run.columns import (
    DESIGN,
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    SHUFFLED,
    VANILLA,
)
from stage1.run.summary import cautions

LEAST_ROUNDS = 5
"""Timings below which the cost is not judged."""
LABEL_SWAP, TIME_BLOCKS = "label swap", "blocks of validation time"
LOG_SCALE = "the same ratio on the log scale"


class Evaluation(NamedTuple):
    """What a run says."""

    scores: Scores
    claims: list[Claim]
    """The six, in order."""
    beside: list[Claim]
    """Lines beside them, such as the error reductions."""
    costs: list[SizeCost]
    """Every T5 size that was timed, cheapest first."""
    deviations: list[str]
    """Where the run is not what was preregistered, in words."""
    warnings: list[str]
    """What stands above every verdict, in words."""
    checks: list[tuple[str, str]]
    """What was to be equal (or different) between arms, and whether it is."""


def evaluate(tables: RunTables) -> Evaluation:
    """Test the claims on a run, however far it has come."""
    registration = tables.registration
    scores = design_scores(tables.trials, tables.curves, tables.space, registration)
    roles = {role: arm for role, arm in registration.roles.items() if arm in scores.correlation}
    margin = registration.cost.margin if registration.cost else math.nan
    level = registration.level
    costs = size_costs(tables.cost, margin=margin, error_rate=level) if registration.cost else []
    comparison = _Comparison(tables, scores, roles)
    checks = pairing_checks(tables)
    baseline = baseline_warning(tables, roles[PRETRAINED]) if PRETRAINED in roles else ""
    warnings = (
        baseline,
        *divergence_warnings(scores),
        *pairing_warnings(checks),
        *cautions(tables.trials, tables.space),
    )
    claims = [*comparison.claims(DEFINITIONS), _cost_claim(tables, costs)]
    beside = comparison.claims(BESIDE, on_errors=True)
    return Evaluation(
        scores=scores,
        claims=[claim._replace(warning=baseline) for claim in claims],
        beside=[claim._replace(warning=baseline) for claim in beside],
        costs=costs,
        deviations=deviations(tables),
        warnings=[text for text in warnings if text],
        checks=checks,
    )


class _Comparison:
    """The pretrained arm against the random one, with its controls."""

    def __init__(self, tables: RunTables, scores: Scores, roles: dict[str, str]) -> None:
        self.pair = (roles.get(PRETRAINED, PRETRAINED), roles.get(RANDOM, RANDOM))
        self._arms = {role: scores.arm(arm) for role, arm in roles.items()}
        self._error_rate = tables.registration.level
        self._too_early = unfinished(tables)
        self._obstacle = self._find_obstacle(tables)
        self._shown: dict[str, dict[str, float]] = {}
        self._opinions: dict[str, dict[str, str]] = {}
        if self._both and not self._too_early:
            fixed = roles.get(RANDOM_FIXED)
            self._shown = also_shown(tables, scores, self.pair, fixed=fixed)
            pair = (self._arms[PRETRAINED], self._arms[RANDOM])
            self._opinions = {
                LOG_SCALE: log_scale(*pair, error_rate=self._error_rate),
                LABEL_SWAP: label_swaps(*pair),
                TIME_BLOCKS: block_intervals(
                    tables.blocks, scores, self.pair, error_rate=self._error_rate
                ),
            }

    @property
    def _both(self) -> bool:
        return PRETRAINED in self._arms and RANDOM in self._arms

    def _find_obstacle(self, tables: RunTables) -> str:
        """Why no claim about scores can be judged; empty if there is no reason."""
        for role in (PRETRAINED, RANDOM):
            if role not in self._arms:
                return f"the study has no {role} arm"
        return (
            self._too_early
            or without_fingerprint(tables, self.pair)
            or same_weights(tables, self.pair)
            or too_few_finite(self._arms[PRETRAINED], self._arms[RANDOM])
            or self._alarm()
        )

    def claims(self, definitions: dict[str, Definition], *, on_errors: bool = False) -> list[Claim]:
        """Every claim of `definitions`, tested."""
        numbers = {name: str(place) for place, name in enumerate(DEFINITIONS, start=1)}
        suffix = "b" if on_errors else ""
        return [
            self._claim(numbers[name] + suffix, name, definition, on_errors=on_errors)
            for name, definition in definitions.items()
        ]

    def _claim(self, number: str, name: str, definition: Definition, *, on_errors: bool) -> Claim:
        finding = self._finding(definition)
        verdict, reason = finding.decision
        opinions = {} if on_errors else self._opinions
        return Claim(
            id=number,
            name=name,
            arm_pair=self.pair,
            estimand=ERROR_REDUCTION if on_errors else ESTIMANDS[name],
            claimed=CLAIMED[name],
            interval=finding.effect,
            verdict=verdict,
            reason=reason,
            attribution=self._attribution(definition, verdict),
            sentence=claim_sentence(
                name,
                arms=self.pair,
                effect=finding.effect,
                claimed=CLAIMED[name],
                verdict=verdict,
                reason=reason,
                on_errors=on_errors,
            ),
            shown=self._named(finding.shown) | ({} if on_errors else self._shown.get(name, {})),
            robustness={kind: lines[name] for kind, lines in opinions.items() if name in lines},
        )

    def _named(self, shown: dict[str, float]) -> dict[str, float]:
        """Numbers by the arms' names; a definition knows only a first and a second arm."""
        first, second = self.pair
        return {
            name.replace("first arm", first).replace("second arm", second): value
            for name, value in shown.items()
        }

    def _finding(self, definition: Definition) -> Finding:
        if not self._both or self._too_early:  # no look before the end
            return Finding(NO_INTERVAL, Decision(Verdict.NOT_EVALUABLE, self._obstacle), {})
        finding = self._tested(definition, PRETRAINED, RANDOM)
        if not self._obstacle:
            return finding
        return finding._replace(decision=Decision(Verdict.NOT_EVALUABLE, self._obstacle))

    def _tested(self, definition: Definition, first: str, second: str) -> Finding:
        return definition(self._arms[first], self._arms[second], error_rate=self._error_rate)

    def _alarm(self) -> str:
        """What to say where two random arms differ, which they cannot; else empty."""
        if RANDOM_AGAIN not in self._arms:
            return ""
        effects = {
            name: self._tested(definition, RANDOM_AGAIN, RANDOM).effect
            for name, definition in DEFINITIONS.items()
        }
        differ = [name for name, effect in effects.items() if effect.low > 0 or effect.high < 0]
        if not differ:
            return ""
        return (
            f"two random arms differ in {', '.join(differ)} by these very tests, so something "
            "else than the weights varies"
        )

    def _attribution(self, definition: Definition, verdict: Verdict) -> str:
        """Whether the pretrained arm also beats the shuffled one."""
        if SHUFFLED not in self._arms or verdict is Verdict.NOT_EVALUABLE:
            return NOT_TESTED
        if verdict is Verdict.CONTRADICTED:
            return NO_GAIN
        effect = self._tested(definition, PRETRAINED, SHUFFLED).effect
        if not effect.bounded:
            return f"{NOT_TESTED}: the comparison with {SHUFFLED} weights has no interval"
        return ATTRIBUTABLE if effect.low > 0 else NOT_ATTRIBUTABLE


def _cost_claim(tables: RunTables, costs: list[SizeCost]) -> Claim:
    plan = tables.registration.cost
    planned = (plan.size, plan.patch_len) if plan else None
    timed = [cost for cost in costs if (cost.size, cost.patch_len) == planned]
    margin = plan.margin if plan else math.nan
    if plan is None:
        interval, decision = NO_INTERVAL, Decision(Verdict.NOT_EVALUABLE, "the study has no T5")
    elif not timed:
        interval = NO_INTERVAL
        decision = Decision(
            Verdict.NOT_EVALUABLE,
            unfinished(tables) or f"{plan.size} was not timed against the vanilla encoder",
        )
    else:
        interval = timed[0].ratio
        decision = decide_cost(interval, margin=margin)
        if timed[0].rounds < LEAST_ROUNDS:
            few = f"needs {LEAST_ROUNDS} rounds of timing, got {timed[0].rounds}"
            decision = Decision(Verdict.NOT_EVALUABLE, few)
    if plan and decision.verdict is not Verdict.NOT_EVALUABLE:
        sentence = cost_sentence(plan.size, interval, margin=margin, verdict=decision.verdict)
    else:
        sentence = f"This study cannot tell: {decision.reason}."
    return Claim(
        id=str(len(DEFINITIONS) + 1),
        name=COST,
        arm_pair=(tables.registration.roles.get(PRETRAINED, PRETRAINED), VANILLA),
        estimand=COST_ESTIMAND,
        claimed=margin,
        interval=interval,
        verdict=decision.verdict,
        reason=decision.reason,
        attribution="",
        sentence=sentence,
        shown=(_cost_numbers(timed[0]) if timed else {}) | _seconds_of_trials(tables),
        robustness={},
    )


def _cost_numbers(cost: SizeCost) -> dict[str, float]:
    return {
        "ms per step, T5": 1000 * cost.seconds_per_step[0],
        "ms per step, vanilla encoder": 1000 * cost.seconds_per_step[1],
        "peak memory, T5 (MB)": cost.memory_mb[0],
        "peak memory, vanilla encoder (MB)": cost.memory_mb[1],
        "peak GPU memory, T5 (MB)": cost.gpu_memory_mb[0],
        "peak GPU memory, vanilla encoder (MB)": cost.gpu_memory_mb[1],
    }


def _seconds_of_trials(tables: RunTables) -> dict[str, float]:
    """A check: pretrained and random weights cost the same, by construction."""
    roles = tables.registration.roles
    if not {PRETRAINED, RANDOM} <= set(roles):
        return {}
    seconds = tables.trials[tables.trials["stage"] == DESIGN].groupby("arm")["seconds_per_step"]
    means = seconds.mean().reindex([roles[PRETRAINED], roles[RANDOM]]).to_numpy()
    name = f"seconds per step of trials, {roles[PRETRAINED]} / {roles[RANDOM]}"
    return {name: float(means[0] / means[1])}
