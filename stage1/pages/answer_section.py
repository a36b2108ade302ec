"""The first screen: three sentences that answer what the study was run for, and the leaderboard."""

from __future__ import annotations

import math

from stage1.base.errors import ResultsError
from stage1.base.metric_table import CORRELATION, INTERPOLATION, SKILL
from stage1.base.text import plural
from stage1.claims.catalogue import COST, FINAL_ERROR, FINAL_GAIN, SENSITIVITY, Definition
from stage1.claims.claim import MOST_TOLD, Claim
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, both_scored
from stage1.claims.tuning_value import tuning_value
from stage1.claims.verdicts import ATTRIBUTABLE, GAINS, NOT_ATTRIBUTABLE, Verdict
from stage1.pages.blocks import Block, Heading, Inline, Paragraph, Strong, Table, paragraph
from stage1.pages.evaluation_page import MODEL
from stage1.pages.numbers import number
from stage1.run.columns import CONFIRM
from stage1.run.summary import (
    BestConfiguration,
    baseline_value,
    best_configuration,
    leaderboard,
    seed_noise,
    tested_column,
    tested_scores,
)

HELPS = "Does pretraining help here?"
EASIER = "Is it easier to tune?"
TRAIN = "What to train?"
_LEADS = {
    Verdict.SUPPORTED: "Yes",
    Verdict.DIRECTION_ONLY: "Yes",
    Verdict.INCONCLUSIVE: "Open",
    Verdict.NOT_SUPPORTED: "Not as claimed",
    Verdict.CONTRADICTED: "No",
}
_WORDS = {
    FINAL_GAIN: ("val_correlation at the end of training", "higher", "lower"),
    FINAL_ERROR: ("what val_correlation misses to 1 at the end of training", "less", "more"),
}
"""What is compared, and what it is where the claim holds and where it does not."""
_CLAIMED = {FINAL_GAIN: "gain of {}", FINAL_ERROR: "reduction of {}", SENSITIVITY: "{} smaller gap"}
_CONTRARY = {SENSITIVITY: "tuning is worth more, not less"}
_COMPATIBLE, _SMALLER = "size compatible", "smaller than claimed"
LEADERS = 10
"""Configurations of the leaderboard."""


def answers(tables: RunTables, evaluation: Evaluation) -> list[Paragraph]:
    """Does pretraining help here, is it easier to tune, and what to train: a paragraph each."""
    texts = {
        HELPS: _whether_it_helps(evaluation),
        EASIER: _whether_it_is_easier(evaluation),
        TRAIN: _what_to_train(tables, evaluation),
    }
    return [paragraph(Strong(question), f" {text}") for question, text in texts.items()]


def _claim(evaluation: Evaluation, definition: Definition) -> Claim | None:
    return next((claim for claim in evaluation.lines if claim.definition is definition), None)


def _unknown(claim: Claim | None) -> str:
    """What is said of a claim without an answer."""
    if claim is None:
        return "The study does not ask."
    lead = "Cannot be said" if claim.look else "Not known yet"
    return f"{lead}: {claim.reason}."


def _confidence(claim: Claim) -> str:
    looks = f" after {claim.look} configurations" if claim.look else ""
    return f"at {1 - claim.level:.1%} confidence{looks}"


def _whether_it_helps(evaluation: Evaluation) -> str:
    """By the gain at the horizon, or by its error reduction where that has no room."""
    gain, error = (_claim(evaluation, definition) for definition in (FINAL_GAIN, FINAL_ERROR))
    told = [one for one in (gain, error) if one and one.verdict is not Verdict.NOT_EVALUABLE]
    if not told:
        return _unknown(gain)
    claim = told[0]
    size, low, high = (_sized(claim, value) for value in claim.interval[:3])
    random = claim.arm_pair[1]
    between = f" ({low} to {high}, {_confidence(claim)})" if claim.interval.bounded else ""
    attribution = _attribution(claim) if claim.verdict in GAINS else ""
    return (
        f"{_LEADS[claim.verdict]}: with this checkpoint {_WORDS[claim.definition][0]} is {size} "
        f"than with {random} weights on these bars{between}; {_ending(claim)}{attribution}."
    )


def _attribution(claim: Claim) -> str:
    """Whether the gain is what the weights learned, after a semicolon; empty if nobody asks."""
    if not claim.attribution:
        return ""
    said = (ATTRIBUTABLE, NOT_ATTRIBUTABLE)
    subject = "" if claim.attribution.startswith(said) else "attribution "
    return f"; {subject}{claim.attribution}"


def _sized(claim: Claim, value: float) -> str:
    _, more, less = _WORDS[claim.definition]
    amount = f"over {MOST_TOLD:.0%}" if abs(value) > MOST_TOLD else f"{abs(value):.1%}"
    return f"{amount} {less if value < 0 else more}"


def _ending(claim: Claim) -> str:
    """How a sentence about a claim goes on after its numbers."""
    claimed = _CLAIMED[claim.definition].format(f"{claim.definition.claimed:.0%}")
    match claim.verdict:
        case Verdict.SUPPORTED:
            return f"that is the claimed {claimed} or more"
        case Verdict.DIRECTION_ONLY if claim.reason.startswith(_SMALLER):
            return f"that is less than the claimed {claimed}"
        case Verdict.DIRECTION_ONLY if claim.reason.startswith(_COMPATIBLE):
            return f"whether it reaches the claimed {claimed} is open"
        case Verdict.INCONCLUSIVE if claim.interval.bounded and not claim.interval.low > 0:
            return f"no effect and the claimed {claimed} both fit"
        case Verdict.NOT_SUPPORTED if not claim.interval.low > 0:
            return f"the claimed {claimed} is excluded"
        case Verdict.CONTRADICTED:
            return _CONTRARY.get(claim.definition, "that is a loss, not a gain")
        case _:
            return claim.reason


def _whether_it_is_easier(evaluation: Evaluation) -> str:
    """By how far a typical pick lies behind the best of three, in either arm."""
    claim = _claim(evaluation, SENSITIVITY)
    if claim is None or claim.verdict is Verdict.NOT_EVALUABLE:
        return _unknown(claim)
    first, second = claim.arm_pair
    arms = (evaluation.scores.arm(arm) for arm in claim.arm_pair)
    losses = both_scored(*(-arm.log_loss for arm in arms))
    gaps = [math.expm1(gap) for gap in tuning_value(*losses, error_rate=claim.level).gaps]
    behind = (
        f"the loss of a typical pick is {gaps[0]:.1%} above that of the best of three with {first} "
        f"weights and {gaps[1]:.1%} with {second} ones; "
        if all(map(math.isfinite, gaps))
        else ""
    )
    estimate, low, high, _ = claim.interval
    between = f"({1 - high:.2f} to {1 - low:.2f}, {_confidence(claim)})"
    ratio = f"the ratio is {1 - estimate:.2f} {between}; " if claim.interval.bounded else ""
    return f"{_LEADS[claim.verdict]}: {behind}{ratio}{_ending(claim)}."


def _what_to_train(tables: RunTables, evaluation: Evaluation) -> str:
    """The best configuration, what is as good, and what a step costs."""
    metric = tables.space.objective.metric
    try:
        best = best_configuration(tables.trials, tables.space, tables.registration)
    except ResultsError:
        return "Nothing yet: no configuration has completed with every seed planned for it."
    seeds = len(best.by_seed)
    noise = "" if math.isnan(best.noise) else f" +- {best.noise / math.sqrt(seeds):.4f}"
    score = f"{metric} {number(best.mean)}{noise}, {plural(seeds, 'seed')}"
    line = baseline_value(tables.trials, metric)
    if math.isfinite(line):
        score += f"; linear interpolation {number(line)}"
    ties = "".join(
        f"; a tie with {_named(rival.arm, rival.config_id)} ({number(rival.mean)}): take the "
        "cheaper"
        for rival in best.ties
    )
    if math.isnan(best.noise):
        ties = "; with one seed each a tie cannot be told"
    useless = "" if best.skill > 0 else "; it does not beat a straight line across the hidden bars"
    chosen = _named(best.arm, best.config_id)
    return f"{chosen} ({score}){ties}{useless}. {_tested(tables, best)}{_extra_cost(evaluation)}"


def _tested(tables: RunTables, best: BestConfiguration) -> str:
    """What it came to on the test period; empty where it was not scored there."""
    scores = tested_scores(tables.test_period, tables.trials, best)
    if scores.empty:
        return ""
    columns = [tested_column(name) for name in (CORRELATION, SKILL)]
    means = scores.groupby("of")[columns].mean()
    (correlation, skill), line = means.loc[MODEL], means.loc[INTERPOLATION, columns[0]]
    return (
        f"On the test period, which nothing was chosen by: {CORRELATION} {number(correlation)} "
        f"(linear interpolation {number(line)}), {SKILL} {number(skill)}. "
    )


def _named(arm: str, config_id: str) -> str:
    """A configuration with its arm, which points of the search have in their name."""
    return config_id if config_id.startswith(f"{arm}-") else f"{arm} {config_id}"


def _extra_cost(evaluation: Evaluation) -> str:
    claim = _claim(evaluation, COST)
    if claim is None or claim.verdict is Verdict.NOT_EVALUABLE:
        return "What a step costs beside a vanilla encoder is timed after the last trial."
    estimate, low, high = (100 * (value - 1) for value in claim.interval[:3])
    allowed = f"the allowed {claim.claimed - 1:.0%}"
    ending = {
        Verdict.SUPPORTED: f"within {allowed}",
        Verdict.CONTRADICTED: f"beyond {allowed}",
    }.get(claim.verdict, f"too noisy to compare with {allowed}")
    direction = "more" if estimate >= 0 else "less"
    return (
        f"A step with a T5 costs {abs(estimate):.1f}% {direction} than with a vanilla encoder "
        f"({low:+.1f}% to {high:+.1f}%), {ending}."
    ).replace("-", "\N{MINUS SIGN}")


# Leaderboard --------------------------------------------------------------------------------------


_COLUMNS = ("arm", "config_id", "stage", "objective", "seeds", "seconds")


def leaderboard_table(tables: RunTables, *, most: int = LEADERS) -> Table:
    """The best configurations over the arms that somebody would train."""
    board = leaderboard(tables.trials, tables.space, tables.registration).head(most)
    noise = seed_noise(tables.trials, tables.space, tables.registration)
    rows: list[list[Inline]] = [
        [
            str(place),
            arm,
            f"{config_id} (search)" if stage == CONFIRM else config_id,
            number(mean),
            number(noise / math.sqrt(seeds)),
            str(seeds),
            number(seconds, digits=1),
        ]
        for place, (arm, config_id, stage, mean, seeds, seconds) in enumerate(
            zip(*(board[name] for name in _COLUMNS), strict=True), start=1
        )
    ]
    metric = tables.space.objective.metric
    header = ["place", "arm", "configuration", metric, "+-", "seeds", "s / trial"]
    return Table(header, rows, numbers_from=3)


def leaderboard_blocks(tables: RunTables) -> list[Block]:
    """The section of the leaderboard."""
    table, heading = leaderboard_table(tables), Heading("Leaderboard")
    if not table.rows:
        return [heading, paragraph("No configuration is complete yet.")]
    arms = " and ".join(tables.registration.trainable_arms)
    noise = seed_noise(tables.trials, tables.space, tables.registration)
    known = (
        "No configuration has two seeds, so the noise of a seed is not known"
        if math.isnan(noise)
        else f"+- is the noise of a seed, a standard deviation of {number(noise)}, over the root "
        "of the seeds; what differs by less than a seed's noise is a tie"
    )
    return [
        heading,
        table,
        paragraph(
            f"The best configurations of arms that one would train ({arms}), by mean over the "
            f"seeds planned for them. {known}. Points of the search count with fresh seeds that "
            "did not choose them. The best of many is flattered by its luck, most with one seed.",
            note=True,
        ),
    ]
