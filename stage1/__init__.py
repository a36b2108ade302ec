"""stage1: does a language model's T5 help a self-supervised market encoder? A fair test of it."""

__version__ = "0.1.0"
