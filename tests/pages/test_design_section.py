"""What was planned, what came of it, what was searched."""

from __future__ import annotations

import pytest

from stage1.pages.design_section import describe_domain
from stage1.run.resolved_space import Choice, Range


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Range(type="float", low=1e-4, high=0.01, log=True), "0.0001 to 0.01, in the exponent"),
        (Range(type="int", low=0, high=3, log=False), "whole numbers 0 to 3"),
        (Choice(options=[4, 8, 16]), "4, 8, 16"),
        (Choice(options=["a", None]), "a, none"),
        (
            Range(type="float", low=0.0, high=1.0, when={"model.kind": "t5", "x": True}),
            "0 to 1; only where model.kind = t5 and x = True",
        ),
    ],
)
def test_a_domain_is_told_in_words(domain, text):
    assert describe_domain(domain) == text
