"""A plan in tables and sentences, for 80 columns."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from stage1.base.text import plural
from stage1.claims.advice import ENOUGH
from stage1.claims.catalogue import COST, SENSITIVITY, Definition, Unit
from stage1.claims.error_rates import TIMING_NOISE
from stage1.plan.gpus import CARDS, KERNEL_SECONDS, USED_SHARE, Card
from stage1.plan.outlook import TIMES_CLAIMED, CostOutlook, Outlook, Prospect
from stage1.plan.resources import (
    Kind,
    Span,
    Timings,
    expected_search_epochs,
    left_for_control,
)
from stage1.run.columns import CONFIRM, DESIGN, PRETRAINED, RANDOM, SEARCH, SHUFFLED
from stage1.run.looks import DesignSize
from stage1.run.registration import COST_ROUNDS
from stage1.study.space import Space
from stage1.study.stages import confirmed_per_arm
from stage1.study.study import Study

NOTHING = "\N{EN DASH}"
AT_LEAST, AT_MOST, TIMES = (
    "\N{GREATER-THAN OR EQUAL TO}",
    "\N{LESS-THAN OR EQUAL TO}",
    "\N{MULTIPLICATION SIGN}",
)
TIMED, RECKONED = "from steps timed here", "reckoned"
"""Where the numbers of a plan come from."""
_SELDOM = 0.9
"""Where fewer studies than this share can be evaluated, the plan says so."""


def clock(seconds: float) -> str:
    """A time as long as a person would say it."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def span(seconds: Span) -> str:
    """A time and its bounds; the unit once where it is the same."""
    low, high = clock(seconds.low), clock(seconds.high)
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number} to {high}" if high.endswith(unit) else f"{low} to {high}"


def gigabytes(megabytes: float) -> str:
    """Memory with one digit after the point."""
    return f"{megabytes / 1024:.1f} GB"


def percent(share: float) -> str:
    """A share in per cent, with a digit after the point only where it says something."""
    rounded = round(100 * share, 1)
    return f"{rounded:.0f}%" if rounded == round(rounded) else f"{rounded:.1f}%"


def framed(title: str) -> Table:
    """A table without columns yet."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


# Trials ---------------------------------------------------------------------------------------


def trials_table(study: Study, trials: dict[str, int]) -> Table:
    """How many trials each stage has, and what they are.

    Args:
        study: What is planned.
        trials: By stage; of the design those that run in any case.
    """
    space = study.space
    table = framed("Trials")
    table.add_column("stage", no_wrap=True)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("what they are")
    for name, count, text in _design_rows(study):
        table.add_row(name, str(count), text)
    confirmed = confirmed_per_arm(study.size)
    points = "point" if confirmed == 1 else f"{confirmed} points"
    descriptions = {
        SEARCH: _search_text(space),
        CONFIRM: f"the best search {points} of each arm on seeds that nothing else used",
    }
    for stage, text in descriptions.items():
        table.add_row(stage, str(trials[stage]), text if trials[stage] else "")
    table.add_row("at most", str(sum(trials.values())), "")
    if control := len(left_for_control(study)):
        table.add_row("control", str(control), "beyond these, only if a gain asks for it: shuffled")
    return table


def _design_rows(study: Study) -> list[tuple[str, int, str]]:
    """Stage, trials and what they are, look by look."""
    size, arms = study.size, dict.fromkeys(spec.arm for spec in study.design_specs())
    trials = {look: len(study.design_specs(look)) for look in study.looks}
    horizon = f"always to epoch {study.space.horizon_epochs}"
    if not size.grows:
        configurations = f"{study.distinct_of(size.configurations)} configurations"
        text = f"{configurations} {TIMES} {plural(size.seeds, 'seed')} {TIMES} "
        count = trials[size.configurations]
        return [(DESIGN, count, f"{text}{plural(len(arms), 'arm')}, {horizon}")]
    first = study.looks[0]
    seeds = "" if size.seeds == 1 else f" {TIMES} {size.seeds} seeds"
    if size.replicated:
        seeds = f", the first {size.replicated} with {size.seeds} seeds"
    text = f"{study.distinct_of(first)} configurations of {', '.join(arms)}{seeds}, {horizon}"
    rows = [(f"look {first}", trials[first], text)]
    for before, look in pairwise(study.looks):
        more = study.distinct_of(look) - study.distinct_of(before)
        text = f"{more} configurations more, unless claim 1 is decided before"
        rows.append((f"look {look}", trials[look] - trials[before], text))
    return rows


def _search_text(space: Space) -> str:
    asha, mean = space.search.scheduler.asha, expected_search_epochs(space)
    if mean == space.horizon_epochs:
        return f"split over the arms, to epoch {space.horizon_epochs}"
    return (
        f"split over the arms; ASHA may stop them: {mean:.1f} of {space.horizon_epochs} epochs on "
        f"average if one in {asha.reduction_factor:g} goes on at each rung, more if the sampler "
        "finds better points"
    )


# Time, memory, disk ---------------------------------------------------------------------------


def timing_table(timings: Timings, full: dict[Kind, list[float]], *, how: str = TIMED) -> Table:
    """What was timed or reckoned, kind by kind.

    Args:
        timings: Of the kinds that were timed.
        full: Seconds of every trial of the design, by kind.
        how: `TIMED` or `RECKONED`.
    """
    table = framed(f"Trials of the design, {how}")
    table.add_column("size", overflow="fold")
    for name in ("patch_len", "ms/step", "s/validation", "s/trial", "trials"):
        table.add_column(name, justify="right", no_wrap=True)
    for kind, seconds in full.items():
        timing = timings.get(kind)
        parts = (NOTHING, NOTHING)
        if timing:
            parts = (f"{1000 * timing.step_seconds:.0f}", f"{timing.validation_seconds:.2f}")
        patch_len = NOTHING if kind.patch_len is None else str(kind.patch_len)
        mean = f"{sum(seconds) / len(seconds):.1f}"
        table.add_row(Text(kind.size), patch_len, *parts, mean, str(len(seconds)))
    return table


def not_timed_text(kinds: int, timed: int, also_varying: list[str]) -> str:
    """What the table leaves out; empty if nothing.

    Args:
        kinds: Combinations of size and patch_len in the design.
        timed: How many of them were timed.
        also_varying: Further keys that may change what a trial costs.
    """
    sentences = []
    if timed < kinds:
        sentences.append(
            f"{timed} of {kinds} combinations were timed; the rest count as the nearest."
        )
    if also_varying:
        sentences.append(
            f"{', '.join(also_varying)} may change the time too; each row was timed with the "
            "values of its first configuration."
        )
    return " ".join(sentences)


def busy_text(load: float, cores: int, *, corrected: bool) -> str:
    """A caution where other programs run; `corrected` timings leave out the waiting for them."""
    busy = f"Other programs are running (load {load:.1f} on {plural(cores, 'core')})"
    if corrected:
        return f"{busy}: the timings leave out their share, the study takes longer beside them."
    return f"{busy}: on an idle machine steps take less, and so does the study."


def reckoned_text(card: Card) -> str:
    """That times are reckoned for a card that is not at hand, and from what."""
    return (
        f"Reckoned for {card.name} ({card.memory_gb:g} GB), not measured: from the floating-point "
        "operations, memory and kernels of a step, which the configuration tells, at "
        f"{USED_SHARE:.0%} of the data sheet's rates and {1e6 * KERNEL_SECONDS:.0f} microseconds "
        f"to start a kernel. --gpu names another card: {', '.join(CARDS)}."
    )


def hours_text(by_gpus: dict[int, Span]) -> str:
    """How long the study takes on so many GPUs."""
    each = ", ".join(f"{gpus}: {span(total)}" for gpus, total in by_gpus.items())
    return f"Time by GPUs of this kind: {each}."


def packing_text(busy: float, best: int, *, now: float) -> str:
    """How many trials should share a GPU.

    Args:
        busy: Share of a trial's time in which it keeps the GPU busy.
        best: Trials per GPU that this and the memory speak for.
        now: `resources.gpus` of the study.
    """
    share = 1 / best
    ends = "as it is" if math.isclose(now, share, abs_tol=0.005) else f"in place of {now:g}"
    return (
        f"A trial alone keeps the GPU busy for about {busy:.0%} of its time: "
        f"{plural(best, 'trial')} per GPU, resources.gpus: {share:.3g}, {ends}."
    )


def looks_text(looks: dict[int, float], *, setup: float, control: float) -> str:
    """When the verdicts come, and what comes on top.

    Args:
        looks: Seconds of the design's trials up to each look, by configurations.
        setup: Seconds beyond the trials.
        control: Seconds of the trials that a gain asks for; 0 = none are left to ask for.
    """
    times = [f"at {look} configurations {clock(seconds)}" for look, seconds in looks.items()]
    more = f"; the shuffled runs that a gain asks for take {clock(control)} more" if control else ""
    return (
        f"Of this the trials to the verdicts take: {', '.join(times)}; start-up and cost block: "
        f"{clock(setup)}{more}."
    )


def time_text(total: Span, *, space: Space, workers: int) -> str:
    """How long the study takes, and what that rests on."""
    low_end = (
        "At the low end ASHA stops all but one in "
        f"{space.search.scheduler.asha.reduction_factor:g} search trials at each rung; at the high "
        "end every search trial reaches the horizon, and search and confirmation settle on the "
        "slowest kind. "
        if space.search.trials
        else ""
    )
    return (
        f"Time: about {span(total)} with {plural(workers, 'worker')}, cost block and start-up "
        f"included. {low_end}An estimate: the T5 is taken to learn from the first "
        "one (frozen it takes less), and every worker to have its cores to itself (trials side by "
        "side slow each other down)."
    )


def memory_text(total_mb: float, *, worker_mb: float, workers: int, machine_mb: float) -> str:
    """Memory of all processes together."""
    advice = ", too little: give fewer --workers, or run it elsewhere"
    return (
        f"Memory: about {gigabytes(total_mb)}: {plural(workers, 'worker')} of "
        f"{gigabytes(worker_mb)}, the rest for the command, Ray, bars and language models. This "
        f"machine has {gigabytes(machine_mb)}{advice if total_mb > machine_mb else ''}."
    )


def gpu_memory_text(trial_mb: float, *, per_gpu: int, card_mb: float) -> str:
    """GPU memory of the trials that share a GPU, against the card's."""
    share = f" of {plural(per_gpu, 'trial')}" if per_gpu > 1 else ""
    advice = (
        ", too little: raise resources.gpus, lower training.batch_size, or a batch is worked on in "
        "parts"
        if per_gpu * trial_mb > card_mb
        else ""
    )
    return (
        f"GPU memory: about {gigabytes(per_gpu * trial_mb)} per GPU{share}, of "
        f"{gigabytes(card_mb)}{advice}."
    )


def disk_text(size: int, run: str) -> str:
    """Size of the run folder without checkpoints, in bytes."""
    return f"Disk: about {_size(size)} in {run}."


def states_text(checkpoints: int, *, running: int) -> str:
    """Size of the checkpoints that are kept, and of the states of trials that run, in bytes."""
    return (
        f"Beside that {_size(checkpoints)} of checkpoints of the best trials, and while trials run "
        f"up to {_size(running)} of their states."
    )


def _size(number: int) -> str:
    if number < 1e9:
        return f"{max(number / 1e6, 1):.0f} MB"
    return f"{number / 1e9:.1f} GB"


# Claims ---------------------------------------------------------------------------------------

CLAIMS_NOTE = (
    "by N: share of made-up studies that have an answer (SUPPORTED, NOT SUPPORTED or CONTRADICTED) "
    "once N configurations were looked at, if the effect is truly that large; direction: share "
    "whose interval excludes no effect at some look. An effect of just the claimed size stays open "
    "by intention: SUPPORTED asks for an interval that lies wholly at or above it. b: ours, beside "
    "the plan's number."
)
_LOOKS_SHOWN = 3
"""Columns that fit into 80 characters."""


def claims_table(lines: list[Outlook]) -> Table:
    """What this design would decide; the last looks, if there are many."""
    looks = max((line.looks for line in lines), key=len)[-_LOOKS_SHOWN:]
    table = framed("What this design would decide")
    table.add_column("claim", no_wrap=True)
    for name in ("true effect", *(f"by {look:,}" for look in looks), "direction"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        for place, prospect in enumerate(line.prospects):
            by_look = dict(zip(line.looks, prospect.decided, strict=True))
            table.add_row(
                NOTHING if place else line.definition.label,
                amount(line.definition, prospect.effect) if place else "none",
                *(f"{by_look[look]:.0%}" if look in by_look else NOTHING for look in looks),
                f"{prospect.direction:.0%}",
            )
    return table


def amount(definition: Definition, effect: float) -> str:
    """An effect in the unit of its claim."""
    return percent(effect) if definition.unit is Unit.SHARE else f"{effect:.2f}"


def model_text(variation: str, *, like: Path | None) -> str:
    """What the simulated studies rest on.

    Args:
        variation: How their scores vary, in words.
        like: Run folder that this is taken from; None for a typical study.
    """
    if like:
        return f"Simulated studies vary as the one in {like} did: {variation}."
    return (
        f"Simulated studies vary as is typical of the bundled bars: {variation}. Other data vary "
        "otherwise: once a first run is there, --like RUN plans by its scores."
    )


def smaller_design_text(lines: list[Outlook], size: DesignSize) -> str:
    """Which claims were simulated with fewer looks than the study's; empty if none was."""
    return " ".join(
        f"{line.definition.label} was simulated up to {line.looks[-1]} configurations only, since "
        "ranks take long; the study sees rather more."
        for line in lines
        if line.looks != size.looks
    )


def not_contained_text(missing: dict[str, str]) -> str:
    """The claims that the design does not contain, in one line; empty if there are none.

    Args:
        missing: What each of them needs, by its label.
    """
    claims = "; ".join(f"{label} ({needs})" for label, needs in missing.items())
    return f"Not in this design: {claims}." if missing else ""


def claim_texts(
    lines: list[Outlook], cost: CostOutlook | None, *, roles: set[str], arms: int
) -> list[str]:
    """What the design can and cannot decide, in sentences.

    Args:
        lines: Of the claims about scores; none where their arms are missing.
        cost: None where nothing is timed.
        roles: Of the study's arms.
        arms: That are trained on every configuration.
    """
    texts = [in_words(line) for line in lines]
    texts += [
        expected_trainings(line, arms)
        for line in lines
        if line.definition is SENSITIVITY and len(line.looks) > 1
    ]
    texts += missing_arm_texts(roles)
    if cost:
        texts.append(
            f"{COST.label}: decided if a step with the T5 takes at most {cost.within:.2f} or at "
            f"least {cost.beyond:.2f} times as long as one with the vanilla encoder, if timings "
            f"vary by {percent(TIMING_NOISE)} ({COST_ROUNDS} of each); in between it may stay "
            "open. Configurations do not matter."
        )
    return texts


def missing_arm_texts(roles: set[str]) -> list[str]:
    """What cannot be decided without the arms that a study does not have."""
    missing = [role for role in (PRETRAINED, RANDOM) if role not in roles]
    texts = []
    if missing:
        texts.append(
            f"Claims about scores cannot be evaluated: they compare a {PRETRAINED} arm with a "
            f"{RANDOM} one, and the study has no {' and no '.join(missing)} arm."
        )
    if PRETRAINED not in roles:
        texts.append(f"{COST.label}: cannot be evaluated, since no {PRETRAINED} T5 is timed.")
    if not missing and SHUFFLED not in roles:
        texts.append(
            f"Without a {SHUFFLED} arm an effect cannot be put down to what the weights learned."
        )
    return texts


def in_words(line: Outlook) -> str:
    """What the design says of a claim, as a sentence or two."""
    definition = line.definition
    if line.obstacle:
        return f"{definition.label}: most such studies cannot evaluate it: {line.obstacle}."
    none, *others = line.prospects
    sentences = [f"{_decided(none, line)} if there is no effect"]
    if others:
        last = others[-1]
        size = f"{definition.subject} is truly {amount(definition, last.effect)} {definition.more}"
        sentences[0] += f", {_decided(last, line, again=True)} if {size}"
        sentences.append(f"The direction of the latter shows in {last.direction:.0%}")
    if len(line.prospects) < len(TIMES_CLAIMED):
        missing = amount(definition, len(line.prospects) * definition.claimed)
        sentences.append(f"{missing} {definition.more} is not possible with scores like these")
    if line.needed:
        sentences.append(_needed(line))
    return f"{definition.label}: {'. '.join(sentences)}."


def _decided(prospect: Prospect, line: Outlook, *, again: bool = False) -> str:
    share = f"{prospect.decided[-1]:.0%}"
    if again:
        return f"in {share}"
    return f"by {line.looks[-1]:,} configurations decided in {share} of studies"


def _needed(line: Outlook) -> str:
    """Designs that would decide a claim; of the effects that could be decided at all."""
    texts = []
    for prospect, needed in zip(line.prospects, line.needed, strict=True):
        if prospect.effect == line.definition.claimed:
            continue
        case = amount(line.definition, prospect.effect) if prospect.effect else "no effect"
        most = f"more than {line.definition.effort.most_configurations:,}"
        texts.append(f"{most if needed is None else f'{needed:,}'} for {case}")
    return f"Configurations that decide it in {ENOUGH:.0%}: {', '.join(texts)}"


def expected_trainings(line: Outlook, arms: int) -> str:
    """How far a study goes until claim 1 has its answer."""
    cases = [
        f"{arms * prospect.trainings:.0f} "
        + (f"({amount(line.definition, prospect.effect)})" if prospect.effect else "(no effect)")
        for prospect in line.prospects
    ]
    return (
        f"Until {line.definition.label} is decided, or to the last look, that is on average "
        f"{', '.join(cases)} trainings of {arms} arms, shuffled weights apart."
    )
