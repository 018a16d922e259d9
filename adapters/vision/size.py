"""How large a network is, and how much it computes, and for how long; nothing of this needs its weights."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from .inputs import layout
from .networks import Network, untrained
from .params import Design


def size_of(design: Design, outputs: int) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one image, of a network with so many outputs (`losses.outputs`).

    Counted: convolutions, matrix products and attention, as PyTorch's counter does, two operations to each; not
    normalisation, activations, pooling and what has no parameters. Raises ModelError when it cannot be built.
    """
    # Tensors without storage: shapes are all that is counted.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        network = Network(untrained(design), outputs, torch.sigmoid).eval()
        image = torch.zeros(1, layout(design).channels, design.size, design.size)
        with FlopCounterMode(display=False) as counter:
            network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def latency_ms(design: Design, outputs: int, device: str, runs: int = 9) -> float:
    """Milliseconds, wall time, that a network takes for one image alone; the median of so many after a first."""
    with torch.random.fork_rng(devices=[]):
        network = Network(untrained(design), outputs, torch.sigmoid)
    network = network.to(device, memory_format=torch.channels_last).eval()
    image = torch.zeros(1, layout(design).channels, design.size, design.size, dtype=torch.uint8, device=device)
    taken = []
    with torch.inference_mode():
        for _ in range(runs + 1):
            begun = time.perf_counter()
            network(image)[-1].cpu()  # waits until it is there
            taken.append(time.perf_counter() - begun)
    return 1000 * sorted(taken[1:])[runs // 2]
