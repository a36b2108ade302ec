"""The claims, tested: from scores to intervals and verdicts."""
