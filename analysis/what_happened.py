# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What happened in a study
#
# The tables of a run folder, as `python -m stage1.tune` writes them: how the trials ended, how the
# arms look beside each other and beside linear interpolation, how they learned, and which
# configuration came out best. It describes one run; it does not test a difference between arms.
#
# Set `RUN` to the folder, relative to this notebook: `../runs/transfer` after the default study.

# %%
# %matplotlib inline
import os

import pandas as pd
from IPython.display import display

import stage1
from stage1.pages.blocks import cautions
from stage1.pages.figures import draw_all
from stage1.run.summary import (
    baseline_value,
    best_configuration,
    count_exclusions,
    count_statuses,
    leaderboard,
    summarize_arms,
    tie_text,
)

RUN = os.environ.get("STAGE1_RUN", "sample_run")

# %%
run = stage1.load_run(RUN)
tables, trials, evaluation = run.tables, run.trials, run.evaluation
space = tables.space
print(f"{space.name}: {len(trials)} trials have ended, horizon {space.horizon_epochs} epochs")
for caution in cautions(evaluation.warnings, evaluation.deviations):
    print(f"{caution.kind}: {caution.text}")

# %% [markdown]
# ## How the trials ended
# The design runs every arm to the horizon; in the search a scheduler stops the weaker trials early.

# %%
display(count_statuses(trials))

# %%
display(count_exclusions(trials))

# %% [markdown]
# ## The arms
# Best, median and spread (standard deviation) are over the design's configurations that completed
# with every seed planned for them, each by its mean over seeds; seconds are those of a trial.

# %%
metric = space.objective.metric
print(f"{metric} of linear interpolation: {baseline_value(trials, metric):.4f}")
display(summarize_arms(trials, space, tables.registration).round(4))

# %% [markdown]
# ## How they learned
# A line is the mean of the middle half of the design's trials, its band the 95 % interval of that
# mean, by resampling configurations. Where a curve stays below the dashed line, drawing a straight
# line across the hidden bars does better.

# %%
figures = {drawn.name: drawn for drawn in draw_all(tables, evaluation)}
learned = figures["learning_curves"]
if learned.figure:
    learned.figure.set_dpi(110)
display(learned.figure or learned.missing)

# %% [markdown]
# ## The best configuration
# By mean over seeds, among those that completed with all seeds planned for them, in the arms that
# one would train: never a control such as shuffled weights. What differs by less than the noise of
# a seed is a tie. `python -m stage1.export RUN` writes the best one to a file that trains alone.

# %%
best = best_configuration(trials, space, tables.registration)
print(f"{best.config_id}, arm {best.arm}: {metric} {best.mean:.4f}")
print(f"by seed {best.by_seed}, val_skill {best.skill:.4f}, of {best.candidates} configurations")
for rival in best.ties:
    print(f"a tie: {tie_text(rival)}")
display(pd.Series(best.values, name="value", dtype=object).to_frame())

# %% [markdown]
# ## The ten best
# Points of the search (stage confirm) count with fresh seeds, which did not choose them.

# %%
display(leaderboard(trials, space, tables.registration).head(10).round(4))
