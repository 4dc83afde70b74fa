"""One run on several devices: a process for each, which share nothing but the folder they write into."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch

from ppgn.errors import InputError
from ppgn.sampling import Worker

PATIENCE = timedelta(days=30)  # of a process that is done, for the others


@contextmanager
def workers(
    devices: int, num_nodes: int, device: torch.device, command: Sequence[str]
) -> Iterator[tuple[torch.device, Worker]]:
    """This process as one of `devices` on each of `num_nodes`; the others on this node run `command` of ppgn.

    Under torchrun, in a SLURM job step, and where LOCAL_RANK is set, whoever did that has started them. On several
    nodes without these, the command is given on each, with NODE_RANK, MASTER_ADDR and MASTER_PORT set. Raises
    `InputError` where there are not so many devices.
    """
    if devices * num_nodes == 1:
        yield device, Worker()
        return
    if ":" in str(device):
        raise InputError(f"device={device} is one device, not devices={devices}; use device={device.type}")
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise InputError(f"devices={devices} cannot be used: {torch.cuda.device_count()} GPUs are visible; use fewer")
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they announce what went well
    before = dict(os.environ)
    children = _start(devices, num_nodes, command)
    try:
        # The processes only wait for each other, so gloo will do on GPUs too.
        strategy = DDPStrategy(process_group_backend="gloo", timeout=PATIENCE)
        fabric = Fabric(accelerator=device.type, strategy=strategy, devices=devices, num_nodes=num_nodes)
        fabric.launch()

        def wait() -> bool:
            try:
                fabric.barrier()
            except RuntimeError:  # what torch.distributed makes of a lost connection
                return False
            return True

        yield fabric.device, Worker(fabric.global_rank, fabric.world_size, wait)
    except BaseException:
        for child in children:
            child.terminate()
        raise
    finally:
        for child in children:
            child.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)


def _start(devices: int, num_nodes: int, command: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """The processes of this node but the first, if nobody else has started them."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    environment = LightningEnvironment()
    external = (environment.creates_processes_externally, TorchElasticEnvironment.detect(), SLURMEnvironment.detect())
    if any(external):
        return []
    # Lightning's own launcher would kill all of them as soon as one dies.
    os.environ.setdefault("MASTER_ADDR", environment.main_address)
    os.environ.setdefault("MASTER_PORT", str(environment.main_port))
    shared = os.environ | {"NODE_RANK": str(environment.node_rank()), "WORLD_SIZE": str(devices * num_nodes)}
    line = [sys.executable, "-m", "ppgn", *command]
    children = [subprocess.Popen(line, env=shared | {"LOCAL_RANK": str(rank)}) for rank in range(1, devices)]
    os.environ["LOCAL_RANK"] = "0"
    return children
