"""Traces: data that teaches a model to notice a mistake of its own and to correct it."""
