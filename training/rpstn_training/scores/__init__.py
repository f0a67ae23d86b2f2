"""Scores, each after its reference tool."""
