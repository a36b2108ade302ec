"""All claims of a run, from its tables to verdicts."""

from __future__ import annotations

import math
from typing import NamedTuple

from stage1.claims.catalogue import ABOUT_SCORES, COST, DEFINITIONS, Definition
from stage1.claims.claim import Claim, cost_sentence, score_sentence
from stage1.claims.further_numbers import further_numbers, seconds_of_trials
from stage1.claims.intervals import NO_INTERVAL
from stage1.claims.robustness import robustness_lines
from stage1.claims.scores import RunTables, Scores, design_scores, too_few_finite
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
from stage1.claims.step_cost import SizeCost, judge_cost, size_costs
from stage1.claims.verdicts import (
    ATTRIBUTABLE,
    NO_GAIN,
    NOT_ATTRIBUTABLE,
    NOT_TESTED,
    Finding,
    Verdict,
    cannot_tell,
    not_evaluable,
)
from stage1.run.columns import (
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    SHUFFLED,
    VANILLA,
)
from stage1.run.summary import cautions


class Evaluation(NamedTuple):
    """What a run says."""

    scores: Scores
    claims: list[Claim]
    """The plan's, in order."""
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

    @property
    def lines(self) -> list[Claim]:
        """The claims in order, each before the lines beside it."""
        every = [*self.claims, *self.beside]
        return sorted(every, key=lambda claim: DEFINITIONS.index(claim.definition))


def evaluate(tables: RunTables) -> Evaluation:
    """Test the claims on a run, however far it has come."""
    registration = tables.registration
    scores = design_scores(tables.trials, tables.curves, tables.space, registration)
    roles = {role: arm for role, arm in registration.roles.items() if arm in scores.correlation}
    margin = registration.cost.margin if registration.cost else math.nan
    level = registration.level
    costs = size_costs(tables.cost, margin=margin, error_rate=level) if registration.cost else []
    checks = pairing_checks(tables)
    baseline = baseline_warning(tables, roles[PRETRAINED]) if PRETRAINED in roles else ""
    warnings = (
        baseline,
        *divergence_warnings(scores),
        *pairing_warnings(checks),
        *cautions(tables.trials, tables.space),
    )
    comparison = _Comparison(tables, scores, roles)
    lines = [
        _cost_claim(tables, costs) if definition is COST else comparison.claim(definition)
        for definition in DEFINITIONS
    ]
    lines = [claim._replace(warning=baseline) for claim in lines]
    return Evaluation(
        scores=scores,
        claims=[claim for claim in lines if not claim.definition.beside],
        beside=[claim for claim in lines if claim.definition.beside],
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
        self._robustness: dict[str, dict[str, str]] = {}
        if self._both and not self._too_early:
            fixed = roles.get(RANDOM_FIXED)
            self._shown = further_numbers(tables, scores, self.pair, fixed=fixed)
            self._robustness = robustness_lines(
                tables.blocks, scores, self.pair, error_rate=self._error_rate
            )

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

    def claim(self, definition: Definition) -> Claim:
        """A claim about scores, or a line beside one, tested."""
        finding = self._finding(definition)
        verdict, reason = finding.decision
        number = definition.number  # what stands beside the verdict stands there once
        return Claim(
            definition,
            arm_pair=self.pair,
            claimed=definition.claimed,
            interval=finding.effect,
            verdict=verdict,
            reason=reason,
            attribution=self._attribution(definition, verdict),
            sentence=score_sentence(
                definition, arms=self.pair, effect=finding.effect, verdict=verdict, reason=reason
            ),
            shown=finding.shown | self._shown.get(number, {}),
            robustness=self._robustness.get(number, {}),
        )

    def _finding(self, definition: Definition) -> Finding:
        if not self._both or self._too_early:  # no look before the end
            return not_evaluable(NO_INTERVAL, self._obstacle, {})
        finding = self._judged(definition, PRETRAINED, RANDOM)
        if not self._obstacle:
            return finding
        return not_evaluable(finding.effect, self._obstacle, finding.shown)

    def _judged(self, definition: Definition, first: str, second: str) -> Finding:
        return definition.judge(self._arms[first], self._arms[second], error_rate=self._error_rate)

    def _alarm(self) -> str:
        """What to say where two random arms differ, which they cannot; else empty."""
        if RANDOM_AGAIN not in self._arms:
            return ""
        effects = {
            definition.name: self._judged(definition, RANDOM_AGAIN, RANDOM).effect
            for definition in ABOUT_SCORES
            if not definition.beside
        }
        differ = [name for name, effect in effects.items() if effect.low > 0 or effect.high < 0]
        if not differ:
            return ""
        return (
            f"two random arms differ in {', '.join(differ)} by these very tests, so something "
            "else than the weights varies"
        )

    def _attribution(self, definition: Definition, verdict: Verdict) -> str:
        """Whether the pretrained arm also beats the shuffled one; empty if that is not asked."""
        if not definition.attributed:
            return ""
        if SHUFFLED not in self._arms or verdict is Verdict.NOT_EVALUABLE:
            return NOT_TESTED
        if verdict is Verdict.CONTRADICTED:
            return NO_GAIN
        effect = self._judged(definition, PRETRAINED, SHUFFLED).effect
        if not effect.bounded:
            return f"{NOT_TESTED}: the comparison with {SHUFFLED} weights has no interval"
        return ATTRIBUTABLE if effect.low > 0 else NOT_ATTRIBUTABLE


def _cost_claim(tables: RunTables, costs: list[SizeCost]) -> Claim:
    plan = tables.registration.cost
    finding = judge_cost(costs, plan, unfinished=unfinished(tables))
    verdict, reason = finding.decision
    margin = plan.margin if plan else math.nan
    if plan and verdict is not Verdict.NOT_EVALUABLE:
        sentence = cost_sentence(plan.size, finding.effect, margin=margin, verdict=verdict)
    else:
        sentence = cannot_tell(reason)
    return Claim(
        COST,
        arm_pair=(tables.registration.roles.get(PRETRAINED, PRETRAINED), VANILLA),
        claimed=margin,
        interval=finding.effect,
        verdict=verdict,
        reason=reason,
        attribution="",
        sentence=sentence,
        shown=finding.shown | seconds_of_trials(tables),
        robustness={},
    )
