"""Span-corruption pretraining of a small T5 on plain text: corpus -> spans -> training -> card."""
