"""A plan in words and tables, for 80 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stage1.base.text import plural
from stage1.plan.duration import Span, Timings
from stage1.plan.stages import Kind, expected_search_epochs
from stage1.run.columns import CONFIRM, DESIGN, SEARCH
from stage1.study.space import Space
from stage1.study.stages import CONFIRMED_PER_ARM

NOTHING = "\N{EN DASH}"
AT_LEAST, AT_MOST, TIMES = (
    "\N{GREATER-THAN OR EQUAL TO}",
    "\N{LESS-THAN OR EQUAL TO}",
    "\N{MULTIPLICATION SIGN}",
)


def show_line(console: Console, text: str, style: str = "") -> None:
    """A sentence that goes on indented where it is long; nothing if it is empty."""
    if text:
        console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


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


# Trials ---------------------------------------------------------------------------------------


def trials_table(space: Space, trials: dict[str, int]) -> Table:
    """How many trials each stage has, and what they are."""
    design, arms = space.design, len(space.arms)
    table = framed("Trials")
    table.add_column("stage", no_wrap=True)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("what they are")
    told = {
        DESIGN: f"{design.configurations} configurations {TIMES} {plural(design.seeds, 'seed')} "
        f"{TIMES} {plural(arms, 'arm')}, always to epoch {space.horizon_epochs}",
        SEARCH: _search_text(space),
        CONFIRM: f"the best {CONFIRMED_PER_ARM} search points of each arm on the design's seeds",
    }
    for stage, text in told.items():
        table.add_row(stage, str(trials[stage]), text if trials[stage] else "")
    table.add_row("at most", str(sum(trials.values())), "")
    return table


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


def timing_table(timings: Timings, full: dict[Kind, list[float]], *, seeds: int) -> Table:
    """What was timed, kind by kind.

    Args:
        timings: Of the kinds that were timed.
        full: Seconds to the horizon of every configuration of the design in every arm, by kind.
        seeds: Trials of each of these.
    """
    table = framed("Trials of the design, from steps timed here")
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
        table.add_row(Text(kind.size), patch_len, *parts, mean, str(len(seconds) * seeds))
    return table


def not_timed_text(kinds: int, timed: int, also_varying: list[str]) -> str:
    """What the table leaves out; empty if nothing.

    Args:
        kinds: Combinations of size and patch_len in the design.
        timed: How many of them were timed.
        also_varying: Further keys that may change what a trial costs.
    """
    told = []
    if timed < kinds:
        told.append(f"{timed} of {kinds} combinations were timed; the rest count as the nearest.")
    if also_varying:
        told.append(
            f"{', '.join(also_varying)} may change the time too; each row was timed with the "
            "values of its first configuration."
        )
    return " ".join(told)


def busy_text(load: float, cores: int, *, corrected: bool) -> str:
    """A caution where other programs are running.

    Args:
        load: Of the machine, programs that run or wait to.
        cores: It has.
        corrected: Whether the timings leave out the waiting.
    """
    busy = f"Other programs are running (load {load:.1f} on {plural(cores, 'core')})"
    if corrected:
        return f"{busy}: the timings leave out their share, the study takes longer beside them."
    return f"{busy}: on an idle machine steps take less, and so does the study."


def no_gpu_text(asked: float, have: int) -> str:
    """Why nothing is timed on a machine without the GPUs of a trial."""
    return (
        f"Time and memory: not measured, since a trial asks for more GPUs ({asked:g}) than this "
        f"machine has ({have}). Plan where the study is to run."
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
        f"included. {low_end}An estimate from a few steps: the T5 is taken to learn from the first "
        "one (frozen it takes less), and every worker to have its cores to itself (trials side by "
        "side slow each other down)."
    )


def memory_text(total_mb: float, *, worker_mb: float, workers: int, machine_mb: float) -> str:
    """Memory of all processes together."""
    text = (
        f"Memory: about {gigabytes(total_mb)}: {plural(workers, 'worker')} of "
        f"{gigabytes(worker_mb)}, the rest for the command, Ray, bars and language models. This "
        f"machine has {gigabytes(machine_mb)}"
    )
    return (
        f"{text}, too little: give fewer --workers, or run it elsewhere."
        if total_mb > machine_mb
        else f"{text}."
    )


def gpu_memory_text(trial_mb: float, *, per_gpu: int) -> str:
    """GPU memory of the trials that share a GPU."""
    share = f" of {plural(per_gpu, 'trial')}" if per_gpu > 1 else ""
    return f"GPU memory: about {gigabytes(per_gpu * trial_mb)} per GPU{share}."


def disk_text(size: int, run: str) -> str:
    """Size of the run folder."""
    return f"Disk: about {max(size / 1e6, 1):.0f} MB in {run}."


def framed(title: str) -> Table:
    """A table without columns yet."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
