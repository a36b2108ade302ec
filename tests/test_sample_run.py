"""The sample run is what this version makes of its tables, and the README says what it says."""

from __future__ import annotations

import json
import re

import pytest
from command_line import ROOT

from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.run.folder import RunFolder

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


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_no_number_is_still_to_be_filled_in(page):
    assert not re.search(r"@[A-Z]+@", (ROOT / page).read_text(encoding="utf-8"))
