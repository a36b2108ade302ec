"""Outlooks made up by hand, for tests of what is told about them."""

from stage1.claims.error_rates import Counts, Share
from stage1.plan.outlook import Outlook


def made_up(
    definition,
    *,
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
    return Outlook(
        definition,
        configurations,
        seeds,
        not_here=not_here,
        at_claimed=counts if possible else None,
        smallest_seen=seen,
        needed=needed,
    )


def undecidable(definition, reason):
    return Outlook(definition, 8, 2, never=reason, not_here=reason)
