"""What everything may use: errors, files, the terminal, seeds, steps of time, names of metrics."""
