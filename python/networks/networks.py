"""Networks of many kinds, exported as their users would, and how Amicus fares with each.

    pip install torch torchvision onnx onnxruntime onnxscript numpy scikit-learn skl2onnx keras
    python networks.py export FOLDER
    python networks.py run FOLDER --amicus target/release/amicus --float target/release/examples/float
    python networks.py private FOLDER --amicus target/release/amicus

Weights are random; statistics of BatchNorm are those of random images, so numbers stay in a usual
range. `run` prints a table: what `check` says, how far the float executor is
from ONNX Runtime, the error of the fixed point on inputs that were not calibrated with, the cost.
`private` compiles each network and runs it privately, two parties in one process over TLS, on such
inputs: errors, how far private answers are from the simulator's, time, bytes, memory.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

SEED = 1
CALIBRATION, TEST = 12, 6
# Their layers take images of one size.
FIXED = {"regression", "vit_b_16"}


def images(count, shape, seed):
    """Blotches with noise, from 0 to 1: neighbours are alike, as in photographs."""
    rng = np.random.default_rng(seed)
    if len(shape) != 3:
        return rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
    channels, height, width = shape
    coarse = rng.uniform(0, 1, (count, channels, -(-height // 8) + 1, -(-width // 8) + 1))
    up = np.repeat(np.repeat(coarse, 8, 2), 8, 3)[:, :, :height, :width]
    kernel = np.ones(8) / 8
    for axis in (2, 3):
        up = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, up)
    return np.clip(up + rng.normal(0, 0.05, up.shape), 0, 1).astype(np.float32)


# Networks of torch: name, exporter ("dynamo" or "legacy"), shape of one input, what builds it, and
# the reason for which it is refused, if it is.
def torch_networks():
    import torch
    import torchvision.models as tv
    from torch import nn

    def conv(i, o, k=3, s=1, **kw):
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False, **kw), nn.BatchNorm2d(o))

    class UNet(nn.Module):
        def __init__(self, up):
            super().__init__()
            self.a, self.b, self.c = conv(3, 12), conv(12, 24), conv(24, 48)
            self.kind = up
            if up == "transposed":
                self.u1, self.u2 = nn.ConvTranspose2d(48, 24, 2, 2), nn.ConvTranspose2d(24, 12, 2, 2)
            elif up == "shuffle":
                self.u1 = nn.Sequential(nn.Conv2d(48, 96, 1), nn.PixelShuffle(2))
                self.u2 = nn.Sequential(nn.Conv2d(24, 48, 1), nn.PixelShuffle(2))
            else:
                more = {} if up == "nearest" else {"align_corners": up == "corners"}
                mode = "nearest" if up == "nearest" else "bilinear"
                self.u1 = nn.Sequential(nn.Upsample(scale_factor=2, mode=mode, **more), nn.Conv2d(48, 24, 1))
                self.u2 = nn.Sequential(nn.Upsample(scale_factor=2, mode=mode, **more), nn.Conv2d(24, 12, 1))
            self.d, self.e, self.out = conv(48, 24), conv(24, 12), nn.Conv2d(12, 4, 1)

        def forward(self, x):
            pool = nn.functional.max_pool2d
            a = torch.relu(self.a(x))
            b = torch.relu(self.b(pool(a, 2)))
            c = torch.relu(self.c(pool(b, 2)))
            d = torch.relu(self.d(torch.cat([self.u1(c), b], 1)))
            return self.out(torch.relu(self.e(torch.cat([self.u2(d), a], 1))))

    class Pyramid(nn.Module):
        """A detection backbone: features of three sizes, joined from coarse to fine; boxes and
        classes of each."""

        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList([conv(3, 16, s=2), conv(16, 32, s=2), conv(32, 64, s=2), conv(64, 64, s=2)])
            self.lateral = nn.ModuleList([nn.Conv2d(c, 32, 1) for c in (32, 64, 64)])
            self.classes, self.boxes = nn.Conv2d(32, 6, 3, 1, 1), nn.Conv2d(32, 4, 3, 1, 1)

        def forward(self, x):
            kept = []
            for stage in self.stages:
                x = torch.relu(stage(x))
                kept.append(x)
            top = self.lateral[2](kept[3])
            middle = self.lateral[1](kept[2]) + nn.functional.interpolate(top, scale_factor=2, mode="nearest")
            fine = self.lateral[0](kept[1]) + nn.functional.interpolate(middle, scale_factor=2, mode="nearest")
            return [head(f) for f in (fine, middle, top) for head in (self.classes, self.boxes)]

    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(conv(3, 16, s=2), nn.ReLU(), conv(16, 32, s=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.classes, self.angle = nn.Linear(32, 10), nn.Linear(32, 1)

        def forward(self, x):
            x = self.body(x)
            return self.classes(x), self.angle(x)

    class Gates(nn.Module):
        """Channel and pixel attention."""

        def __init__(self):
            super().__init__()
            self.first, self.second = conv(3, 16, s=2), conv(16, 16)
            self.channels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Sigmoid())
            self.pixels = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3), nn.Sigmoid())
            self.out = nn.Linear(16, 10)

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = x * self.channels(x)
            both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
            x = torch.relu(self.second(x * self.pixels(both)))
            return self.out(x.mean((2, 3)))

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    def small(activation, norm=nn.BatchNorm2d):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), norm(16), activation(), nn.Conv2d(16, 32, 3, 2, 1), norm(32), activation(),
            nn.Conv2d(32, 32, 3, 1, 1, groups=32), norm(32), activation(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
        )

    def mixer():
        block = lambda: nn.Sequential(nn.Conv2d(24, 24, 5, padding=2, groups=24), nn.GELU(), nn.BatchNorm2d(24), nn.Conv2d(24, 24, 1), nn.GELU(), nn.BatchNorm2d(24))
        return nn.Sequential(nn.Conv2d(3, 24, 4, 4), nn.GELU(), nn.BatchNorm2d(24), block(), block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))

    def one(dilated=False):
        layers, channels = [], 4
        for i in range(4):
            d = 2**i if dilated else 1
            layers += [nn.Conv1d(channels, 24, 3, padding=d, dilation=d), nn.BatchNorm1d(24), nn.ReLU()]
            layers += [] if dilated else [nn.MaxPool1d(2)]
            channels = 24
        return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 5))

    def table(activation, inputs=20):
        return nn.Sequential(nn.Linear(inputs, 64), nn.BatchNorm1d(64), activation(), nn.Linear(64, 32), activation(), nn.Linear(32, 3))

    lenet = lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )
    autoencoder = lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid(),
    )
    regression = lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 1))
    attention = lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    group = lambda c: nn.GroupNorm(4, c)

    def of(name, **kw):
        if name == "googlenet":
            kw = {"aux_logits": False, "init_weights": False}
        if name == "inception_v3":
            kw = {"aux_logits": False, "init_weights": False}
        return lambda: getattr(tv, name)(weights=None, **kw)

    px, d, l = (3, 64, 64), "dynamo", "legacy"
    norm = "divides by secret numbers"
    known = [
        ("resnet18", d, px, of("resnet18"), None), ("resnet50", l, px, of("resnet50"), None),
        ("vgg11_bn", d, (3, 224, 224), of("vgg11_bn"), None), ("alexnet", l, (3, 224, 224), of("alexnet"), None),
        ("squeezenet1_1", l, px, of("squeezenet1_1"), None), ("densenet121", d, px, of("densenet121"), None),
        ("googlenet", l, px, of("googlenet"), None), ("inception_v3", l, (3, 96, 96), of("inception_v3"), None),
        ("mobilenet_v2", d, px, of("mobilenet_v2"), None), ("mobilenet_v3_small", d, px, of("mobilenet_v3_small"), None),
        ("mobilenet_v3_large", l, px, of("mobilenet_v3_large"), None), ("efficientnet_b0", d, px, of("efficientnet_b0"), None),
        ("mnasnet0_5", l, px, of("mnasnet0_5"), None), ("regnet_y_400mf", d, px, of("regnet_y_400mf"), None),
        ("regnet_x_400mf", l, px, of("regnet_x_400mf"), None), ("shufflenet_v2_x0_5", d, px, of("shufflenet_v2_x0_5"), None),
        ("resnext50_32x4d", d, px, of("resnext50_32x4d"), None), ("convnext_tiny", d, px, of("convnext_tiny"), norm),
        ("vit_b_16", d, (3, 224, 224), of("vit_b_16"), norm),
    ]
    own = [(f"unet_{up}", d if up in ("nearest", "shuffle") else l, (3, 32, 32), lambda up=up: UNet(up), None) for up in ("transposed", "nearest", "bilinear", "corners", "shuffle")]
    smooth = [("silu", nn.SiLU, d), ("gelu", nn.GELU, l), ("mish", nn.Mish, d), ("elu", nn.ELU, l), ("celu", nn.CELU, l), ("selu", nn.SELU, d), ("softplus", nn.Softplus, l),
              ("softsign", nn.Softsign, d), ("tanh", nn.Tanh, l), ("sigmoid", nn.Sigmoid, d), ("hardswish", nn.Hardswish, l), ("relu6", nn.ReLU6, d), ("prelu", nn.PReLU, l)]
    own += [(f"small_{name}", e, (3, 32, 32), lambda a=a: small(a), None) for name, a, e in smooth]
    own += [
        ("pyramid", d, px, Pyramid, None), ("two_heads", l, (3, 32, 32), TwoHeads, None), ("gates", d, (3, 32, 32), Gates, None),
        ("conv_mixer", d, (3, 32, 32), mixer, None), ("conv1d", l, (4, 64), one, None), ("conv1d_dilated", d, (4, 64), lambda: one(True), None),
        ("table_relu", d, (20,), lambda: table(nn.ReLU), None), ("table_gelu", l, (20,), lambda: table(nn.GELU), None),
        ("lenet_tanh", l, (1, 28, 28), lenet, None), ("autoencoder", d, (1, 28, 28), autoencoder, None), ("regression", d, (3, 32, 32), regression, None),
        ("group_norm", d, (3, 32, 32), lambda: small(nn.ReLU, group), norm), ("instance_norm", l, (3, 32, 32), lambda: small(nn.ReLU, lambda c: nn.InstanceNorm2d(c, affine=True)), norm),
        ("attention", d, (8, 16), attention, norm), ("lstm", l, (12, 8), Recurrent, "goes round in time"),
    ]
    return known + own


def export_torch(folder, only, size=None):
    import torch
    from torch import nn

    for name, exporter, shape, build, refused in torch_networks():
        if only and name not in only:
            continue
        if size and len(shape) == 3 and shape[0] == 3 and name not in FIXED:
            shape = (3, size, size)
        path = os.path.join(folder, f"{name}.onnx")
        if os.path.exists(path):
            continue
        torch.manual_seed(SEED)
        model = build()
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for m in norms:
            m.momentum = None
            nn.init.uniform_(m.weight, 0.7, 1.3)
            nn.init.uniform_(m.bias, -0.2, 0.2)
        drops = [m for m in model.modules() if "Drop" in type(m).__name__ or type(m).__name__ == "StochasticDepth"]
        if norms:
            model.train()
            [m.eval() for m in drops]
            with torch.no_grad():
                model(torch.from_numpy(images(16, shape, 3)))
        model.eval()
        x = torch.from_numpy(images(1, shape, 5))
        if exporter == "dynamo":
            torch.onnx.export(model, (x,), path, dynamo=True, external_data=False, verbose=False)
        else:
            torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17)
        finish(folder, name, shape, f"torch, {exporter}", refused)
        print(name, flush=True)


def export_sklearn(folder, only):
    import sklearn.ensemble as ensemble
    import sklearn.linear_model as linear
    import sklearn.neural_network as mlp
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(SEED)
    x = rng.normal(0, 1, (400, 12)).astype(np.float32)
    score = x @ rng.normal(0, 1, 12) + np.sin(3 * x[:, 0])
    two, three = (score > 0).astype(np.int64), np.digitize(score, [-1, 1])
    zipmap = {"zipmap": False}
    all_ = [
        ("sk_logistic", linear.LogisticRegression(), three, zipmap, None),
        ("sk_linear", make_pipeline(StandardScaler(), linear.Ridge()), score, None, None),
        ("sk_mlp_classifier", make_pipeline(StandardScaler(), mlp.MLPClassifier(hidden_layer_sizes=(32, 16), max_iter=60)), three, zipmap, None),
        ("sk_mlp_tanh", mlp.MLPClassifier(hidden_layer_sizes=(24,), activation="tanh", max_iter=60), three, zipmap, None),
        ("sk_mlp_regressor", mlp.MLPRegressor(hidden_layer_sizes=(32,), max_iter=60), score, None, None),
        ("sk_forest", ensemble.RandomForestClassifier(10), two, zipmap, "trees"),
    ]
    for name, model, y, zipmap, refused in all_:
        if (only and name not in only) or os.path.exists(os.path.join(folder, f"{name}.onnx")):
            continue
        model.fit(x, y)
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        options = {id(last): zipmap} if zipmap else None
        file = to_onnx(model, x[:1], options=options)
        with open(os.path.join(folder, f"{name}.onnx"), "wb") as out:
            out.write(file.SerializeToString())
        finish(folder, name, (12,), "scikit-learn", refused)
        print(name, flush=True)


def export_keras(folder, only):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers as k

    keras.utils.set_random_seed(SEED)
    nets = {
        "keras_conv": [k.Input((32, 32, 3)), k.Conv2D(16, 3, activation="relu"), k.MaxPooling2D(), k.Conv2D(32, 3, activation="relu"), k.GlobalAveragePooling2D(), k.Dense(10, activation="softmax")],
        "keras_separable": [k.Input((32, 32, 3)), k.SeparableConv2D(16, 3, padding="same"), k.BatchNormalization(), k.Activation("swish"), k.AveragePooling2D(2), k.Flatten(), k.Dense(10)],
        "keras_upsampling": [k.Input((16, 16, 3)), k.Conv2D(8, 3, padding="same", activation="relu"), k.UpSampling2D(), k.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu"), k.Conv2D(1, 1)],
        "keras_mlp": [k.Input((20,)), k.Dense(32, activation="gelu"), k.Dense(4)],
    }
    for name, net in nets.items():
        if (only and name not in only) or os.path.exists(os.path.join(folder, f"{name}.onnx")):
            continue
        model = keras.Sequential(net)
        model(np.zeros((1, *model.input_shape[1:]), np.float32))
        model.export(os.path.join(folder, f"{name}.onnx"), format="onnx", verbose=False)
        finish(folder, name, model.input_shape[1:], "Keras", None)
        print(name, flush=True)


def finish(folder, name, shape, program, refused):
    """Inputs for calibration and for the test, and what ONNX Runtime answers to these."""
    import onnxruntime as ort

    path = os.path.join(folder, f"{name}.onnx")
    if len(shape) == 3 and shape[2] <= 4 < shape[0]:
        make = lambda n, s: images(n, (shape[2], shape[0], shape[1]), s).transpose(0, 2, 3, 1)
    else:
        make = lambda n, s: images(n, shape, s)
    test = make(TEST, 11)
    session = ort.InferenceSession(logits(path), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    runs = [session.run(None, {feed: np.ascontiguousarray(x[None])}) for x in test]
    out = [np.concatenate([np.asarray(o, np.float32).reshape(-1) for o in run if np.asarray(o).dtype.kind == "f"]) for run in runs]
    np.savez(os.path.join(folder, f"{name}.cal.npz"), x=make(CALIBRATION, 7))
    np.savez(os.path.join(folder, f"{name}.test.npz"), x=test, out=np.stack(out))
    with open(os.path.join(folder, f"{name}.json"), "w") as about:
        json.dump({"program": program, "refused": refused, "shape": list(shape)}, about)


def logits(path):
    """The file with the logits in place of probabilities: Amicus drops a softmax at the end, and what follows."""
    import onnx

    model = onnx.load(path)
    ends = {o.name for o in model.graph.output}
    for node in reversed(model.graph.node):
        if not ends & set(node.output):
            continue
        if node.op_type in ("Softmax", "LogSoftmax", "Normalizer"):
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
        if node.op_type == "LinearClassifier":
            for attribute in node.attribute:
                if attribute.name == "post_transform":
                    attribute.s = b"NONE"
        if node.op_type == "Identity":
            ends |= set(node.input)
    return model.SerializeToString()


def each(folder, args, kind, of, shown):
    """Rows of all networks that are asked for, printed; those that have a result are not made anew."""
    rows = []
    for name in sorted(f[:-5] for f in os.listdir(folder) if f.endswith(".onnx")):
        if args.only and name not in args.only:
            continue
        result = os.path.join(folder, f"{name}.{kind}.json")
        if not os.path.exists(result) or args.again:
            row = of(folder, name, args)
            with open(result, "w") as out:
                json.dump(row, out)
        rows.append(json.load(open(result)))
        print(shown(rows[-1]), flush=True)
    fine = sum(row["fine"] for row in rows)
    print(f"\n{fine} of {len(rows)} as they should be")
    return fine == len(rows)


def call(command, timeout):
    start = time.time()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr, time.time() - start
    except subprocess.TimeoutExpired:
        return None, "", f"longer than {timeout} s", time.time() - start


def compiled(folder, name, args):
    """What `compile` reports, or None and why not. Its file and report are kept, for both commands."""
    at = lambda kind: os.path.join(folder, f"{name}.{kind}")
    if args.again or not (os.path.exists(at("amc")) and os.path.exists(at("report.json"))):
        command = [args.amicus, "compile", at("onnx"), "--calibrate", at("cal.npz"), "-o", at("amc"), "--json", "--allow-miss", "--force"]
        code, out, err, _ = call(command, args.timeout)
        if code != 0:
            return None, "compile: " + err.strip()[-300:]
        with open(at("report.json"), "w") as file:
            file.write(out)
    return json.load(open(at("report.json"))), ""


def one(folder, name, args):
    at = lambda kind: os.path.join(folder, f"{name}.{kind}")
    row = {"name": name, **json.load(open(at("json"))), "fine": False, "note": "", "float": None}
    code, out, err, _ = call([args.amicus, "check", at("onnx"), "--json"], 120)
    try:
        found = json.loads(out)
    except ValueError:
        return {**row, "note": (err or out).strip()[:200]}
    row["check"] = "ok" if found["ok"] else "refused"
    if not found["ok"]:
        row["note"] = "; ".join(sorted({p["op"] + ": " + p["why"] for p in found["problems"]}))[:300]
        return {**row, "fine": row["refused"] is not None}
    code, out, err, _ = call([args.float, at("onnx"), at("test.npz")], 300)
    row["float"] = float(out) if code == 0 else None
    row["note"] = err.strip()[:200] if code else ""
    if args.check_only:
        return {**row, "fine": row["refused"] is None and row["float"] is not None and row["float"] < 1e-4}
    made, note = compiled(folder, name, args)
    if made is None:
        return {**row, "note": note}
    row["limbs"], row["dealt"], row["rounds"] = made["report"]["limbs"], made["cost"]["dealt_bytes"], made["cost"]["rounds"]
    watch = made["report"].get("watch")
    row["complete"] = watch and watch["complete"]
    code, out, err, row["simulate_s"] = call([args.amicus, "simulate", at("amc"), "--data", at("test.npz"), "--json"], args.timeout)
    if code != 0:
        return {**row, "note": "simulate: " + err.strip()[-300:]}
    measured = json.loads(out)
    row["error"], row["worst"] = measured["total"]["relative_error"]["median"], measured["total"]["relative_error"]["max"]
    row["noticed"] = None if measured.get("noticed") is None else len(measured["noticed"])
    row["fine"] = row["refused"] is None and row["float"] is not None and row["float"] < 1e-4 and row["error"] < 0.005
    return row


def one_private(folder, name, args):
    """Right if every answer is accepted and is the simulator's, up to rounding and numbers so near to a threshold that
    chance decides their side."""
    at = lambda kind: os.path.join(folder, f"{name}.{kind}")
    row = {"name": name, **json.load(open(at("json"))), "fine": False}
    made, note = compiled(folder, name, args)
    if made is None:
        return {**row, "note": note}
    command = [args.amicus, "demo", "--model", at("amc"), "--data", at("test.npz"), "--samples", str(args.samples), "--json"]
    code, out, err, _ = call(command, args.timeout)
    if code != 0:
        return {**row, "note": "demo: " + (err or out).strip()[-300:]}
    row["demo"] = report = json.loads(out)
    alike = report["check"] == "accepted" and report["agree"] in (report["samples"], None)
    return {**row, "fine": alike and report["simulator_error_max"] < 0.01}


def private_line(r):
    cells = [r["name"], " x ".join(str(s) for s in r["shape"])]
    if "demo" in r:
        d = r["demo"]
        cells += [f"{100 * d['relative_error']:.3f}%", f"{100 * d['simulator_error_max']:.3f}%", f"{d['online_ms']['median'] / 1000:.2f} s"]
        cells += [f"{d['dealt_bytes'] / 1e6:.1f} MB", f"{d['sent_bytes_per_party'] / 1e6:.1f} MB", f"{d['peak_rss_bytes'] / 1e9:.1f} GB"]
    else:
        cells += [r["note"], "", "", "", "", ""]
    return "| " + " | ".join(cells) + (" |" if r["fine"] else " | (!)")


def line(r):
    shape = " x ".join(str(s) for s in r["shape"])
    cells = [r["name"], r["program"], shape, r.get("check", "fails")]
    cells.append("" if r["float"] is None else f"{r['float']:.0e}")
    if "error" in r:
        cells += [f"{100 * r['error']:.3f}%", str(r["limbs"]), f"{r['dealt'] / 1e6:.1f} MB", str(r["rounds"])]
    else:
        cells += [r["note"], "", "", ""]
    return "| " + " | ".join(cells) + (" |" if r["fine"] else " | (!)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["export", "run", "private"])
    parser.add_argument("folder")
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--amicus", default="amicus")
    parser.add_argument("--float", default="target/release/examples/float")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one command")
    parser.add_argument("--size", type=int, help="export: height and width of images")
    parser.add_argument("--samples", type=int, default=TEST, help="private: inputs of each network")
    parser.add_argument("--check-only", action="store_true", help="no compiling")
    parser.add_argument("--again", action="store_true", help="also what has a result or is compiled")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    if args.what == "run":
        sys.exit(not each(args.folder, args, "result", one, line))
    if args.what == "private":
        sys.exit(not each(args.folder, args, "private", one_private, private_line))
    for export in (export_sklearn, lambda folder, only: export_torch(folder, only, args.size), export_keras):
        try:
            export(args.folder, args.only)
        except ImportError as missing:
            print(f"left out: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
