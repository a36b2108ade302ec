"""Bars: read, checked, cut into windows, hidden, gathered."""
