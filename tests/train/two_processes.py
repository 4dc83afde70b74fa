"""Trains as one of several processes and writes what it saw and where it ended: FOLDER, then the words of training.

Lightning starts the other processes by running the same command again.
"""

import sys
from pathlib import Path

import torch

from ppgn.cli import config as configs
from tests.train.test_generator import weights
from train import generator

if __name__ == "__main__":
    cfg, _ = configs.compose("train_generator", sys.argv[2:])
    module = generator.run(cfg, {})
    rank = module.global_rank
    batch = next(iter(module.trainer.train_dataloader))
    torch.save({"weights": weights(module), "batch": batch[0]}, Path(sys.argv[1]) / f"{rank}.pt")
