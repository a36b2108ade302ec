"""One training by Lightning, and what its checkpoint is good for afterwards."""

LAST_CHECKPOINT = "last.ckpt"
"""Of a training for a person: its state after the last whole epoch."""
