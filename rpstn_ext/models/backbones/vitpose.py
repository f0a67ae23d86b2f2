"""ViTPose (Xu et al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation") with two transposed
convolutions, by its public names."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rpstn_ext.models.backbones.deconvolutions import deconvolutions

# name: channels per attention head in the published network
HEAD_CHANNELS = {"vitpose_s": 32, "vitpose_b": 64}
HEADS, DEPTH, PATCH = 12, 12, 16
GRID = (16, 12)  # rows and columns of patches that public files have positions for, those of 256x192 pixels


class Attention(nn.Module):
    """Self-attention of 12 heads (Vaswani et al., "Attention Is All You Need", equation 1): per head, of tokens X,

        softmax(Q K^T / sqrt(d)) V,  [Q, K, V] = X W + b,  d the channels of a head

    and one linear layer on the heads' results side by side.

    Input and output: tokens (Tensor[N, L, channels]), channels a multiple of 12.

    Example:
        >>> import torch
        >>> Attention(24)(torch.rand(2, 7, 24)).shape
        torch.Size([2, 7, 24])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = self.qkv(tokens).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(queries, keys, values)  # [N, heads, L, d]
        return self.proj(attended.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with four times the channels and a GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Attention and an MLP, each on normalised tokens and added to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbedding(nn.Module):
    """A 16x16 convolution of stride 16 with two pixels of padding: images of H x W pixels to H/16 x W/16 patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class ViTPose(nn.Module):
    """A plain vision transformer and two transposed convolutions, without the last convolution.

    The paper's classic decoder; files with its simple decoder, which has no transposed convolution, are refused.

    `pos_embed` (Tensor[1, 1 + 16*12, channels]) holds the positions of 16x12 patches, those of 256x192 pixels, whatever
    the size of the input: for another number of patches they are interpolated (bicubic) in every call. So a public file
    loads for every size. Its first entry is that of a class token which there is not; public networks add it to
    every patch, and so does this one. There is no stochastic depth.

    Args:
        name (str): "vitpose_s" or "vitpose_b".
        width (int): 64 is the published network; the channels of the transformer follow in proportion, 12 heads of at
            least one channel.
        channels (int): channels of the transposed convolutions, 256 in the published networks.

    Input: images (Tensor[N, 3, H, W]), H and W multiples of 16. Output: features (Tensor[N, channels, H/4, W/4]).

    Raises:
        ValueError: the name is not known.

    Example:
        >>> ViTPose("vitpose_s", width=8, channels=16)(torch.rand(2, 3, 64, 48)).shape
        torch.Size([2, 16, 16, 12])
    """

    stride = 4
    multiple = PATCH
    optional_in_files = ()
    ignored_in_files = ("final_layer", "relation", "norm")
    renamed_in_files = (("keypoint_head.", ""), ("head.", ""))  # mmpose, old and new

    def __init__(self, name: str, *, width: int = 64, channels: int = 256) -> None:
        super().__init__()
        if name not in HEAD_CHANNELS:
            raise ValueError(f"ViTPose: expected one of {', '.join(HEAD_CHANNELS)}, got {name!r}")
        self.name, self.channels = name, channels
        inner = HEADS * max(1, HEAD_CHANNELS[name] * width // 64)
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + GRID[0] * GRID[1], inner))
        self.patch_embed = PatchEmbedding(inner)
        self.blocks = nn.ModuleList(Block(inner) for _ in range(DEPTH))
        self.last_norm = nn.LayerNorm(inner, eps=1e-6)
        self.deconv_layers = deconvolutions(inner, channels, 2)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        grid = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2) + self.positions(*grid)
        for block in self.blocks:
            tokens = block(tokens)
        return self.deconv_layers(self.last_norm(tokens).transpose(1, 2).unflatten(2, grid))

    def positions(self, rows: int, columns: int) -> Tensor:
        """What is added to the patches of a grid (Tensor[1, rows*columns, channels of the transformer])."""
        token, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (rows, columns) != GRID:
            # As products of matrices: the gradient of PyTorch's own does not repeat to the bit on CUDA.
            down, across = _bicubic(GRID[0], rows, patches), _bicubic(GRID[1], columns, patches)
            patches = torch.einsum("yr,xc,nrcd->nyxd", down, across, patches.unflatten(1, GRID)).flatten(1, 2)
        return patches + token


def _bicubic(before: int, after: int, like: Tensor) -> Tensor:
    """Tensor[after, before]: the weights of bicubic interpolation along an axis."""
    identity = torch.eye(before, dtype=torch.float32, device=like.device)
    weights = functional.interpolate(identity[None, None], (after, before), mode="bicubic")
    return weights[0, 0].to(like.dtype)
