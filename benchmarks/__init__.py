"""Benchmarks, from the repository root: python -m benchmarks.ops, .model, .report."""
