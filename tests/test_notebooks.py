"""The notebooks: paired with their scripts, executed as committed, and runnable on any run."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from command_line import HANG
from made_runs import ZERO_VAL_LOSS, write_rich_run, write_synthetic_run
from nbclient import NotebookClient

from stage1.run.columns import PARAMETER_PREFIX
from stage1.run.tables import read_trials

ANALYSIS = Path(__file__).parents[1] / "analysis"
NOTEBOOKS = sorted(ANALYSIS.glob("*.ipynb"))
FROM_PYTHON = ANALYSIS / "from_python.ipynb"
"""Runs a study of its own."""
SAMPLE = ANALYSIS / "sample_run"
LOADED = "import sys; print('loaded:', sorted({'torch', 'ray', 'stage1.model'} & set(sys.modules)))"

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def executed(notebook, monkeypatch, run):
    """The notebook after a run in its own folder, with `RUN` set to another run.

    A cell at its end says what it has loaded.
    """
    monkeypatch.setenv("STAGE1_RUN", str(run))
    monkeypatch.setenv("PYTHONPATH", str(ANALYSIS.parent))
    content = nbformat.read(notebook, as_version=4)
    content.cells.append(nbformat.v4.new_code_cell(LOADED))
    resources = {"metadata": {"path": str(notebook.parent)}}
    return NotebookClient(content, timeout=HANG, resources=resources).execute()


def outputs(content):
    return [output for cell in content.cells for output in cell.get("outputs", [])]


def shown(content):
    """Everything that the cells print or display as text or HTML."""
    parts = [output.get("text", "") for output in outputs(content)]
    for output in outputs(content):
        parts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text")]
    return "\n".join(parts)


def complaints(content):
    """What the cells write to the standard error stream: warnings, for one."""
    return [output["text"] for output in outputs(content) if output.get("name") == "stderr"]


def kinds(content):
    return {kind for output in outputs(content) for kind in output.get("data", {})}


def rows(text, name):
    """The words of every line that begins with `name`, as a table's row does."""
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return [line.removeprefix(name).split() for line in lines]


@every_notebook
def test_a_notebook_and_its_script_have_the_same_cells(notebook):
    script = jupytext.read(notebook.with_suffix(".py"))

    content = jupytext.read(notebook)

    def cells(source):
        return [(cell.cell_type, cell.source) for cell in source.cells]

    assert cells(content) == cells(script)


@every_notebook
def test_a_notebook_is_committed_as_one_run_from_top_to_bottom_left_it(notebook):
    content = nbformat.read(notebook, as_version=4)

    counts = [cell.execution_count for cell in content.cells if cell.cell_type == "code"]

    assert counts == list(range(1, len(counts) + 1))
    assert complaints(content) == []


@pytest.mark.parametrize(
    "notebook", [one for one in NOTEBOOKS if one != FROM_PYTHON], ids=lambda path: path.stem
)
def test_a_notebook_runs_on_the_committed_run(notebook, monkeypatch):
    content = executed(notebook, monkeypatch, SAMPLE)

    assert "image/png" in kinds(content)
    assert complaints(content) == []
    assert "loaded: []" in shown(content)


def test_all_of_it_from_python_takes_less_than_forty_lines():
    cells = nbformat.read(FROM_PYTHON, as_version=4).cells

    lines = [line for c in cells if c.cell_type == "code" for line in c.source.splitlines()]

    assert sum(bool(line.strip()) for line in lines) < 40


@pytest.mark.slow
def test_all_of_it_from_python_runs(tmp_path, monkeypatch):
    notebook = tmp_path / FROM_PYTHON.name
    notebook.write_bytes(FROM_PYTHON.read_bytes())

    content = executed(notebook, monkeypatch, SAMPLE)

    text = shown(content)
    assert "NOT EVALUABLE" in text
    assert re.search(r"confirm-\S+: direction 0\.\d{3}", text)
    assert "32 numbers for each of ('m1', 'm5', 'm15')" in text
    assert "image/png" in kinds(content)
    assert complaints(content) == []
    assert (tmp_path / "training" / "last.ckpt").exists()


def test_what_happened_shows_statuses_arms_curves_and_the_best_configuration(tmp_path, monkeypatch):
    run = write_synthetic_run(tmp_path / "run", configurations=2)
    with run.space.open("a") as file:
        file.write("# edited\n")

    content = executed(ANALYSIS / "what_happened.ipynb", monkeypatch, run.path)

    text = shown(content)
    assert "synthetic: 15 trials have ended, horizon 4 epochs" in text
    assert "val_correlation of linear interpolation: 0.2000" in text
    assert "design000, arm pretrained: val_correlation 0.9160" in text
    assert "val_loss is not finite at epoch 1" in text
    assert "Deviation: space.yaml" in text
    assert {"shuffled", "diverged", "median"} <= set(
        text.replace("<", " ").replace(">", " ").split()
    )
    assert "image/png" in kinds(content)


def test_what_matters_shows_parts_of_the_variance_noise_and_the_best_regions(tmp_path, monkeypatch):
    run = write_rich_run(tmp_path / "run", configurations=36)
    design = read_trials(run).query("stage == 'design'").fillna({"val_loss": ZERO_VAL_LOSS})
    failed = (design["config_id"] == "design003") & (design["seed"] == 2)  # in one arm
    whole = design[~failed]
    logs = np.log(whole.pivot_table("val_loss", ["arm", "config_id"], "seed"))
    weights = (35 / 2 + 1) / 36  # of a mean over seeds: one configuration has one
    noise = 100 * logs.var(axis=1)["pretrained"].mean() * weights
    noise /= logs.mean(axis=1)["random"].var()
    means = whole[whole["arm"] == "pretrained"].groupby("config_id")["val_correlation"].mean()
    best = whole[whole["config_id"].isin(means.nlargest(len(means) // 4).index)]
    rates = best.drop_duplicates("config_id")[PARAMETER_PREFIX + "training.optimizer.lr"]
    ends = rates.quantile([0.1, 0.9], interpolation="nearest")

    content = executed(ANALYSIS / "what_matters.ipynb", monkeypatch, run.path)

    text = shown(content)
    assert "rich: 35 configurations complete, seeds (1, 2)" in text
    (shares,) = rows(text, "noise of the seeds")
    assert float(shares[0]) == pytest.approx(noise, abs=0.051)
    assert "what losses in random order would give" in text
    assert f"{ends.min():.2g} to {ends.max():.2g}, median {rates.median():.2g}" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs(content)) == 3


def test_transfer_or_random_takes_the_claims_one_by_one(tmp_path, monkeypatch):
    run = write_synthetic_run(tmp_path / "run", configurations=2)

    content = executed(ANALYSIS / "transfer_or_random.ipynb", monkeypatch, run.path)

    text = shown(content)
    assert "2 configurations x seeds [1, 2]" in text
    assert "look at 2: every interval at 99.17% confidence" in text
    # The arms' final correlations are 0.906, 0.896 and 0.886, mean over configurations and seeds.
    horizon = rows(text, "gain at the horizon")
    assert horizon[0][:2] == ["NOT", "EVALUABLE"]
    assert "at most 11.6% is possible" in text  # 1 / 0.896 - 1
    assert "+1.1%" in text  # 0.906 / 0.896 - 1
    # Pretrained against shuffled, shuffled against random: each an estimate and two ends.
    (controls,) = [words for words in horizon if words[1].startswith("[")]
    assert [controls[0], controls[3]] == ["+2.3%", "\N{MINUS SIGN}1.1%"]
    assert "×1.10" in text  # the cost's ratio
    assert "image/png" in kinds(content)


@pytest.mark.parametrize("name", ["what_matters", "transfer_or_random"])
def test_one_arm_and_one_seed_leave_gaps_that_are_told(name, tmp_path, monkeypatch):
    run = write_synthetic_run(tmp_path / "run", arms=("pretrained",), seeds=1)

    text = shown(executed(ANALYSIS / f"{name}.ipynb", monkeypatch, run.path))

    told = {
        "what_matters": "needs 32 configurations, 4 have a score",
        "transfer_or_random": "the study has no random arm",
    }
    assert told[name] in text
