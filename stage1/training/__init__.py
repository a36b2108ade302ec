"""One training by Lightning: optimisation, unfreezing, measurements, checkpoints."""
