"""What public files compute: each family's network as plain functions of the names in such a file, for evaluation."""

import torch
from torch import Tensor
from torch.nn import functional


class File:
    """A state dict by public names, and the layers that such names stand for."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name.removeprefix("backbone."): value for name, value in state.items()}

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{name}.") for key in self.state)

    def count(self, name: str) -> int:
        return len(
            {key[len(name) + 1 :].partition(".")[0] for key in self.state if key.startswith(f"{name}.")}
        )

    def pair(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.state[f"{name}.weight"], self.state.get(f"{name}.bias")

    def conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight, bias = self.pair(name)
        return functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.pair(name)
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        scale = weight / torch.sqrt(variance + 1e-5)
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]

    def head(self, x: Tensor, prefix: str, count: int, groups: int = 1) -> Tensor:
        for n in range(count):
            weight = self.state[f"{prefix}deconv_layers.{3 * n}.weight"]
            x = functional.conv_transpose2d(x, weight, stride=2, padding=1, groups=groups)
            x = self.norm(x, f"{prefix}deconv_layers.{3 * n + 1}").relu()
        return self.conv(x, f"{prefix}final_layer")

    def basic(self, x: Tensor, name: str) -> Tensor:
        y = self.norm(self.conv(x, f"{name}.conv1"), f"{name}.bn1").relu()
        return (x + self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")).relu()

    def bottleneck(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        y = self.norm(self.conv(x, f"{name}.conv1"), f"{name}.bn1").relu()
        y = self.norm(self.conv(y, f"{name}.conv2", stride, groups), f"{name}.bn2").relu()
        y = self.norm(self.conv(y, f"{name}.conv3"), f"{name}.bn3")
        if self.has(f"{name}.attention"):
            y = self.context(y, f"{name}.attention")
        if self.has(f"{name}.downsample"):
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (x + y).relu()

    def context(self, x: Tensor, name: str) -> Tensor:
        mask = torch.exp(self.conv(x, f"{name}.conv_mask"))
        context = (x * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        hidden = self.conv(context, f"{name}.channel_add_conv.0")
        weight, bias = self.pair(f"{name}.channel_add_conv.1")
        hidden = functional.layer_norm(hidden, hidden.shape[1:], weight, bias).relu()
        return x + self.conv(hidden, f"{name}.channel_add_conv.3")


def hrnet(file: File, x: Tensor) -> Tensor:
    def transition(x: Tensor, name: str, stride: int) -> Tensor:
        return file.norm(file.conv(x, f"{name}.0", stride), f"{name}.1").relu()

    for n in (1, 2):
        x = file.norm(file.conv(x, f"conv{n}", 2), f"bn{n}").relu()
    for n in range(4):
        x = file.bottleneck(x, f"layer1.{n}")
    branches = [transition(x, "transition1.0", 1), transition(x, "transition1.1.0", 2)]
    for stage in (2, 3, 4):
        if stage > 2:
            branches.append(transition(branches[-1], f"transition{stage - 1}.{stage - 1}.0", 2))
        for unit in range(file.count(f"stage{stage}")):
            name = f"stage{stage}.{unit}"
            for j in range(stage):
                for block in range(4):
                    branches[j] = file.basic(branches[j], f"{name}.branches.{j}.{block}")
            fused = []
            for i in range(file.count(f"{name}.fuse_layers")):
                total = branches[i]
                for j in range(stage):
                    y, layer = branches[j], f"{name}.fuse_layers.{i}.{j}"
                    if j > i:
                        y = file.norm(file.conv(y, f"{layer}.0"), f"{layer}.1")
                        y = y.repeat_interleave(2 ** (j - i), 2).repeat_interleave(2 ** (j - i), 3)
                    for step in range(i - j):
                        y = file.norm(file.conv(y, f"{layer}.{step}.0", 2), f"{layer}.{step}.1")
                        y = y.relu() if step < i - j - 1 else y
                    total = total + y if j != i else total
                fused.append(total.relu())
            branches = fused
    return file.conv(branches[0], "final_layer")


def hourglass(file: File, x: Tensor) -> tuple[Tensor, ...]:
    def block(x: Tensor, name: str) -> Tensor:
        y = x
        for n in (1, 2, 3):
            y = file.conv(file.norm(y, f"{name}.0.bn{n}").relu(), f"{name}.0.conv{n}")
        return y + (file.conv(x, f"{name}.0.downsample.0") if file.has(f"{name}.0.downsample") else x)

    def level(x: Tensor, name: str, n: int) -> Tensor:
        low = block(functional.max_pool2d(x, 2), f"{name}.{n}.1")
        low = level(low, name, n - 1) if n else block(low, f"{name}.0.3")
        low = block(low, f"{name}.{n}.2").repeat_interleave(2, 2).repeat_interleave(2, 3)
        return block(x, f"{name}.{n}.0") + low

    x = block(file.norm(file.conv(x, "conv1", 2), "bn1").relu(), "layer1")
    x = block(block(functional.max_pool2d(x, 2), "layer2"), "layer3")
    maps = []
    for n in range(file.count("hg")):
        y = block(level(x, f"hg.{n}.hg", 3), f"res.{n}")
        y = file.norm(file.conv(y, f"fc.{n}.0"), f"fc.{n}.1").relu()
        maps.append(file.conv(y, f"score.{n}"))
        if n < file.count("hg") - 1:
            x = x + file.conv(y, f"fc_.{n}") + file.conv(maps[n], f"score_.{n}")
    return tuple(maps)


def resnet(file: File, x: Tensor, prefix: str = "", groups: int = 1) -> Tensor:
    """Of bottlenecks: SimpleBaseline's, and with groups that of S-ViPNAS."""
    x = functional.max_pool2d(file.norm(file.conv(x, "conv1", 2), "bn1").relu(), 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for n in range(file.count(f"layer{stage}")):
            x = file.bottleneck(x, f"layer{stage}.{n}", 2 if stage > 1 and n == 0 else 1, groups)
    return file.head(x, prefix, 3, groups)


def vipnas(file: File, x: Tensor) -> Tensor:
    return resnet(file, x, "head.", 16)


def vitpose(file: File, x: Tensor) -> Tensor:
    """For 256x192 pixels."""

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], *file.pair(name), eps=1e-6)

    weight, bias = file.pair("patch_embed.proj")
    x = functional.conv2d(functional.pad(x, (2, 2, 2, 2)), weight, bias, 16)
    grid = x.shape[2:]
    positions = file.state["pos_embed"]
    x = x.flatten(2).transpose(1, 2) + positions[:, 1:] + positions[:, :1]
    for n in range(12):
        weight, bias = file.pair(f"blocks.{n}.attn.qkv")
        qkv = functional.linear(layer_norm(x, f"blocks.{n}.norm1"), weight, bias)
        queries, keys, values = (part.unflatten(-1, (12, -1)) for part in qkv.chunk(3, -1))
        scores = torch.einsum("nqhd,nkhd->nhqk", queries, keys) / queries.shape[-1] ** 0.5
        y = torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), values).flatten(2)
        x = x + functional.linear(y, *file.pair(f"blocks.{n}.attn.proj"))
        y = functional.linear(layer_norm(x, f"blocks.{n}.norm2"), *file.pair(f"blocks.{n}.mlp.fc1"))
        y = y * (1 + torch.erf(y / 2**0.5)) / 2
        x = x + functional.linear(y, *file.pair(f"blocks.{n}.mlp.fc2"))
    x = layer_norm(x, "last_norm").transpose(1, 2).unflatten(2, grid)
    return file.head(x, "keypoint_head.", 2)


PLAIN = {
    "resnet50": resnet,
    "hrnet_w32": hrnet,
    "hrnet_w48": hrnet,
    "hourglass2": hourglass,
    "hourglass8": hourglass,
    "vipnas_res50": vipnas,
    "vitpose_s": vitpose,
    "vitpose_b": vitpose,
}
