"""`stage1 COMMAND`, which is also `python -m stage1 COMMAND`: every command under one name."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from stage1 import __version__
from stage1.base.interrupt import raise_on_ctrl_c
from stage1.base.terminal import command_line, run_app


class _Command(NamedTuple):
    """Where a command is; nothing of it is imported before it is asked for."""

    help: str
    """In the list of all commands."""
    module: str
    entry: str
    """A function of the module, or its mapping of several."""
    hidden: bool = False
    """Left out of the list, which fits a small screen."""


COMMANDS = {
    "new": _Command("Begin a study of your own: a copy to edit.", "stage1.new", "new"),
    "plan": _Command(
        "Tell what a study takes and what it could see.", "stage1.plan.__main__", "plan"
    ),
    "tune": _Command("Run a study, or go on with it.", "stage1.tune", "tune"),
    "report": _Command(
        "Write a study's report again; claims tests its tests.", "stage1.report", "main"
    ),
    "claims": _Command(
        "How often the tests err on studies like yours.",
        "stage1.claims.__main__",
        "COMMANDS",
        hidden=True,
    ),
    "export": _Command("Write a study's best configuration.", "stage1.export", "main"),
    "track": _Command(
        "Write a study into MLflow, W&B or trackio.", "stage1.track", "main", hidden=True
    ),
    "train": _Command("Train one configuration.", "stage1.train", "train"),
    "evaluate": _Command("Score and draw what a training learned.", "stage1.evaluate", "evaluate"),
    "encode": _Command(
        "Turn bars into vectors; push makes a Hugging Face folder.", "stage1.encode", "encode"
    ),
    "push": _Command(
        "Write a trained model as a Hugging Face folder.", "stage1.push", "push", hidden=True
    ),
    "compare": _Command(
        "Train configurations side by side; compare_runs: studies.", "stage1.compare", "compare"
    ),
    "compare_runs": _Command(
        "Put studies side by side, pooled where they may be.",
        "stage1.compare_runs",
        "main",
        hidden=True,
    ),
    "prepare": _Command("Check and resample bars of your own.", "stage1.prepare", "prepare"),
    "models": _Command(
        "List, fetch, verify language models; pretrain makes one.", "stage1.models", "COMMANDS"
    ),
    "pretrain": _Command(
        "Train a small T5 on plain text; fetch-corpus gets some.",
        "stage1.pretrain.__main__",
        "pretrain",
        hidden=True,
    ),
    "fetch-corpus": _Command(
        "Fetch the text of the bundled language models.",
        "stage1.pretrain.fetch",
        "fetch",
        hidden=True,
    ),
}


class _Lazy(TyperGroup):
    """Lists commands without importing them; the one that is called is imported then."""

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, Any | None, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:  # while a shell completes a name
            return name, listed, rest
        command = COMMANDS[name]
        entry = getattr(import_module(command.module), command.entry)
        raise_on_ctrl_c()
        return name, typer.main.get_command(command_line(entry)), rest


def _show_version(asked: bool) -> None:
    if asked:
        print(f"stage1 {__version__}")
        raise typer.Exit


def _stage1(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Does a language model's T5 help a self-supervised market encoder?"""
    if context.invoked_subcommand is None:
        print(context.get_help())


def app() -> typer.Typer:
    """The command line; its help is plain, so that it fits a small screen."""
    line = typer.Typer(cls=_Lazy, rich_markup_mode=None, pretty_exceptions_enable=False)
    line.callback(invoke_without_command=True)(_stage1)
    for name, command in COMMANDS.items():
        line.command(name, help=command.help, hidden=command.hidden)(lambda: None)
    return line


def main() -> None:
    """Run the command line of this process.

    Raises:
        SystemExit: Always; with 0 where all went well.
    """
    run_app(app())


if __name__ == "__main__":
    main()
