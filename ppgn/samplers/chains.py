"""The driver: walks a batch of chains, keeps some of their states, and can stop and go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgn import progress
from ppgn.contracts import Info, Kernel, Samples, Starting, State, Target
from ppgn.errors import InputError
from ppgn.samplers.checkpoint import TENSORS, ChainState, Kept
from ppgn.samplers.noise import Noise

# Called after every step with the steps done, the steps in all, the new state and the step's info. True stops early.
Callback = Callable[[int, int, State, Info], bool | None]


def run_chains(
    targets: Sequence[Target],
    kernel: Kernel,
    noise: Noise,
    *,
    steps: int | None = None,
    init: Tensor | None = None,
    burn_in: int = 0,
    thin: int | None = None,
    callback: Callback | None = None,
    checkpoint: Path | None = None,
    save_every: int = 50,
    tag: str = "",
) -> Samples:
    """Walk one chain per seed of `noise` through all `targets` -> `Samples`.

    steps: under each target; by default the kernel's own number, 100 where it has none.
    init: start codes (B, *code_shape), or (1, *code_shape) for all; by default drawn from N(0, I).
    burn_in, thin: of every target's states keep each `thin`-th after the first `burn_in`; by default the last only.
    callback: may return True to stop early; the state it saw is then kept too.
    checkpoint: a file written every `save_every` steps and at the end. Where it exists the chains go on from it, on
        a CPU bit for bit (CUDA sums the gradient of an interpolation in no fixed order); `tag` is text that says what
        the targets are, so that they do not go on under others.

    Between targets the code stays, the step number i runs on, and the last evaluation serves one more step: the walk
    evaluates 1 + steps · len(targets) times. A chain that meets a non-finite number is frozen, the others go on, and
    its seed is in `Samples.failed`. Raises `InputError` for settings that cannot be.

    Source of the walk through targets: the released sampler of PPGN (arXiv 1612.00005).
    """
    steps = getattr(kernel, "steps", 100) if steps is None else steps
    if steps < 1:
        raise InputError(f"steps is {steps}; expected 1 or more")
    if not 0 <= burn_in < steps:
        raise InputError(f"burn_in is {burn_in}; expected 0 or more and less than steps={steps}")
    if thin is not None and not 1 <= thin <= steps - burn_in:
        most = f"1 to {steps - burn_in} (steps - burn_in)"
        raise InputError(f"thin is {thin}; expected {most}, or null for the last state")
    if save_every < 1:
        raise InputError(f"save_every is {save_every}; expected 1 or more")
    if not targets or not noise.seeds:
        raise InputError("nothing to sample: expected at least one target and one seed")
    run = {"seeds": noise.seeds, "steps": steps, "targets": len(targets), "burn_in": burn_in, "thin": thin}
    run |= {"kernel": repr(kernel), "tag": tag}

    step, kept = 0, []
    if checkpoint is not None and checkpoint.exists():
        saved = ChainState.load(checkpoint, run, noise.device)
        state, step, kept = saved.state, saved.step, list(saved.kept)
        noise.load_state_dict(saved.noise)
    else:
        state = kernel.init(_start(kernel, targets[0], noise, init), targets[0], noise)

    total, stop, keep = steps * len(targets), False, True
    while step < total and not stop:
        state, info = kernel.step(state, targets[step // steps], noise, step, steps)
        done = step % steps + 1 - burn_in  # of this target's steps, after those of the burn-in
        keep = done + burn_in == steps if thin is None else done > 0 and done % thin == 0
        step += 1
        if keep:
            kept.append(Kept.of(state, step, (step - 1) // steps))
        stop = callback is not None and bool(callback(step, total, state, info))
        progress.follower().step(step, total, state, noise.seeds)
        if checkpoint is not None and (step % save_every == 0 or step == total or stop):
            ChainState(state, step, tuple(kept), noise.state_dict()).save(checkpoint, run)
    if stop and not keep:
        kept.append(Kept.of(state, step, (step - 1) // steps))
    return _collect(kept, noise.seeds, state.alive)


def sample(
    targets: Sequence[Target],
    kernel: Kernel,
    seeds: Sequence[int],
    *,
    init: Tensor | None = None,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    callback: Callback | None = None,
    on_batch: Callable[[Samples], None] | None = None,
    checkpoint: Path | None = None,
    **options: Any,
) -> Samples:
    """`run_chains` over any number of seeds, `batch_size` at a time.

    A seed's samples do not depend on `batch_size`: on a CPU bit for bit through our networks, elsewhere and through
    compiled ones up to rounding, which a long chain amplifies until signals differ, as they do between machines.

    init: start codes (N, *code_shape), one per seed, or (1, *code_shape) for all.
    callback: counts the steps of all batches; True ends the batch it saw, the next one still runs.
    on_batch: gets every batch's samples as soon as they are there.
    checkpoint: batch number k has a file of its own, with -k after the stem of the name.
    `options` are the other arguments of `run_chains`; `device` and `dtype` are those of the codes.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected 1 or more")
    if init is not None and len(init) not in (1, len(seeds)):
        raise InputError(f"init holds {len(init)} codes for {len(seeds)} seeds; expected one for all or one per seed")
    starts = range(0, len(seeds), batch_size)
    parts = []
    for number, start in enumerate(starts):
        batch = slice(start, start + batch_size)
        samples = run_chains(
            targets,
            kernel,
            Noise(seeds[batch], device, dtype),
            init=init if init is None or len(init) == 1 else init[batch],
            callback=callback and _over_batches(callback, number, len(starts)),
            checkpoint=checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{number}"),
            **options,
        )
        if on_batch is not None:
            on_batch(samples)
        parts.append(samples)
    if not parts:
        raise InputError("nothing to sample: expected at least one seed")
    return Samples.concatenate(parts)


def _start(kernel: Kernel, target: Target, noise: Noise, init: Tensor | None) -> Tensor:
    """The start codes, (B, *code_shape)."""
    if init is None:
        return kernel.start(target, noise) if isinstance(kernel, Starting) else noise.normal("init", target.code_shape)
    batch = len(noise.seeds)
    if tuple(init.shape[1:]) != tuple(target.code_shape) or len(init) not in (1, batch):
        expected = f"{(batch, *target.code_shape)} or {(1, *target.code_shape)}"
        raise InputError(f"init codes have the shape {tuple(init.shape)}; expected {expected}")
    return init.detach().to(noise.device, noise.dtype).expand(batch, *target.code_shape).clone()


def _over_batches(callback: Callback, number: int, batches: int) -> Callback:
    """`callback` with the steps of batch `number` counted after those of the batches before it."""
    return lambda step, total, state, info: callback(number * total + step, batches * total, state, info)


def _collect(kept: Sequence[Kept], seeds: Sequence[int], alive: Tensor) -> Samples:
    """Rows seed by seed, each seed's in the order of its chain, so that batches can be concatenated."""
    joined = {name: torch.stack([getattr(item, name) for item in kept], dim=1).flatten(0, 1) for name in TENSORS}
    return Samples(
        **joined,
        seeds=tuple(seed for seed in seeds for _ in kept),
        targets=tuple(item.target for item in kept) * len(seeds),
        steps=tuple(item.step for item in kept) * len(seeds),
        failed=tuple(seed for seed, fine in zip(seeds, alive.tolist(), strict=True) if not fine),
    )
