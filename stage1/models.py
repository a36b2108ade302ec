"""`python -m stage1.models list | verify NAME | fetch NAME`: the language models at hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from stage1.base.terminal import run_command
from stage1.language_models.inventory import Entry, fetch, inventory, licence_of
from stage1.language_models.resolver import model_folder

_WIDE = 200
"""Columns where no terminal says how many there are: a file or a pipe breaks no line."""
_FROM_NOW_ON = "set HF_HUB_OFFLINE=1; it needs no network from now on"
_HOW = {
    "bundled": ("comes with the package, nothing to fetch", "needs no network"),
    "local": ("a local folder, nothing to fetch", "needs no network"),
    "cached": ("in the Hugging Face cache already", _FROM_NOW_ON),
    "downloaded": ("downloaded into the Hugging Face cache", _FROM_NOW_ON),
}
"""How a fetched model came here, and what that means without a network."""
_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A bundled model, a local folder, or a hub model, owner/model or "
        "owner/model@revision.",
    ),
]


def list_models() -> None:
    """List the language models: bundled, in the Hugging Face cache, and known to be on the hub.

    Asks no network.
    """
    entries, faults = inventory()
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    console.print(_table(entries))
    if any(entry.where == "hub" for entry in entries):
        print("hub: not here yet; python -m stage1.models fetch NAME downloads it.")
    if any(entry.where == "in part" for entry in entries):
        print("in part: the download was not finished; fetch it again.")
    for fault in faults:
        print(f"left out of the list: {fault}", file=sys.stderr)


def verify_model(name: _Name) -> None:
    """Go through everything in a language model, and say whether it was trained.

    The verdict compares its matrices with fresh draws of the same config:
    pretrained, random, or in how many blocks it is pretrained. The exit status
    is 0 for each of them, and 2 for a model that is broken.
    """
    # `transformers` takes seconds to import: the other commands should not have to wait for it.
    from stage1.language_models.verification import described, verify

    model_folder(name)  # a download shows progress of its own
    with Console(stderr=True).status("Reading, and comparing with fresh draws ..."):
        verified = verify(name)
    print(name)
    _print_lines(described(verified))


def fetch_model(name: _Name) -> None:
    """Download a hub model into the Hugging Face cache, for a machine that will go offline.

    Takes config, card and safetensors, nothing else, and checks that they load.
    """
    fetched = fetch(name)
    how, offline = _HOW[fetched.where]
    print(f"{name}: {how}")
    _print_lines(
        [
            ("folder", str(fetched.folder)),
            ("size", decimal(fetched.bytes_on_disk)),
            ("licence", licence_of(fetched.folder)),
            ("offline", offline),
        ]
    )


def _print_lines(lines: Iterable[tuple[str, str]]) -> None:
    for label, text in lines:
        print(f"  {label:<13}{text}")


def _table(entries: list[Entry]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", overflow="fold")
    table.add_column("where", no_wrap=True)
    table.add_column("encoder parameters\nwithout token table", justify="right", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for name, where, parameters, size, licence in entries:
        on_disk = "-" if size is None else decimal(size)
        table.add_row(Text(name), where, f"{parameters:,}", on_disk, Text(licence))
    return table


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_models,
    "verify": verify_model,
    "fetch": fetch_model,
}

if __name__ == "__main__":
    run_command(COMMANDS)
