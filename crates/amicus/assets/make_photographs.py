"""Cuts the photographs in photographs/ from those in two PyPI packages. Needs Pillow.

    pip download --no-deps --no-binary :all: scikit-image==0.19.3   # unpack skimage/data
    pip download --no-deps scikit-learn==1.9.1                      # unpack sklearn/datasets/images
    python make_photographs.py skimage/data sklearn/datasets/images photographs
"""

import sys
from pathlib import Path

from PIL import Image

# Name, package (0 scikit-image, 1 scikit-learn), file, left and top edge and side of the square, in pixels.
CROPS = [
    ("cat", 0, "chelsea.png", 60, 0, 300),
    ("rocket", 0, "rocket.jpg", 110, 0, 427),
    ("coffee", 0, "coffee.png", 90, 0, 400),
    ("astronaut", 0, "astronaut.png", 90, 0, 300),
    ("temple", 1, "china.jpg", 150, 60, 360),
    ("flower", 1, "flower.jpg", 110, 0, 420),
]

folders, out = [Path(p) for p in sys.argv[1:3]], Path(sys.argv[3])
for name, package, file, left, top, side in CROPS:
    image = Image.open(folders[package] / file).convert("RGB").crop((left, top, left + side, top + side))
    small = image.resize((32, 32), Image.Resampling.LANCZOS)
    # A fresh image: no colour profile or other metadata comes along.
    bare = Image.frombytes("RGB", small.size, small.tobytes())
    bare.save(out / f"{name}.png", optimize=True)
