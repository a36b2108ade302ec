"""One training by Lightning, and what its checkpoint is good for afterwards."""
