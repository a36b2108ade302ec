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
# # Transfer or random?
#
# Six claims say what a pretrained T5 is to give over the same T5 with random weights. This takes
# them one by one: the scores, what is estimated from them, the interval, the verdict. All of it is
# computed here from the tables of one run; `python -m stage1.report RUN` writes the same verdicts.
#
# Set `RUN` to the folder, relative to this notebook: `../runs/transfer` after the default study.

# %%
# %matplotlib inline
import os

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import stage1
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import cautions
from stage1.pages.claims_section import verdict_table
from stage1.pages.figures import draw_all
from stage1.pages.markdown import escaped
from stage1.pages.numbers import effect, effect_interval, number, significant
from stage1.run.columns import PRETRAINED, RANDOM, RANDOM_AGAIN, SHUFFLED
from stage1.run.summary import count_exclusions

RUN = os.environ.get("STAGE1_RUN", "sample_run")

# %%
run = stage1.load_run(RUN)
tables, evaluation, registration = run.tables, run.evaluation, run.tables.registration
print(f"{tables.space.name}: {registration.configurations} configurations x seeds", end=" ")
print(registration.seeds)
for look in evaluation.looks:
    print(f"look at {look.configurations}: every interval at {1 - look.level:.2%} confidence")
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
# ## The arms
# An arm is a way to begin: `pretrained` P, `random` R, and as a control `shuffled` S, the
# pretrained numbers in random order, which keeps their sizes and destroys what they learned.
# `vanilla` V is an encoder without a T5. Before the first trial it was fixed which arm plays which
# role, and how strong the random one is.

# %%
display(pd.Series(registration.roles, name="arm", dtype=object).rename_axis("role").to_frame())
print("Random arm:", registration.random_arm or "none")

# %% [markdown]
# A fair comparison changes one thing. Each configuration is trained in every arm with the same
# seeds: the same weights outside the T5, batches and hidden bars. Fingerprints in the tables show
# whether it was so; a NO here spoils every verdict.

# %%
display(pd.DataFrame(evaluation.checks, columns=["check", "result"]).set_index("check"))

# %% [markdown]
# ## The scores
# Two numbers of every trial of the design: val_correlation r, at the early epoch and at the
# horizon, and the logarithm of val_loss at the horizon. The search does not count: it prefers
# what promised well.
#
# A diverged trial has the worst score there is from the epoch it diverged at: correlation 0, and
# the loss of predicting 0, beyond which no loss counts. One that failed for another reason says
# nothing of its arm; its configuration and seed are left out of every arm.

# %%
scores = evaluation.scores
print(f"Early epoch {scores.early_epoch}, horizon {scores.epochs[-1]}.", end=" ")
print(f"The loss of predicting 0 is {number(np.exp(scores.zero_log_loss))}.")
left_out = ", ".join(f"{count} {reason}" for reason, count in scores.left_out.items())
print(f"Pairs of configuration and seed left out of every arm: {left_out or 'none'}.")

# %% [markdown]
# Means over the trials that count: share that diverged, r early and at the end, log val_loss.

# %%
arms, table = {arm: scores.arm(arm) for arm in scores.correlation}, {}
for arm, one in arms.items():
    parts = {"early": one.early, "final": one.final, "log_loss": one.log_loss}
    parts["diverged"] = one.diverged
    means = {name: pd.Series(part.ravel()).mean() for name, part in parts.items()}
    table[arm] = {"trials": np.isfinite(one.final).sum()} | means
display(pd.DataFrame.from_dict(table, orient="index").round(4))

# %% [markdown]
# What diverged or failed, search included:

# %%
display(count_exclusions(tables.trials))

# %% [markdown]
# The same configurations side by side: a verdict rests on these pairs, not on the arms' means.

# %%
show("paired_slopes")

# %% [markdown]
# ## From an interval to a verdict
# One interval decides a claim. Effects are signed so that the claim is positive: SUPPORTED means
# that all of the interval is at least what is claimed, DIRECTION ONLY that it is above 0,
# INCONCLUSIVE that it holds both 0 and the claimed size, NOT SUPPORTED that it holds 0 and not the
# claimed size, CONTRADICTED that it is below 0. NOT EVALUABLE: the study cannot speak to it.
# p belongs to that interval, times the number of claims.
#
# A design may be looked at several times, each time with more configurations. Every look spends a
# share of the error rate that was fixed before, so the intervals are wider than those of one look.
#
# Attribution asks the same of P against S after SUPPORTED or DIRECTION ONLY. Only if P is better
# there too has it to do with what these weights learned.


# %%
def show_claim(place):
    """What the run says of a claim and the line beside it, and what else the scores say."""
    lines = [one for one in evaluation.lines if one.id.startswith(place)]
    table = verdict_table(lines, ours="")
    cells = [[getattr(cell, "text", cell) for cell in row] for row in table.rows]
    display(pd.DataFrame(cells, columns=table.header).set_index("claim").T)
    display(Markdown("\n\n".join(escaped(f"{one.id}: {one.sentence}") for one in lines)))
    shown = {name: significant(value) for one in lines for name, value in one.shown.items()}
    if shown:
        display(pd.Series(shown, name="also").to_frame())


# %% [markdown]
# ## 1 Sensitivity
# What tuning is worth: somebody who tries three configurations keeps the best of them. How far the
# middle one lies behind it is the gap, $E[\max_3 - \mathrm{mid}_3]$ of $-l$, $l$ = log val_loss.
# The claim is about $1 - \mathrm{gap}_P / \mathrm{gap}_R$. The interval is Student's on the
# logarithm of the ratio, with the jackknife over configurations.
#
# The plan's own word is the spread over all configurations. A standard deviation is the number of
# the one or two worst of them, and no interval of it is both finite and honest. It stands among the
# further numbers, and so does the count of such cliffs, which the gap hardly feels.

# %%
show("tuning_value")

# %%
show_claim("1")

# %% [markdown]
# ## 2 Gain at the early epoch
# $\bar r_P / \bar r_R - 1$, paired over configurations, with Fieller's interval of a ratio. Beside
# it the share of what is missing to a perfect correlation, $1 - (1-\bar r_P)/(1-\bar r_R)$: ours,
# readable also where a correlation near 1 leaves no room for a gain.

# %%
show_claim("2")

# %% [markdown]
# ## 3 Gain at the horizon
# The same at the last epoch. Freezing a random T5 is a handicap, so the gain where it was never
# frozen stands beside it if the study varies that, and so does what each arm's best configuration
# reaches on fresh seeds.

# %%
show_claim("3")

# %% [markdown]
# ## 4 Stability
# $1 - \sum_c s^2_{P,c} / \sum_c s^2_{R,c}$, the variance of log val_loss between seeds inside a
# configuration, where neither arm diverged. Pretrained weights do not vary with the seed, so they
# are compared with one draw of random weights that does not either: an arm of its own.

# %%
show_claim("4")

# %% [markdown]
# ## 5 Early signal
# $\tau_P - \tau_R$: Kendall's rank correlation of early scores with the final ones of *another*
# seed, since one seed shares its luck. The final ranks of two seeds agree no better than the
# ceiling, so nothing can predict them better.

# %%
show_claim("5")

# %%
show("early_signal")

# %% [markdown]
# ## 6 Cost
# $\exp(\mathrm{mean} \log t_P - \mathrm{mean} \log t_V)$, $t$ the seconds per step, timed in turns
# with nothing else running. The claim is that the ratio stays within a margin: here SUPPORTED means
# that all of the interval does. P and R cost the same by construction.

# %%
show_claim("6")

# %% [markdown]
# ## All verdicts

# %%
show("verdict_forest")

# %% [markdown]
# ## What would decide the open ones
# The reason says what would help, or that the design was not made for the claim. `python -m
# stage1.plan` says before a run what a design can see.

# %%
settled = (Verdict.SUPPORTED, Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED)
left = [one for one in evaluation.claims if one.verdict not in settled]
rows = {one.name: {"verdict": one.verdict.value, "because": one.reason} for one in left}
display(pd.DataFrame.from_dict(rows, orient="index", columns=["verdict", "because"]))

# %% [markdown]
# ## The controls
# The same numbers between other pairs of arms. P against S is what attribution rests on. S against
# R is what the sizes of the numbers give without what was learned. Two random arms cannot differ:
# if they do, something else than the arm varies.

# %%
PAIRS = ((PRETRAINED, SHUFFLED), (SHUFFLED, RANDOM), (RANDOM_AGAIN, RANDOM))
trained = {arm: one for arm, one in arms.items() if np.isfinite(one.final).any()}
roles = {role: trained[arm] for role, arm in registration.roles.items() if arm in trained}
table = {}
for pair in (pair for pair in PAIRS if set(pair) <= set(roles)):
    for one in evaluation.claims:
        if not one.definition.statistic:
            continue
        first, second = (roles[role] for role in pair)
        tested = one.definition.judge(first, second, error_rate=one.level)
        other = one._replace(interval=tested.effect)
        words = f"{effect(other, tested.effect.estimate)} {effect_interval(other)}"
        table.setdefault(" against ".join(pair), {})[one.name] = words
display(pd.DataFrame(table) if table else "The study has no control arm.")

# %% [markdown]
# ## How far to trust it
# Two lines beside each claim never decide. If the arms were alike, their labels could be swapped
# inside every configuration: how often does that give as much? And if the validation period were
# made of other blocks of its time: where would the effect lie?

# %%
names = {one.name: one.robustness for one in evaluation.claims if one.robustness}
display(pd.DataFrame.from_dict(names, orient="index").fillna("not available"))

# %% [markdown]
# - A verdict holds for this validation period, this data and this checkpoint; of language
#   pretraining as such it says nothing.
# - It compares means over the searched ranges. Other ranges are another question.
# - INCONCLUSIVE and NOT EVALUABLE are no signs of absence: the study is too small, or mute.
# - It is computed at looks that were fixed before, from trials that were fixed before. Looking at
#   other moments, adding trials until it fits, or picking a subset makes it worthless; deviations
#   are at the top.
# - If a warning at the top says that linear interpolation is not beaten, no difference between
#   arms is about anything useful.
# - `python -m stage1.claims selftest RUN` tests the tests, on made-up studies like this one.
