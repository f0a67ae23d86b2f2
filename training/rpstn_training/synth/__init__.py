"""Synthetic clips of moving people, in the files of a real data set."""

from .command import synthesise

__all__ = ["synthesise"]
