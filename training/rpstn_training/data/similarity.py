"""How alike two poses are: object key-point similarity, as COCO has it."""

import numpy as np


def pose_similarity(
    pose: np.ndarray, others: np.ndarray, area: float, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """OKS [N] of a pose [K, 2] with others [N, K, 2], over all joints, with the mean of both areas as s^2."""
    squared = ((others - pose) ** 2).sum(axis=-1)
    size = (area + areas)[:, None] / 2 + np.spacing(1)
    return np.exp(-squared / (2 * np.asarray(sigmas)) ** 2 / size / 2).mean(axis=-1)
