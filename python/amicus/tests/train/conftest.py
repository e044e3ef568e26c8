"""Small runs on one thread: synchronising threads would take longer than the work."""

import os

os.environ.setdefault("AMICUS_TRAIN_COMPILE", "0")

try:
    import torch
except ImportError:
    # Without PyTorch there is no training to test.
    collect_ignore_glob = ["test_*.py"]
else:
    torch.set_num_threads(1)
