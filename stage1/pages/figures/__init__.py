"""The figures of a run: one function computes what a figure shows, another draws it."""

from __future__ import annotations

from matplotlib import rc_context

from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables
from stage1.pages.figures.drawn import LOOK, DrawnFigure, save_figure
from stage1.pages.figures.forest import forest_figure
from stage1.pages.figures.importance_figures import sensitivity_figure, variances_figure
from stage1.pages.figures.learning import (
    curves_figure,
    signal_figure,
    steps_figures,
    user_metric_figures,
)
from stage1.pages.figures.paired import gaps_figure, profile_figure, slopes_figure
from stage1.pages.figures.step_cost_figure import cost_figure
from stage1.pages.figures.tuning_figures import expected_best_figure, rate_figure

__all__ = ["DrawnFigure", "draw_all", "save_figure"]


def draw_all(tables: RunTables, evaluation: Evaluation) -> list[DrawnFigure]:
    """Draw every figure of the report in order; those without data say why.

    Always the same eleven; a user's metrics and the relative steps where the run has them.
    """
    with rc_context(LOOK):
        return [
            forest_figure(evaluation),
            gaps_figure(tables, evaluation),
            slopes_figure(tables, evaluation),
            profile_figure(tables, evaluation),
            expected_best_figure(tables, evaluation),
            rate_figure(tables, evaluation),
            variances_figure(tables, evaluation),
            curves_figure(tables, evaluation),
            *user_metric_figures(tables, evaluation),
            *steps_figures(tables, evaluation),
            signal_figure(evaluation),
            sensitivity_figure(tables, evaluation),
            cost_figure(tables, evaluation),
        ]
