"""A trained model as a folder in Hugging Face's layout: weights, configuration and model card."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from safetensors.torch import save_file

from stage1 import __version__
from stage1.base.errors import ModelError, ResultsError
from stage1.base.files import atomic_path, must_be_writable, sha256_of_file
from stage1.base.metric_table import METRICS, evaluation_key
from stage1.base.text import plural, shell_line
from stage1.config import ORIGIN, Config, with_values
from stage1.config.data import BUNDLED
from stage1.language_models.hub import cached_folder
from stage1.language_models.inventory import licence_of
from stage1.language_models.names import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    bundled_names,
    find_folder,
    hub_reference,
)
from stage1.pages.blocks import Block, Code, Commands, Heading, Items, Line, paragraph
from stage1.pages.evaluation_page import (
    MODEL,
    Evaluation,
    Scored,
    metrics_blocks,
    moment_of,
    tested_blocks,
)
from stage1.pages.markdown import markdown
from stage1.training.checkpoint import MODEL_TYPE, Record, Trained

_ADVICE = "give another --to"
_NOT_STATED = "not stated; ask whoever it comes from, and say it here"
_BUNDLED_BARS = "Apache-2.0, Copyright 2025 Mourits de Beer (ohlc-toolkit 3.1.2)"


def check_new(folder: Path) -> None:
    """Refuse a folder in which something lies: a card that somebody has edited, for one.

    Raises:
        ResultsError: It is there, and not empty.
    """
    with must_be_writable(folder, advice=_ADVICE):
        if folder.is_dir() and not any(folder.iterdir()):
            return
    if os.path.lexists(folder):
        raise ResultsError(f"{folder}: must not exist yet, or be empty; {_ADVICE}, or remove it")


def write_folder(
    trained: Trained,
    folder: Path,
    *,
    evaluation: Evaluation | None,
    license: str,
) -> None:
    """Write config.json, model.safetensors and README.md, all or nothing.

    The configuration names no folder of this machine.

    Args:
        trained: A checkpoint; what only going on with its training needs is left out.
        folder: New, or empty.
        evaluation: Of the checkpoint, for the card; None = it shows no metrics.
        license: Of the weights, for the card, as Hugging Face abbreviates it.

    Raises:
        ResultsError: The folder cannot be written, or is there by now.
    """
    record = trained.record.model_copy(update={"config": _published(trained.record.config)})
    stored = {
        "model_type": MODEL_TYPE,
        "stage1_version": __version__,
        "checkpoint_sha256": sha256_of_file(trained.file),
        **record.model_dump(mode="json"),
        "bars": record.bars.model_dump(mode="json", exclude_defaults=True),
    }
    weights = {name: tensor.contiguous() for name, tensor in trained.weights.items()}
    with (
        must_be_writable(folder, advice=_ADVICE),
        atomic_path(folder, replace=False) as path,
    ):
        path.mkdir()
        save_file(weights, path / WEIGHTS_FILE, metadata={"format": "pt"})
        (path / CONFIG_FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        # safetensors lets nobody but the owner read its file, whatever the umask says.
        (path / WEIGHTS_FILE).chmod((path / CONFIG_FILE).stat().st_mode)
        facts = {
            "sha256 of the checkpoint": stored["checkpoint_sha256"],
            f"sha256 of {WEIGHTS_FILE}": sha256_of_file(path / WEIGHTS_FILE),
            "sha256 of the bars": record.bars.sha256,
            **dict(record.fingerprints),
            "seed": str(record.config.training.seed),
            "stage1, torch": f"{__version__}, {version('torch')}",
        }
        text = _card(
            folder.resolve().name,
            trained,
            evaluation,
            license=license,
            facts=facts,
        )
        (path / CARD_FILE).write_text(text, encoding="utf-8")


def _published(config: Config) -> Config:
    """A configuration without the folders of the machine that it was trained on."""
    values: dict[str, Any] = {}
    if config.data.data_dir != BUNDLED:
        values["data.data_dir"] = None
    name = config.language_model_name
    if name is not None and _is_path(name):
        values["transfer_learning.lm_name_or_path"] = Path(name).name or "a local folder"
    if (origin := config.training.origin) is not None:
        values[ORIGIN] = origin.model_dump() | {"run": Path(origin.run).name}
    return with_values(config, values)


def _is_path(name: str) -> bool:
    if name in bundled_names():
        return False
    return os.path.isabs(name) or name.startswith((".", "~")) or os.path.isdir(name)


# The card ---------------------------------------------------------------------------------------


def _card(
    name: str,
    trained: Trained,
    evaluation: Evaluation | None,
    *,
    license: str,
    facts: dict[str, str | None],
) -> str:
    """README.md: what Hugging Face's pages read, between two lines, and what a person does."""
    head = _metadata(name, trained.record, evaluation, license=license)
    body = markdown(_blocks(name, trained, evaluation, facts))
    return f"---\n{head.to_yaml().strip()}\n---\n\n{body}"


def _metadata(
    name: str, record: Record, evaluation: Evaluation | None, *, license: str
) -> ModelCardData:
    config, of = record.config, f"its bars {record.bars.sha256[:12]}"
    if evaluation is not None and not evaluation.same_bars:
        of = "other bars"
    parts = {} if evaluation is None else {"validation": evaluation.validation}
    if evaluation is not None and evaluation.test is not None:
        parts["test"] = evaluation.test
    results = [
        EvalResult(
            task_type="feature-extraction",
            dataset_type=config.data.kind,
            dataset_name=f"{part} windows of {of}",
            dataset_split=part,
            metric_type=metric.name,
            metric_name=metric.label,
            metric_value=value,
        )
        for part, scored in parts.items()
        for metric in METRICS
        if not metric.is_family
        for value in [scored.of_all(MODEL, _column(metric.name, scored))]
        if math.isfinite(value)
    ]
    return ModelCardData(
        model_name=name,
        license=license,
        library_name="stage1",
        pipeline_tag="feature-extraction",
        base_model=_base_model(config),
        tags=["time-series", "self-supervised", config.data.kind],
        eval_results=results or None,
    )


def _column(name: str, scored: Scored) -> str:
    return name if name in scored.scores else evaluation_key(name)


def _base_model(config: Config) -> str | None:
    """The hub model that the weights began as; None where there is none."""
    name, transfer = config.language_model_name, config.transfer_learning
    if name is None or transfer.initialization == "random":
        return None
    if name in bundled_names() or _is_path(name):
        return None
    with suppress(ModelError):  # the name of a folder that is gone
        return hub_reference(name)[0]
    return None


def _blocks(
    name: str,
    trained: Trained,
    evaluation: Evaluation | None,
    facts: dict[str, str | None],
) -> list[Block]:
    config = trained.record.config
    data = config.data
    of = "open, high, low, close" if data.kind == "ohlc" else ", ".join(data.channel_names)
    parameters = sum(tensor.numel() for tensor in trained.weights.values())
    measured: list[Block] = [paragraph("Not measured.")]
    if evaluation is not None:
        measured = [
            *metrics_blocks(evaluation),
            paragraph(
                "These windows changed no weight, but may have chosen this training among others. "
                "They say how well hidden bars are reconstructed, not whether anything can be "
                "predicted."
            ),
            *tested_blocks(evaluation),
        ]
    return [
        Heading(name, 1),
        paragraph(
            f"A self-supervised model of bars ({of}), trained by stage1: it sees "
            f"{data.seq_len} {data.unit if config.model.async_sampler else 'bars'} of "
            f"{', '.join(data.timeframes)}, some spans hidden, and reconstructs them. Its encoder "
            f"gives {config.model.d_model} numbers for each bar, or for each window and timeframe. "
            f"{plural(parameters, 'parameter')}, float32."
        ),
        Heading("Use"),
        paragraph("With the package stage1, in the folder that this one lies in; from Python:"),
        Commands(["import stage1", f"encoder = stage1.load_encoder({name!r})"]),
        paragraph("or from a shell, bars to vectors as a file, and the metrics below again:"),
        Commands(
            [shell_line(command, name, data_dir="BARS") for command in ("encode", "evaluate")]
        ),
        paragraph(
            *("BARS is a folder that ", Code("python -m stage1.prepare"), " makes, or "),
            *(
                Code(BUNDLED),
                ", the bars that come with the package. Nothing in this folder is run ",
            ),
            "when it is loaded.",
        ),
        Heading("Metrics"),
        *measured,
        Heading("Trained on"),
        Items(_origins(trained.record)),
        Heading("Provenance"),
        Items([(f"{what}: ", Code(value)) for what, value in facts.items() if value]),
    ]


def _origins(record: Record) -> list[Line]:
    """The bars and the language model, with their licences."""
    config, transfer = record.config, record.config.transfer_learning
    is_bundled = config.data.data_dir == BUNDLED
    bars = "the 14 days of BTC/USD that come with stage1" if is_bundled else "bars of its author"
    begins = "" if record.bars.begins_at is None else f"from {moment_of(record.bars.begins_at)} "
    licence = _BUNDLED_BARS if is_bundled else _NOT_STATED
    lines: list[Line] = [
        (f"{bars}, {begins}until {moment_of(record.bars.split_at)}. Licence: {licence}",)
    ]
    name = config.language_model_name
    if name is not None:
        shown = Path(name).name if _is_path(name) else name
        text = f", initialization {transfer.initialization}. Licence: {_licence(name)}"
        lines.append(("the T5 ", Code(shown), text))
    return lines


def _licence(name: str) -> str:
    """That a language model's own card states, where it is on this machine."""
    with suppress(ModelError):  # gone since
        folder = find_folder(name) or cached_folder(name)
        if folder is not None and (stated := licence_of(folder)) != "not stated":
            return stated
    return _NOT_STATED
