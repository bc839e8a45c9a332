"""Benchmarks of models, through lm-eval."""
