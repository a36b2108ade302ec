"""`python -m stage1.claims selftest [RUN]`: how often the tests err on studies like yours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stage1.base.errors import EXIT_DEFECT
from stage1.base.terminal import print_plain, run_command
from stage1.claims.catalogue import DEFINITIONS, ERROR_RATE, FAMILY_ERROR
from stage1.claims.error_rates import (
    UNEQUAL_NOISE,
    ErrorRates,
    Share,
    any_false_finding,
    error_rates,
    family_defect,
)
from stage1.claims.surfaces import Setting
from stage1.claims.synthetic import World, draw_studies, variation, world_of_run
from stage1.run.folder import RunFolder
from stage1.run.looks import DesignSize
from stage1.run.registration import read_preregistration

_SETTINGS = (Setting(0, True), Setting(0, True), Setting(4, True), Setting(2, True))
_DEFAULT = World(_SETTINGS, early_correlation=0.35, final_correlation=0.5)
_DEFAULT_SIZE = DesignSize((16, 32), seeds=2, grows=True)
_NOTE = (
    "Each rate is a share of the made-up studies, over all looks of a study, with its Monte-Carlo "
    "error. False finding: the claim is evaluable and its interval excludes no effect, where there "
    "is none (cost: excludes the margin, where the ratio is exactly that). False SUPPORTED: the "
    "verdict where the effect is exactly the lower end of what is claimed (cost: exactly the "
    "margin). Power: how often the interval lies wholly on the side of the claim at that same "
    "effect. Not possible: no scores at this level have that effect. Can tell: studies without an "
    "effect in which the claim was evaluable at all. Stability errs in up to "
    f"{UNEQUAL_NOISE:.0%} where the noise differs between the configurations of one arm only."
)


def selftest(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Take design and variances from this run folder; else typical."
        ),
    ] = None,
    studies: Annotated[int, typer.Option(min=100, help="Made-up studies per rate.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up studies.")] = 0,
) -> None:
    """Test the tests: error rates and power on made-up studies of a known truth.

    Exit status 1 if a rate is more than three Monte-Carlo errors above what it may be.
    """
    console = Console()
    base = world_of_run(run) if run else _DEFAULT
    size = read_preregistration(RunFolder(run)).size if run else _DEFAULT_SIZE
    print_plain(console, _described(base, size, run))
    defects: list[str] = []
    for heavy in (False, True):
        world = base._replace(heavy_tailed=heavy)
        rates, family = _simulated(world, size, studies=studies, seed=seed, console=console)
        console.print(_table(rates, family, tails=_tails(world)))
        defects += [text for line in rates for text in line.defects]
        defects += filter(None, [family_defect(family)])
    console.print(_NOTE, highlight=False)
    for text in defects:
        console.print(f"DEFECT: {text}", style="red", highlight=False)
    if defects:
        raise typer.Exit(EXIT_DEFECT)
    console.print("No rate is above what it may be.", highlight=False)


def _simulated(
    world: World, size: DesignSize, *, studies: int, seed: int, console: Console
) -> tuple[list[ErrorRates], Share]:
    """Every claim's rates, and that of any of them; shows what is being simulated."""
    doing = f"Simulating studies with {_tails(world)}"
    rates = []
    with console.status("") as status:  # which only a terminal shows
        tell = status.update if console.is_terminal else partial(print_plain, console)
        draws = draw_studies(world, size, studies=studies, seed=seed)
        for place, definition in enumerate(DEFINITIONS, start=1):
            name = definition.registered_name
            tell(f"{doing}: {name} ({place} of {len(DEFINITIONS)}) ...")
            rates.append(error_rates(draws, world, size, definition, seed=seed))
    return rates, any_false_finding(rates)


def _tails(world: World) -> str:
    if world.heavy_tailed:
        return "heavy tails (Student's t, 4 degrees of freedom)"
    return "Gaussian scores"


def _described(world: World, size: DesignSize, run: Path | None) -> str:
    source = f"scores vary as in {run}" if run else "scores that leave room for every claim"
    looks = ", ".join(map(str, size.looks))
    seeds = f"{size.seeds} seeds" + (
        "" if size.replicated is None else f" for {size.replicated} of them, one for the others"
    )
    return f"Looks at {looks} configurations, {seeds}, {source}: {variation(world)}."


def _table(rates: list[ErrorRates], family: Share, *, tails: str) -> Table:
    title = f"Error rates, {tails}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", no_wrap=True)
    for name in ("false finding", "false SUPPORTED", "power", "can tell"):
        table.add_column(name, justify="right", no_wrap=name != "false SUPPORTED")
    for line in rates:
        definition = line.definition
        table.add_row(
            f"  {definition.beside}" if definition.beside else definition.name,
            _rate(line.without_effect.found),
            _rate(line.at_claimed and line.at_claimed.supported),
            _rate(line.at_claimed and line.at_claimed.positive),
            f"{line.without_effect.evaluable.value:.0%}",
        )
    table.add_row("any claim", _rate(family), "", "", "")
    table.add_row("allowed, each", f"{ERROR_RATE:.2%}", f"{ERROR_RATE / 2:.2%}", "", "")
    table.add_row("allowed, any claim", f"{FAMILY_ERROR:.2%}", "", "", "")
    return table


def _rate(share: Share | None) -> str:
    return "not possible" if share is None else f"{share.value:.2%} ±{share.error:.2%}"


COMMANDS = {"selftest": selftest}

if __name__ == "__main__":
    run_command(COMMANDS)
