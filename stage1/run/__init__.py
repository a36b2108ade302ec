"""The run folder: columns, reading, writing, and what was registered before the first trial."""
