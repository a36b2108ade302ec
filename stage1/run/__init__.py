"""The run folder: its columns, reading and writing it, and what was registered before the first trial."""
