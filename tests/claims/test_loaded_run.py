"""A run from Python says what its files say."""

import json

import pandas as pd
import pytest
from command_line import python

import stage1
from stage1.base.errors import ResultsError
from stage1.claims.loaded_run import load_run

SAMPLE = "analysis/sample_run"


@pytest.fixture(scope="module")
def run(pytestconfig):
    return load_run(pytestconfig.rootpath / SAMPLE)


def test_frames_are_the_tables_on_disk(run):
    for frame, name in ((run.trials, "trials"), (run.curves, "curves")):
        on_disk = pd.read_parquet(run.path / f"{name}.parquet")

        assert len(frame) == len(on_disk)
        names = ["stage", "arm", "config_id", "seed"]  # trial_id is the present one, made of them
        assert frame[names].values.tolist() == on_disk[names].values.tolist()
        assert frame["val_loss"].tolist() == pytest.approx(on_disk["val_loss"].tolist())


def test_verdicts_are_those_of_claims_json(run):
    written = json.loads((run.path / "claims.json").read_text())
    by_id = {claim["id"]: claim for claim in written["claims"] + written["beside"]}

    assert set(run.verdicts["claim"]) == set(by_id)
    for row in run.verdicts.itertuples():
        of_file = by_id[row.claim]
        assert (row.name, row.verdict, row.look) == tuple(
            of_file[key] for key in ("name", "verdict", "look")
        )
        if of_file["estimate"] is not None:
            assert row.estimate == pytest.approx(of_file["estimate"])


@pytest.mark.parametrize("arm", ["pretrained", "random"])
def test_the_best_of_an_arm_has_the_highest_mean_over_its_seeds(run, arm):
    whole = run.trials[(run.trials["arm"] == arm) & run.trials["stage"].isin(["design", "confirm"])]
    means = whole.groupby(["stage", "config_id"])["val_correlation"].mean()

    best = run.best(arm=arm)

    rows = run.trials.set_index("trial_id").loc[best.trial_ids]
    assert best.value == pytest.approx(means.max()) == pytest.approx(rows["val_correlation"].mean())
    assert rows["arm"].unique().tolist() == [arm]
    for key, value in best.configuration.items():
        assert rows[f"param.{key}"].tolist() == [value] * len(rows)


def test_a_path_may_be_a_string_and_neither_torch_nor_ray_is_imported(run):
    code = (
        f"import sys, stage1; run = stage1.load_run({str(run.path)!r}); run.verdicts; run.best(); "
        "assert not {'torch', 'ray'} & set(sys.modules); print(len(run.trials))"
    )

    assert int(python("-c", code).stdout) == len(run.trials)


def test_what_stage1_offers_is_listed():
    offered = [name for name in dir(stage1) if not name.startswith("_")]
    assert offered == ["load_encoder", "load_run", "run_study"]
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = stage1.load_runs


def test_a_run_shown_in_a_notebook_is_one_line(run):
    shown = repr(run)

    assert shown == f"<Run {run.path}: 82 trials (82 completed)>"


def test_an_arm_that_the_study_does_not_have_is_told_from_one_that_is_not_complete(run):
    with pytest.raises(ResultsError, match="must be one of pretrained, random, shuffled, got 'no'"):
        run.best(arm="no")
    with pytest.raises(ResultsError, match="arm shuffled completed to epoch 15"):
        run.best(arm="shuffled")


def test_a_folder_that_is_none_of_a_study_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="got a file"):
        load_run(tmp_path / "file")
    with pytest.raises(ResultsError, match=r"trials\.parquet"):
        load_run(str(tmp_path))
