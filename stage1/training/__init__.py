"""One training of one configuration, by Lightning: optimisation, unfreezing, measurements, checkpoints."""
