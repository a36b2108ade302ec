"""All claims of a run, from its tables to verdicts."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from stage1.claims.advice import advice
from stage1.claims.catalogue import (
    ABOUT_SCORES,
    COST,
    DEFINITIONS,
    EARLY_GAIN,
    FINAL_GAIN,
    PLANNED,
    SENSITIVITY,
    Definition,
)
from stage1.claims.claim import Claim, EarlierVerdict, Look, cost_sentence, score_sentence
from stage1.claims.designs import told_apart
from stage1.claims.further_numbers import further_numbers, seconds_of_trials
from stage1.claims.intervals import NO_INTERVAL
from stage1.claims.robustness import robustness_lines
from stage1.claims.scores import (
    RunTables,
    Scores,
    at_look,
    design_scores,
    looks_taken,
    too_few_finite,
)
from stage1.claims.soundness import (
    baseline_warning,
    deviations,
    divergence_warnings,
    pairing_checks,
    pairing_warnings,
    repeated_configurations,
    same_weights,
    unfinished,
    without_fingerprint,
)
from stage1.claims.step_cost import SizeCost, judge_cost, size_costs
from stage1.claims.synthetic import World, world_of
from stage1.claims.verdicts import (
    ATTRIBUTABLE,
    DECISIVE,
    GAINS,
    NO_GAIN,
    NOT_ATTRIBUTABLE,
    NOT_IN_THIS_DESIGN,
    NOT_SHOWN,
    NOT_TESTED,
    Finding,
    Verdict,
    cannot_tell,
    not_evaluable,
)
from stage1.run.columns import (
    DESIGN,
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    VANILLA,
)
from stage1.run.summary import cautions

ASKING_FOR_CONTROL = (SENSITIVITY, EARLY_GAIN, FINAL_GAIN)
"""Claims whose gain is a reason to train shuffled weights too."""


class Evaluation(NamedTuple):
    """What a run says at a look."""

    scores: Scores
    """Of the configurations of the look."""
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
    looks: list[Look]
    """Every look so far, the last one is that of the claims."""

    @property
    def lines(self) -> list[Claim]:
        """The claims in order, each before the lines beside it."""
        every = [*self.claims, *self.beside]
        return sorted(every, key=lambda claim: DEFINITIONS.index(claim.definition))

    @property
    def decided(self) -> bool:
        """Whether claim 1 has an answer, so that a design need not grow."""
        return any(
            claim.definition is SENSITIVITY and claim.verdict in DECISIVE for claim in self.claims
        )

    @property
    def asks_for_control(self) -> bool:
        """Whether there is a gain that shuffled weights may explain as well."""
        return any(
            claim.definition in ASKING_FOR_CONTROL and claim.verdict in GAINS
            for claim in self.claims
        )


def evaluate(tables: RunTables, look: int | None = None) -> Evaluation:
    """Test the claims on a run, however far it has come.

    Args:
        tables: Of the run.
        look: Configurations of a look that was taken; None = the last one.

    Raises:
        ValueError: The look was not taken.
    """
    registration = tables.registration
    taken = looks_taken(tables.trials, registration)
    if look is not None and look not in taken:
        raise ValueError(f"look must be one that was taken ({taken}), got {look}")
    judged = taken[: taken.index(look) + 1] if look is not None else taken
    comparisons = [_Comparison(tables, one) for one in judged] or [_Comparison(tables, None)]
    comparison = comparisons[-1]
    scores, roles = comparison.scores, comparison.roles
    margin = registration.cost.margin if registration.cost else math.nan
    level = registration.level
    costs = size_costs(tables.cost, margin=margin, error_rate=level) if registration.cost else []
    checks = pairing_checks(comparison.tables)
    baseline = baseline_warning(tables, roles[PRETRAINED]) if PRETRAINED in roles else ""
    few = cautions(tables.trials, tables.space, tables.registration)
    warnings = (
        "" if few else baseline,  # which says less
        *divergence_warnings(scores),
        *pairing_warnings(checks),
        *few,
        repeated_configurations(scores),
    )
    lines = [
        _cost_claim(tables, costs)
        if definition is COST
        else comparison.claim(
            definition, tuple(earlier.verdict(definition) for earlier in comparisons[:-1])
        )
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
        looks=[one.verdicts() for one in comparisons] if taken else [],
    )


class _Comparison:
    """The pretrained arm against the random one, with its controls, at a look.

    Args:
        tables: Of the run.
        look: Configurations; None = before the first look.
    """

    def __init__(self, tables: RunTables, look: int | None) -> None:
        registration = tables.registration
        self.look = look or 0
        first = registration.size.looks[0]
        self.tables = at_look(tables, look or first)
        self.scores = design_scores(
            tables.trials, tables.curves, tables.space, registration, look or first
        )
        self.roles = {
            role: arm for role, arm in registration.roles.items() if arm in self.scores.correlation
        }
        self.pair = (self.roles.get(PRETRAINED, PRETRAINED), self.roles.get(RANDOM, RANDOM))
        self.level = registration.level_of(look or first)
        self._arms = {role: self.scores.arm(arm) for role, arm in self.roles.items()}
        self._too_early = unfinished(tables)
        self._obstacle = self._find_obstacle(self.tables)
        self._findings: dict[str, Finding] = {}

    @cached_property
    def _shown(self) -> dict[str, dict[str, float]]:
        if not self._both or self._too_early:
            return {}
        fixed = self.roles.get(RANDOM_FIXED)
        return further_numbers(self.tables, self.scores, self.pair, fixed=fixed)

    @cached_property
    def _robustness(self) -> dict[str, dict[str, str]]:
        if not self._both or self._too_early:
            return {}
        return robustness_lines(
            self.tables.blocks,
            self.scores,
            self.pair,
            fixed=self.roles.get(RANDOM_FIXED),
            error_rate=self.level,
        )

    @cached_property
    def _world(self) -> World | None:
        """How the scores vary, for what is simulated; None where they say too little."""
        return world_of(self.tables, self.scores, self.pair)

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

    def verdicts(self) -> Look:
        """What the look says of the plan's claims about scores."""
        about_scores = [definition for definition in PLANNED if definition is not COST]
        verdicts = {one.number: self._finding(one).decision.verdict for one in about_scores}
        return Look(self.look, self.level, verdicts)

    def verdict(self, definition: Definition) -> EarlierVerdict:
        """What a later look says of this one."""
        finding = self._finding(definition)
        return EarlierVerdict(self.look, finding.decision.verdict, *finding.effect[:3])

    def claim(self, definition: Definition, earlier: tuple[EarlierVerdict, ...]) -> Claim:
        """A claim about scores, or a line beside one, tested."""
        finding = self._finding(definition)
        verdict, reason = finding.decision
        if verdict is Verdict.INCONCLUSIVE and not reason and self._world:
            size = self.tables.registration.size
            estimate = finding.effect.estimate
            reason = advice(definition, estimate, world=self._world, size=size, look=self.look)
        number = definition.number  # what stands beside the verdict stands there once
        arms = (self.pair[0], self.roles.get(definition.against, definition.against))
        return Claim(
            definition,
            arm_pair=arms,
            claimed=definition.claimed,
            interval=finding.effect,
            verdict=verdict,
            reason=reason,
            attribution=self._attribution(definition, verdict),
            sentence=score_sentence(
                definition, arms=arms, effect=finding.effect, verdict=verdict, reason=reason
            ),
            shown=finding.shown | self._shown.get(number, {}),
            robustness=self._robustness.get(number, {}),
            look=self.look,
            level=self.level,
            earlier=earlier,
        )

    def _finding(self, definition: Definition) -> Finding:
        number = definition.number
        if number not in self._findings:
            self._findings[number] = self._found(definition)
        return self._findings[number]

    def _found(self, definition: Definition) -> Finding:
        if not self._both or self._too_early:  # no look before the end
            return not_evaluable(NO_INTERVAL, self._obstacle, {})
        obstacle = self._obstacle
        if definition.against not in self._arms:
            reason = f"{NOT_IN_THIS_DESIGN}: it needs an arm of the role {definition.against}"
            return not_evaluable(NO_INTERVAL, obstacle or reason, {})
        finding = self._judged(definition, PRETRAINED, definition.against)
        if definition is SENSITIVITY and finding.decision.verdict is not Verdict.NOT_EVALUABLE:
            obstacle = obstacle or told_apart(self.tables.space, self.scores.values)
        if not obstacle:
            return finding
        return not_evaluable(finding.effect, obstacle, finding.shown)

    def _judged(
        self, definition: Definition, first: str, second: str, *, level: float | None = None
    ) -> Finding:
        error_rate = level or self.level
        return definition.judge(self._arms[first], self._arms[second], error_rate=error_rate)

    def _alarm(self) -> str:
        """What to say where two random arms differ, which they cannot; else empty."""
        if RANDOM_AGAIN not in self._arms:
            return ""
        effects = {
            definition.name: self._judged(
                definition, RANDOM_AGAIN, RANDOM, level=self.tables.registration.level
            ).effect
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
        """Whether the gain is what the weights learned; empty if that is not asked."""
        control = definition.control
        if not control:
            return ""
        if verdict not in GAINS:
            return NO_GAIN
        if control not in self._arms or not self._was_run(self.roles[control]):
            return NOT_TESTED
        effect = self._judged(definition, PRETRAINED, control).effect
        if effect.low > 0:
            return ATTRIBUTABLE
        return NOT_ATTRIBUTABLE if effect.high <= 0 else NOT_SHOWN

    def _was_run(self, arm: str) -> bool:
        """Whether every training of an arm that the look compares has ended."""
        design = self.tables.trials[self.tables.trials["stage"] == DESIGN]
        rows = design[design["arm"] == arm]
        ended = set(zip(rows["config_id"], rows["seed"], strict=True))
        scores = self.scores
        return all(
            (scores.configurations[configuration], scores.seeds[seed]) in ended
            for configuration, seed in np.argwhere(scores.planned)
        )


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
        look=0,
        level=tables.registration.level,
    )
