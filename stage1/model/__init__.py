"""The network: a T5 encoder between per-timeframe projections, its losses and metrics."""
