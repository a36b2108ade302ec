"""The claims, tested: from scores to intervals and verdicts.

The way of the data: `inputs` reads a run folder, `scores` arranges the design's trials as arrays,
`gains`, `spread`, `ranks` and `cost` estimate, `definitions` says what each claim estimates and
when it cannot be judged, `verdicts` turns an interval into a verdict, `evaluate` does all of that
for a run, and `record` keeps it.

Beside it: `soundness` (is the run what was planned?), `second_opinions` and `also_shown` (numbers
that never decide), `tuning`, `importance`, `aggregates` and `robustness` (what they are made of).

Tests of the tests: `synthetic` makes up studies of a known truth, `error_rates` and `power` count
what the verdicts say of them, and `python -m stage1.claims selftest` shows it.
"""
