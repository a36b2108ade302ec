"""How the scores of an earlier run vary, as the model that made-up studies are drawn from."""

from __future__ import annotations

from pathlib import Path

from stage1.claims.inputs import read_run
from stage1.claims.scores import design_scores
from stage1.claims.synthetic import ScoreModel, model_of
from stage1.errors import ResultsError
from stage1.results import PRETRAINED, RANDOM, RunFolder


def model_of_run(path: Path) -> ScoreModel:
    """The score model of a run folder, with the run's own design.

    Raises:
        ResultsError: The folder is not a run, or too small to tell how its scores vary.
    """
    tables = read_run(RunFolder(path))
    scores = design_scores(tables.trials, tables.curves, tables.space, tables.registration)
    roles = tables.registration.roles
    known = [roles[role] for role in (PRETRAINED, RANDOM) if role in roles]
    model = model_of(*map(scores.arm, known)) if len(known) == 2 else None
    if model is None:
        raise ResultsError(
            f"{path}: must hold a pretrained and a random arm with three configurations and two "
            "seeds, got fewer; leave it out for a typical study"
        )
    return model


def variation(model: ScoreModel) -> str:
    """How the scores vary, in one sentence without its full stop."""
    return (
        f"val_correlation {model.early_correlation:.3f} at the early epoch and "
        f"{model.final_correlation:.3f} at the horizon, spread between configurations "
        f"{model.correlation_spread:.4f} (of log val_loss {model.loss_spread:.4f}), "
        f"{model.reliability:.0%} of a score's variance the configuration's and not the seed's, "
        f"correlation of the two arms {model.arm_correlation:.2f}"
    )
