"""Outlooks made up by hand, for tests of what is told about them."""

from stage1.claims.error_rates import Counts, Power, Share
from stage1.claims.finding import CLAIMED
from stage1.plan.outlook import Outlook


def made_up(
    claim,
    *,
    beside=False,
    seen=None,
    needed=None,
    possible=True,
    positive=0,
    supported=0,
    evaluable=400,
    not_here="",
    configurations=8,
    seeds=2,
):
    """An outlook of 400 studies."""
    found, right, fit = (Share(hits, 400) for hits in (positive, supported, evaluable))
    counts = Counts(found=found, positive=found, supported=right, evaluable=fit)
    power = Power(claim, beside, CLAIMED[claim], counts if possible else None, seen, needed)
    return Outlook(claim, beside, configurations, seeds, never="", not_here=not_here, power=power)


def undecidable(claim, reason, *, beside=False):
    return Outlook(claim, beside, 8, 2, never=reason, not_here=reason, power=None)
