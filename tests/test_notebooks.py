"""The notebooks: paired with their scripts, executed as committed, and runnable on any run."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from synthetic_run import write_synthetic_run

ANALYSIS = Path(__file__).parents[1] / "analysis"
NOTEBOOKS = sorted(ANALYSIS.glob("*.ipynb"))
SAMPLE = ANALYSIS / "sample_run"


def executed(notebook, monkeypatch, run):
    """The notebook after a run in its own folder, with `RUN` set to another run."""
    monkeypatch.setenv("STAGE1_RUN", str(run))
    monkeypatch.setenv("PYTHONPATH", str(ANALYSIS.parent))
    content = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(notebook.parent)}}
    return NotebookClient(content, timeout=60, resources=resources).execute()


def shown(content):
    """Everything that the cells print or display as text or HTML."""
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    parts = [output.get("text", "") for output in outputs]
    for output in outputs:
        parts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text")]
    return "\n".join(parts)


def kinds(content):
    return {
        kind
        for cell in content.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_script_have_the_same_cells(notebook):
    script = jupytext.read(notebook.with_suffix(".py"))

    content = jupytext.read(notebook)

    def cells(source):
        return [(cell.cell_type, cell.source) for cell in source.cells]

    assert cells(content) == cells(script)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_committed_run(notebook, monkeypatch):
    content = executed(notebook, monkeypatch, SAMPLE)

    assert "image/png" in kinds(content)


def test_what_happened_shows_statuses_arms_curves_and_the_best_configuration(tmp_path, monkeypatch):
    run = write_synthetic_run(tmp_path / "run", configurations=2)

    content = executed(ANALYSIS / "what_happened.ipynb", monkeypatch, run.path)

    text = shown(content)
    assert "synthetic: 15 trials have ended, horizon 4 epochs" in text
    assert "val_correlation of linear interpolation: 0.8800" in text
    assert "c0, arm pretrained: val_correlation 0.9160" in text
    assert "val_loss is not finite at epoch 1" in text
    assert {"shuffled", "diverged", "median"} <= set(
        text.replace("<", " ").replace(">", " ").split()
    )
    assert "image/png" in kinds(content)
