"""Small runs on one thread: synchronising threads would take longer than the work."""

import os

os.environ.setdefault("AMICUS_TRAIN_COMPILE", "0")

import torch  # noqa: E402

torch.set_num_threads(1)
