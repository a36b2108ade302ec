"""What an interval is here, and the intervals of means and of ratios of means.

The unit is the configuration: one number per configuration, in the same order in both arms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with the interval that decides, and the p-value of that interval inverted."""

    estimate: float
    """NaN = there is none."""
    low: float
    """-inf = unbounded."""
    high: float
    """inf = unbounded."""
    p: float
    """Two-sided, of one interval alone; the null is the function's."""

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def below(self, value: float) -> Interval:
        """The interval of a value minus what this is an interval of; p stays."""
        return Interval(value - self.estimate, value - self.high, value - self.low, self.p)


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, math.nan)
"""Where an estimate is not defined."""


def exponential(logs: Interval) -> Interval:
    """The interval of exp(x) from that of x; p stays. What is too large for a number is inf."""
    with np.errstate(over="ignore"):
        estimate, low, high = np.exp([logs.estimate, logs.low, logs.high]).tolist()
    return Interval(estimate, low, high, logs.p)


def student_interval(
    estimate: float,
    error: float,
    *,
    degrees: float,
    error_rate: float,
    null: float = 0.0,
) -> Interval:
    """Student's interval around an estimate.

    Args:
        estimate: The point estimate.
        error: Its standard error, >= 0; at 0 the interval is the point.
        degrees: Degrees of freedom, > 0.
        error_rate: Probability outside the interval, two-sided, in (0, 1).
        null: Value that `p` tests.

    Returns:
        `NO_INTERVAL` where estimate or error is not finite.
    """
    if not (math.isfinite(estimate) and math.isfinite(error)):
        return NO_INTERVAL
    half = float(stdtrit(degrees, 1 - error_rate / 2)) * error
    distance = abs(estimate - null)
    p = 1.0 if distance == 0 else 0.0
    if error > 0:
        p = float(2 * stdtr(degrees, -distance / error))
    return Interval(estimate, estimate - half, estimate + half, p)


def mean_interval(values: Values, *, error_rate: float, null: float = 0.0) -> Interval:
    """Student's interval of a mean.

    Args:
        values: One per configuration; NaN ones are left out.
        error_rate: Probability outside, two-sided, in (0, 1).
        null: Value of the mean that `p` tests.

    Returns:
        `NO_INTERVAL` below two values.
    """
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return NO_INTERVAL
    error = float(values.std(ddof=1)) / math.sqrt(n)
    mean = float(values.mean())
    return student_interval(mean, error, degrees=n - 1, error_rate=error_rate, null=null)


def ratio_interval(
    numerator: Values, denominator: Values, *, error_rate: float, null: float = 1.0
) -> Interval:
    """Fieller's interval of mean(numerator) / mean(denominator), paired.

    It holds every ratio q for which a paired t-test does not reject mean(numerator - q denominator)
    = 0. Where the denominator's mean is not clearly away from 0 that set has no end.

    Args:
        numerator: One per configuration.
        denominator: Of the same configurations.
        error_rate: Probability outside, two-sided, in (0, 1).
        null: Ratio that `p` tests.

    Returns:
        Bounds -inf and inf for an unbounded set; `NO_INTERVAL` below two pairs or where the
        denominator's mean is 0.

    Source:
        Fieller 1954, "Some Problems in Interval Estimation".
    """
    both = np.isfinite(numerator) & np.isfinite(denominator)
    x, y = numerator[both], denominator[both]
    n = len(x)
    if n < 2 or y.mean() == 0:
        return NO_INTERVAL
    ratio = float(x.mean() / y.mean())
    # A set without end holds the null whatever the first test says.
    p = max(mean_interval(part, error_rate=error_rate).p for part in (x - null * y, y))
    covariance = np.cov(x, y)  # (2, 2)
    reach = float(stdtrit(n - 1, 1 - error_rate / 2)) ** 2 / n
    a = float(y.mean() ** 2 - reach * covariance[1, 1])
    b = float(x.mean() * y.mean() - reach * covariance[0, 1])
    c = float(x.mean() ** 2 - reach * covariance[0, 0])
    if a <= 0:
        return Interval(ratio, -math.inf, math.inf, p)
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return Interval(ratio, (b - root) / a, (b + root) / a, p)
