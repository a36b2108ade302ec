"""The timeframes, fine to coarse."""

MINUTES: dict[str, int] = {"m1": 1, "m5": 5, "m15": 15, "m30": 30, "h1": 60, "h4": 240}
"""Minutes per bar."""
