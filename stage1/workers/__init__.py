"""Where trials run: Ray, the states of trainings, the recorder of what has ended, progress."""
