"""Between the pixels of a file and what a network reads."""

import torch
from torch import Tensor

# Mean and standard deviation of ImageNet's RGB channels on [0, 1]: public backbones were trained with them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """RGB bytes to the float32 images that the networks expect.

    frames (Tensor[..., 3, H, W]): uint8, 0 to 255, RGB.
    Returns a float32 tensor of the same shape on the same device: (frames / 255 - MEAN) / STD per channel.
    Raises `TypeError` when the frames are not bytes, because floats may be scaled already.
    """
    if frames.dtype != torch.uint8:
        raise TypeError(f"normalise: expected frames of dtype torch.uint8, got {frames.dtype}")
    scale = torch.tensor([1 / (255 * std) for std in STD], device=frames.device)
    offset = torch.tensor([mean / std for mean, std in zip(MEAN, STD)], device=frames.device)
    return frames * scale[:, None, None] - offset[:, None, None]
