"""Where trials run: Ray, states of trainings, recorder of what has ended, progress, callbacks."""
