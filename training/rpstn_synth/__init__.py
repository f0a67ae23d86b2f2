"""Synthetic clips of moving people, in the files of a real data set."""

from .synthesis import synthesise

__all__ = ["synthesise"]
