"""What all networks are built of: residual module, hourglass (taught in `notebooks/03_train_vrn`).

Two wirings of the hourglass exist, made of the same blocks. ``skip`` is what the released checkpoint does:
the next hourglass sits in the branch that is *not* pooled, so the lowest resolution of the whole network is
half of the hourglass's input. ``low`` is what the paper draws (after Newell et al. 2016): the next hourglass
sits in the pooled branch, between two groups of modules, and the resolution halves `levels` times. The
released form has one module more at each nesting.
"""

from __future__ import annotations

from torch import Tensor, nn

from vrnlib.params import Wiring


class Residual(nn.Module):
    """Pre-activation bottleneck (He et al. 2016): (N, cin, H, W) -> (N, cout, H, W).

    ``skip(x) + [BN ReLU 1x1][BN ReLU 3x3][BN ReLU 1x1](x)``; `mid` is the width of the 3x3 convolution, the
    skip is the identity, or a bare 1x1 convolution where the width changes.
    """

    def __init__(self, cin: int, cout: int, mid: int) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(
            nn.BatchNorm2d(cin), nn.ReLU(inplace=True), nn.Conv2d(cin, mid, 1),
            nn.BatchNorm2d(mid), nn.ReLU(inplace=True), nn.Conv2d(mid, mid, 3, padding=1),
            nn.BatchNorm2d(mid), nn.ReLU(inplace=True), nn.Conv2d(mid, cout, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.bottleneck(x) + self.skip(x)


class Hourglass(nn.Module):
    """One hourglass, and inside it the next: (N, C, H, W) -> (N, C, H, W).

    ======== ====================== ================================== =======================
    wiring   up                     low                                sides for 48, 4 levels
    ======== ====================== ================================== =======================
    ``low``  M Res                  pool, M Res, *inner*, M Res, x 2   48 24 12 6 3
    ``skip`` M Res, *inner*, Res    pool, 2 M Res, x 2                 48 24
    ======== ====================== ================================== =======================

    M is `modules`. The innermost hourglass has M Res in place of *inner*, in the pooled branch.
    """

    def __init__(self, features: int, modules: int, levels: int, wiring: Wiring) -> None:
        super().__init__()

        def residuals(n: int) -> list[nn.Module]:
            return [Residual(features, features, features // 2) for _ in range(n)]

        inner = [Hourglass(features, modules, levels - 1, wiring)] if levels > 1 else []
        up, low = residuals(modules), [nn.MaxPool2d(2), *residuals(modules)]  # low: (N, C, H/2, W/2)
        if wiring == "skip":
            up += inner + residuals(len(inner))
            low += residuals(0 if inner else modules)
        else:
            low += inner or residuals(modules)
        low += [*residuals(modules), nn.Upsample(scale_factor=2, mode="nearest")]  # back to (N, C, H, W)
        self.up, self.low = nn.Sequential(*up), nn.Sequential(*low)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) + self.low(x)


def conv_bn_relu(features: int) -> nn.Sequential:
    """1x1 convolution, batch normalisation, ReLU: (N, C, H, W) -> (N, C, H, W)."""
    return nn.Sequential(nn.Conv2d(features, features, 1), nn.BatchNorm2d(features), nn.ReLU(inplace=True))
