"""The claims, tested: from scores to intervals and verdicts.

`catalogue` is the table of the claims. `scores` reads a run and arranges its design as arrays; each
statistic has its module (`sensitivity`, `gains`, `stability`, `ranks`, `step_cost`) and gives an
interval (`intervals`) that decides a verdict (`verdicts`). `judge` tests all claims of a run, look
by look, and `claim` puts them into sentences and claims.json.

Beside the verdicts stand `soundness` (is the run what was planned?), `further_numbers` and
`robustness`, which never decide. `tuning`, `importance` and `aggregates` serve them and the
figures.

`synthetic` makes up studies of a known truth on `surfaces` over a space, `error_rates` counts what
the verdicts say of them at every look, and `python -m stage1.claims selftest` shows it; `advice`
tells with them how many configurations would decide an open claim.
"""
