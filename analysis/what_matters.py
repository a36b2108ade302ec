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
# # What matters in a study
#
# Which hyperparameters the result depends on, in each arm: how much of the variance each explains,
# how the result goes with the learning rate, whether settings act together, and where the best
# configurations lie. It rests on the design alone, whose configurations no search chose.
#
# Set `RUN` to the folder, relative to this notebook: `../runs/transfer` after the default study.

# %%
# %matplotlib inline
import os

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

import stage1
from stage1.base.metric_table import metric_label
from stage1.claims.scores import means_over_seeds
from stage1.pages.blocks import cautions
from stage1.pages.design_section import describe_domain
from stage1.pages.figures import draw_all
from stage1.pages.figures.drawn import scale_log
from stage1.pages.figures.importance_figures import variance_shares
from stage1.pages.figures.tuning_figures import study_objective
from stage1.pages.markdown import escaped
from stage1.run.columns import RANDOM
from stage1.run.resolved_space import Choice, Range

RUN = os.environ.get("STAGE1_RUN", "sample_run")

# %%
run = stage1.load_run(RUN)
tables, evaluation = run.tables, run.evaluation
scores, domains = evaluation.scores, tables.space.space
objective = study_objective(tables, scores)
print(f"{tables.space.name}: {scores.complete} configurations complete, seeds {scores.seeds}")
for caution in cautions(evaluation.warnings, evaluation.deviations):
    print(f"{caution.kind}: {caution.text}")

# %%
figures = {drawn.name: drawn for drawn in draw_all(tables, evaluation)}
pd.set_option("display.max_colwidth", None)


# %%
def show(name):
    """Display a figure of the report with its caption, or say why there is none."""
    drawn = figures[name]
    if drawn.figure:
        drawn.figure.set_dpi(110)
        display(drawn.figure)
    display(Markdown(escaped(drawn.caption or f"{drawn.title}: {drawn.missing}.")))


# %% [markdown]
# ## How much each setting matters
# Parts of the variance of log val_loss between configurations. All arms are on one scale, so a
# shorter bar means that the arm depends less on that setting. Shares that add up to 100 % in every
# arm could not say so.
#
# Fewer than 32 configurations, or settings that vary together in the design, cannot say. And the
# random forest behind it fits noise too, and shares it out among the settings as if each mattered
# on its own: a bar that does not pass its stroke, what chance would give, says nothing.

# %%
show("partial_variances")

# %% [markdown]
# The same in numbers, chance in brackets.

# %%
losses = {arm: means_over_seeds(scores.arm(arm).log_loss) for arm in scores.log_loss}
losses = {arm: loss for arm, loss in losses.items() if np.isfinite(loss).any()}
common = tables.registration.roles.get(RANDOM, next(iter(scores.log_loss)))
parts = variance_shares(scores, tables.space, common=common, with_chance=True)
enough = not isinstance(parts, str)
measured = pd.DataFrame(parts.shares, index=list(parts.parts)) if enough else pd.DataFrame()
if enough:
    chance = pd.DataFrame(parts.chance, index=list(parts.parts))
    display(measured.map("{:.0f}".format) + chance.map(" ({:.0f})".format))

# %% [markdown]
# ## The learning rate
# The flatter an arm's line, the more it forgives a wrong choice.

# %%
show("learning_rate")

# %% [markdown]
# ## Interactions
# What the settings do not explain one by one is interactions and noise together. Where a
# configuration was trained with several seeds, their noise can be told apart; where it is about as
# large as the remainder, or larger, no interaction is shown.

# %%
if enough:
    total = pd.Series(losses[common]).var()
    by_seed = {arm: pd.DataFrame(scores.arm(arm).log_loss) for arm in losses}
    seeds = np.isfinite(by_seed[common]).sum(axis=1).replace(0, np.nan)
    noise = {arm: one.var(axis=1).mean() * (1 / seeds).mean() for arm, one in by_seed.items()}
    measured.loc["noise of the seeds"] = 100 * pd.Series(noise) / total
    display(measured.tail(2).round(1))

# %% [markdown]
# Two settings at once: the learning rate and the factor of the T5's own or, where these are not
# both searched, the two numbers that matter most. A circle is a configuration, mean over seeds:
# the larger, the better its rank in the arm; the worst tenth share a colour. If the large ones lie
# along a slanted line, the two settings act together; if they lie elsewhere in another arm, the
# arms want different settings.

# %%
PAIR = ["training.optimizer.lr", "transfer_learning.lm_learning_rate_factor"]
numbers = scores.values.select_dtypes("number")
varied = [key for key in numbers if key in domains and numbers[key].nunique() > 1]
importance = measured.max(axis=1)
varied.sort(key=lambda key: -importance.get(key, 0.0))
pair = PAIR if set(PAIR) <= set(varied) else varied[:2]


# %%
def draw(axes, arm, colors):
    """A circle per configuration at the pair of settings; size by rank, colour by score."""
    score = pd.Series(objective.by_arm[arm], index=numbers.index)
    size = 15 + 150 * (objective.sign * score).rank(pct=True) ** 2
    axes.scatter(*(numbers[key] for key in pair), c=score, s=size, norm=colors, edgecolors="black")
    for key, axis in zip(pair, "xy", strict=True):
        if isinstance(domains[key], Range) and domains[key].log:
            scale_log(axes, numbers[key].to_numpy(dtype=float, na_value=np.nan), axis=axis)


# %%
figure = Figure(figsize=(3.1 * len(losses) + 0.9, 3.7), layout="constrained")
panels = figure.subplots(1, len(losses), sharex=True, sharey=True, squeeze=False)[0]
known = np.concatenate([score[np.isfinite(score)] for score in objective.by_arm.values()])
ends = [0.1, 1.0] if objective.sign > 0 else [0.0, 0.9]
for axes, arm in zip(panels, losses, strict=True):
    axes.set_title(arm)
    axes.tick_params(axis="x", rotation=45)

# %%
if len(pair) == 2 and len(known):
    for axes, arm in zip(panels, losses, strict=True):
        draw(axes, arm, Normalize(*np.quantile(known, ends)))
    figure.supxlabel(pair[0])
    figure.supylabel(pair[1])
    figure.colorbar(axes.collections[0], ax=list(panels), label=metric_label(objective.metric))
    display(figure)
else:
    print("Needs two settings that are numbers, and a configuration with all its seeds.")

# %% [markdown]
# ## The best regions
# Where the best quarter of each arm's configurations lies, by mean over seeds: of numbers, the
# middle four fifths and the median; of options, how many configurations have each. A range much
# narrower than what was searched is a hint of where to look. A few configurations lie close
# together by chance, so mind how many they are.


# %%
def best_quarter(arm):
    """The best quarter of an arm's configurations with all seeds, at least one."""
    score = pd.Series(objective.sign * objective.by_arm[arm], index=scores.configurations).dropna()
    return scores.values.loc[score.nlargest(max(len(score) // 4, 1)).index]


# %%
def region(column, domain):
    """Where the values of a setting lie, in words."""
    known = column.dropna()
    if isinstance(domain, Choice) or known.empty:
        named = column.convert_dtypes().astype(object).fillna("none")
        return ", ".join(f"{option}: {n}" for option, n in named.value_counts().items())
    low, high = known.astype(float).quantile([0.1, 0.9], interpolation="nearest")
    return f"{low:.2g} to {high:.2g}, median {known.median():.2g}"


# %%
table = pd.DataFrame({"searched": {key: describe_domain(one) for key, one in domains.items()}})
for arm in losses:
    best = best_quarter(arm)
    regions = {key: region(best[key], domains[key]) for key in best if key in domains}
    table[f"{arm}, best {len(best)}"] = pd.Series(regions)
display(table.fillna("not recorded"))
