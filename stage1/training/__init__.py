"""One training by Lightning, and what its checkpoint is good for afterwards."""

CONFIG_COPY = "config.yaml"
"""Of a training for a person: its configuration, complete."""
LAST_CHECKPOINT = "last.ckpt"
"""Of a training for a person: its state after the last whole epoch."""
EVALUATION = "evaluation"
"""Folder beside a checkpoint: what it came to, and which looks were taken at its test period."""
