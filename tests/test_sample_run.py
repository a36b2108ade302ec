"""The sample run is what this version makes of its tables, and the README says what it says."""

from __future__ import annotations

import json
import re
from datetime import UTC

import optuna
import pytest
from command_line import ROOT
from made_studies import engine_of, recorded_study
from optuna.storages import InMemoryStorage

from stage1.claims.judge import evaluate
from stage1.claims.loaded_run import load_run
from stage1.claims.scores import read_run
from stage1.run.folder import RunFolder
from stage1.study.trials import ended_trials

SAMPLE = ROOT / "analysis" / "sample_run"


@pytest.fixture(scope="module")
def stored():
    content = json.loads((SAMPLE / "claims.json").read_text(encoding="utf-8"))
    return sorted(content["claims"] + content["beside"], key=lambda claim: claim["id"])


def test_the_stored_claims_are_those_of_the_tables(stored):
    evaluation = evaluate(read_run(RunFolder(SAMPLE)))

    claims = sorted([*evaluation.claims, *evaluation.beside], key=lambda claim: claim.id)
    assert [claim.verdict.value for claim in claims] == [claim["verdict"] for claim in stored]
    assert [claim.sentence for claim in claims] == [claim["sentence"] for claim in stored]
    assert evaluation.deviations == []


def test_the_readme_has_the_verdicts_of_the_sample_run(stored):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    rows = [line.strip("| ").split(" | ") for line in readme.splitlines() if line.startswith("| ")]
    start = next(place for place, row in enumerate(rows) if row[0] == "claim")
    told = rows[start + 1 : start + 1 + len(stored)]
    assert [row[4] for row in told] == [claim["verdict"] for claim in stored]
    for row, claim in zip(told, stored, strict=True):
        if claim["estimate"] is None:
            assert row[2] == "–"
            continue
        told_size = float(re.sub("[×%+]", "", row[2].replace("−", "-")))
        in_percent = claim["id"] not in ("5", "6")
        assert told_size == pytest.approx(
            claim["estimate"] * (100 if in_percent else 1), rel=0.02, abs=0.05
        )


@pytest.fixture(scope="module")
def journal():
    """What Optuna's tools show of the run, as `--resume` makes it anew."""
    storage, study = InMemoryStorage(), recorded_study()
    engine_of(study, storage=storage, ended=ended_trials(RunFolder(SAMPLE), study))
    return {one.study_name: one for one in optuna.get_all_study_summaries(storage)}, storage


def test_optuna_s_best_trial_of_all_is_the_report_s_best_configuration(journal):
    best = load_run(SAMPLE).best()

    trial = journal[0]["transfer"].best_trial

    assert trial.value == pytest.approx(best.value, abs=1e-12)
    assert trial.params == {"arm": best.arm, **best.configuration}
    assert best.config_id in trial.user_attrs.values()


def test_optuna_s_studies_have_the_confirmation_and_the_times_of_the_table(journal):
    run = load_run(SAMPLE)
    board = optuna.load_study(study_name="transfer", storage=journal[1]).trials
    confirmed = run.trials[run.trials["stage"] == "confirm"].groupby(["arm", "config_id"])
    one_seed = run.trials[run.trials["stage"] != "confirm"].groupby(["arm", "config_id"])

    told = {(one.params["arm"], one.user_attrs.get("confirm")): one for one in board}
    assert {key for key in told if key[1]} == set(confirmed.groups)
    for key, rows in confirmed:
        assert told[key].value == pytest.approx(rows["val_correlation"].mean())
        assert told[key].duration.total_seconds() == pytest.approx(rows["seconds"].mean(), abs=1e-3)
    for arm in ("pretrained", "random"):
        for trial in optuna.load_study(study_name=f"transfer-{arm}", storage=journal[1]).trials:
            about = trial.user_attrs
            name = about.get("design") or f"{arm}-{about['search_point']:03}"
            rows = one_seed.get_group((arm, name))
            start = rows["started_at"].min().to_pydatetime()
            assert trial.datetime_start.astimezone(UTC) == start
            assert trial.duration.total_seconds() == pytest.approx(rows["seconds"].mean(), abs=1e-3)


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_no_number_is_still_to_be_filled_in(page):
    assert not re.search(r"@[A-Z]+@", (ROOT / page).read_text(encoding="utf-8"))
