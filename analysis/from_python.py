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
# # All of it from Python
#
# A study on the bundled bars in a form so small that it ends in a minute and decides nothing, its
# verdicts, its best configuration, a final training and the encoder that comes of it. For a real
# study write `stage1.run_study("transfer")`; [docs/python.md](../docs/python.md) says what there
# is.

# %%
# %matplotlib inline
import subprocess
import sys

import stage1

# %% [markdown]
# A metric of one's own takes the decoded and the true bars, here (bars, open high low close), and a
# callback sees each trial as it ends. Neither decides anything.


# %%
def direction(decoded, true):
    """Share of the hidden bars whose close lies on the right side of their open."""
    return ((decoded[:, 3] > decoded[:, 0]) == (true[:, 3] > true[:, 0])).mean()


class Watch:
    """Says what each trial came to."""

    def on_trial_end(self, row):
        print(f"{row['trial_id']}: direction {row['metric.direction']:.3f}")


# %%
space = {"extends": "smoke", "name": "tiny", "horizon_epochs": 2}
space |= {"design": {"configurations": 2, "seeds": 1}, "search": {"trials": 2}}
options = {"metrics": {"direction": direction}, "callbacks": [Watch()], "workers": 2}
run = stage1.run_study(space, quiet=True, **options)

# %%
run.verdicts[["name", "estimate", "low", "high", "verdict"]].round(3)

# %%
columns = ["val_correlation", "metric.direction", "baseline_metric.direction"]
run.trials.groupby(["stage", "arm"])[columns].mean().round(3)

# %%
axes = run.curves.pivot_table("metric.direction", "epoch", "arm").plot(ylabel="direction")

# %%
best = run.best()
print(f"{best.config_id}, arm {best.arm}: {best.value:.4f} over {best.trial_ids}")
print(best.configuration)

# %% [markdown]
# The best configuration becomes a file that trains alone, and its training an encoder. Both are
# commands.


# %%
def command(*words):
    """Run a command of stage1 and show what it says."""
    words = [sys.executable, "-m", *map(str, words)]
    together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    print(subprocess.run(words, check=True, **together).stdout)


command("stage1.export", run.path, "--out", "best.yaml")
command("stage1.train", "best.yaml", "--out", "training")

# %%
encoder = stage1.load_encoder("training/last.ckpt")
print(f"{encoder.d_model} numbers for each of {encoder.timeframes}")
