"""Pictures of what a model does: tracks and predictions in, PNG files, videos and a page out."""

from .gallery import build_report

__all__ = ["build_report"]
