"""Exports the networks of this folder that PyTorch itself wrote, each with both exporters, and beside them an .npz with
random inputs `x` and what PyTorch gives for them, `y` (logits: without a Softmax at the end).

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch onnx onnxscript && /tmp/venv/bin/python export_torch.py

Weights are seeded; nothing is learned. `NAME_legacy.onnx` comes from torch.onnx.export(dynamo=False) with BatchNorm kept,
`NAME_dynamo.onnx` from dynamo=True, which folds it where it can.
"""

import pathlib
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent / "torch"
SAMPLES = 4


def cbr(cin, cout, kernel, act=nn.ReLU, **options):
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, bias=False, **options), nn.BatchNorm2d(cout), act())


class Square(nn.Module):
    def forward(self, x):
        return 0.25 * x**2 + 0.5 * x + 0.1


class Lenet(nn.Module):
    """Polynomial activations, average pools, view."""

    shape = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, 8, 5)
        self.fc1, self.fc2 = nn.Linear(200, 24), nn.Linear(24, 10)
        self.act = Square()

    def forward(self, x):
        x = F.avg_pool2d(self.act(self.conv1(x)), 2)
        x = F.avg_pool2d(self.act(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.fc2(self.act(self.fc1(x)))


class Preact(nn.Module):
    """A residual network whose BatchNorm stands before each convolution: after sums, and after pooling."""

    shape = (3, 12, 12)

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

        def forward(self, x):
            y = self.conv1(F.relu(self.bn1(x)))
            return x + self.conv2(F.relu(self.bn2(y)))

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.Sequential(self.Block(6), self.Block(6))
        self.bn, self.pool, self.late = nn.BatchNorm2d(6), nn.AvgPool2d(2), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 36, 5)

    def forward(self, x):
        x = self.pool(F.relu(self.bn(self.blocks(self.stem(x)))))
        return self.fc(torch.flatten(self.late(x), 1))


class Mobile(nn.Module):
    """Inverted bottlenecks without an activation at their end, ReLU6, depthwise convolutions, global pooling."""

    shape = (3, 16, 16)

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            wide = 2 * cin
            self.same = stride == 1 and cin == cout
            self.body = nn.Sequential(
                cbr(cin, wide, 1, nn.ReLU6),
                cbr(wide, wide, 3, nn.ReLU6, stride=stride, padding=1, groups=wide),
                nn.Conv2d(wide, cout, 1, bias=False),
                nn.BatchNorm2d(cout),
            )

        def forward(self, x):
            return x + self.body(x) if self.same else self.body(x)

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 8, 3, nn.Hardswish, stride=2, padding=1)
        self.blocks = nn.Sequential(self.Block(8, 6, 1), self.Block(6, 6, 1), self.Block(6, 8, 2))
        self.head = cbr(8, 12, 1, nn.SiLU)
        self.fc = nn.Linear(12, 6)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.head(self.blocks(self.stem(x))), 1)
        return self.fc(torch.flatten(x, 1))


class Fire(nn.Module):
    """SqueezeNet: joined channels, max pooling with ceil_mode, a Softmax at the end."""

    shape = (3, 20, 20)

    class Module(nn.Module):
        def __init__(self, cin, squeeze, expand):
            super().__init__()
            self.squeeze, self.one = nn.Conv2d(cin, squeeze, 1), nn.Conv2d(squeeze, expand, 1)
            self.three = nn.Conv2d(squeeze, expand, 3, padding=1)

        def forward(self, x):
            x = F.relu(self.squeeze(x))
            return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(16, 7, 1)
        self.fires = nn.Sequential(self.Module(8, 4, 6), self.Module(12, 4, 8))
        self.pool, self.dropout = nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5)

    def logits(self, x):
        x = self.fires(self.pool(F.relu(self.stem(x))))
        return F.adaptive_avg_pool2d(F.relu(self.head(self.dropout(x))), (1, 1)).flatten(1)

    def forward(self, x):
        return F.softmax(self.logits(x), dim=1)


class Dense(nn.Module):
    """DenseNet: every layer reads the joined results of all before it, through BatchNorm; transitions pool."""

    shape = (3, 12, 12)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 4, 3, padding=1, bias=False)) for c in (6, 10)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(14), nn.ReLU(), nn.Conv2d(14, 7, 1, bias=False), nn.AvgPool2d(2))
        self.more = nn.Sequential(nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 4, 3, padding=1, bias=False))
        self.norm, self.fc = nn.BatchNorm2d(11), nn.Linear(11, 5)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        x = self.transition(x)
        x = torch.cat([x, self.more(x)], 1)
        return self.fc(F.relu(self.norm(x)).mean((2, 3)))


class Inception(nn.Module):
    """Four branches, one of them pooled with padding that does not count; the joined value is normalised."""

    shape = (3, 14, 14)

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 6, 3, stride=2, padding=1)
        self.one, self.three = cbr(6, 4, 1), nn.Sequential(cbr(6, 3, 1), cbr(3, 5, 3, padding=1))
        self.five = nn.Sequential(cbr(6, 2, 1), cbr(2, 3, 5, padding=2))
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), cbr(6, 4, 1))
        self.join, self.norm = nn.Conv2d(16, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.last = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.fc = nn.Linear(8 * 9, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)
        x = F.gelu(self.norm(self.join(x)))
        return self.fc(self.last(x).reshape(-1, 72))


class Vgg(nn.Module):
    """Stacked convolutions, max pooling, Dropout, three fully connected layers, LogSoftmax."""

    shape = (3, 16, 16)

    def __init__(self):
        super().__init__()
        layers, cin = [], 3
        for cout in (6, 8):
            for _ in range(2):
                layers += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(inplace=True)]
                cin = cout
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(128, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)
        )

    def logits(self, x):
        return self.head(torch.flatten(self.features(x), 1))

    def forward(self, x):
        return F.log_softmax(self.logits(x), dim=-1)


class Late(nn.Module):
    """Images normalised in the network, BatchNorm behind activations, padding by itself, dilation, grouped convolutions,
    a polynomial in Horner form, BatchNorm between fully connected layers."""

    shape = (3, 13, 11)

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, -0.1]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([1.5, 1.6, 1.4]).view(1, 3, 1, 1))
        self.pad = nn.ZeroPad2d((2, 1, 0, 1))
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2), nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 6, 1)
        self.fc1, self.bn3, self.fc2 = nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x):
        x = self.pad((x - self.mean) / self.deviation)
        x = self.bn1(torch.tanh(self.conv1(x)))
        x = self.bn2(F.leaky_relu(self.conv2(x), 0.1))
        x = self.conv3(x)
        x = ((0.05 * x + 0.2) * x + 0.4) * x - 0.1
        x = self.bn3(self.fc1(x.mean(-1).mean(-1)))
        return self.fc2(torch.sigmoid(x))


def seeded(module, seed):
    """Weights and BatchNorm statistics that are neither 0 nor 1."""
    torch.manual_seed(seed)
    model = module()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.weight.uniform_(0.5, 1.0)
                layer.bias.uniform_(-0.2, 0.2)
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
    return model.eval()


def export(name, module, seed):
    model = seeded(module, seed)
    x = torch.rand(SAMPLES, *model.shape) * 2 - 1
    with torch.no_grad():
        y = getattr(model, "logits", model)(x)
    np.savez_compressed(HERE / f"{name}.npz", x=x.numpy(), y=y.numpy())
    one = x[:1]
    legacy = HERE / f"{name}_legacy.onnx"
    torch.onnx.export(
        model, (one,), legacy, dynamo=False, opset_version=13, training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False, input_names=["input"], output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )  # fmt: skip
    dynamo = HERE / f"{name}_dynamo.onnx"
    torch.onnx.export(
        model, (one,), dynamo, dynamo=True, external_data=name == "lenet", input_names=["input"],
        output_names=["output"], dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
    )  # fmt: skip
    print(name, legacy.stat().st_size, dynamo.stat().st_size)


NETWORKS = {
    "lenet": Lenet, "preact": Preact, "mobile": Mobile, "fire": Fire,
    "dense": Dense, "inception": Inception, "vgg": Vgg, "late": Late,
}  # fmt: skip

if __name__ == "__main__":
    wanted = sys.argv[1:] or NETWORKS
    for seed, (name, module) in enumerate(NETWORKS.items()):
        if name in wanted:
            export(name, module, seed)
