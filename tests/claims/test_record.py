"""claims.json: strict JSON with the keys that programs read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from stage1.claims.claim import Claim, claims_json
from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.claims.verdicts import Verdict


def a_claim(**fields):
    return Claim(
        **{
            "id": "1",
            "name": "sensitivity",
            "arm_pair": ("pretrained", "random"),
            "estimand": "1 - sigma / sigma",
            "claimed": 0.2,
            "interval": Interval(0.3, 0.1, 0.5, 0.002),
            "verdict": Verdict.DIRECTION_ONLY,
            "reason": "size compatible",
            "attribution": "attribution not tested",
            "sentence": "A sentence.",
            "shown": {"a number": 1.5},
            "robustness": {"label swap": "p = 0.01"},
        }
        | fields
    )


def read_strictly(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_claim_is_kept_under_the_names_that_programs_read():
    text = claims_json([a_claim()], [], {})

    (claim,) = read_strictly(text)["claims"]
    assert {
        "id": "1",
        "arm_pair": ["pretrained", "random"],
        "estimate": 0.3,
        "low": 0.1,
        "high": 0.5,
        "p": pytest.approx(0.012),
        "verdict": "DIRECTION ONLY",
        "attribution": "attribution not tested",
        "reason": "size compatible",
    }.items() <= claim.items()


def test_lines_beside_the_claims_and_facts_are_kept_apart_from_them():
    content = read_strictly(claims_json([a_claim()], [a_claim(id="2b")], {"deviations": ["none"]}))

    assert [claim["id"] for claim in content["claims"]] == ["1"]
    assert [claim["id"] for claim in content["beside"]] == ["2b"]
    assert content["deviations"] == ["none"]


@pytest.mark.parametrize(
    "interval",
    [
        pytest.param(NO_INTERVAL, id="no interval"),
        pytest.param(Interval(0.3, -math.inf, math.inf, 0.4), id="no ends"),
        pytest.param(Interval(0.3, math.nan, math.nan, math.nan), id="no bounds"),
    ],
)
def test_what_is_not_finite_is_null(interval):
    content = read_strictly(claims_json([a_claim(interval=interval)], [], {}))

    (claim,) = content["claims"]
    assert claim["low"] is None
    assert claim["high"] is None
    assert (claim["estimate"] is None) is math.isnan(interval.estimate)
    assert (claim["p"] is None) is math.isnan(interval.p)


def test_shown_numbers_may_be_numpys_and_not_finite():
    shown = {"tau": np.float64(0.25), "ceiling": math.nan, "epoch": np.float64(math.inf)}

    (claim,) = read_strictly(claims_json([a_claim(shown=shown)], [], {}))["claims"]

    assert claim["shown"] == {"tau": 0.25, "ceiling": None, "epoch": None}


@pytest.mark.parametrize(("p", "printed"), [(0.001, 0.006), (0.5, 1.0), (0.0, 0.0)])
def test_the_printed_p_is_that_of_one_interval_times_the_six_claims(p, printed):
    assert a_claim(interval=Interval(0.1, 0, 1, p)).p == pytest.approx(printed)
