"""How long `ppgn import` takes for files as large as the published ones, how much memory, how exact it is.

    python tests/benchmarks/importing.py [--json]

Writes random weights in the sizes of PPGN's generator (224 MB) and of CaffeNet (244 MB) into a temporary folder and
imports them, each in a process of its own. Memory is the peak above what the imported Python modules take. With
OpenCV 4, what the authors' layer lists give is compared as well, of the root mean square.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.interop import written

WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)
MEASURE = """
import json, sys, time
from pathlib import Path
from ppgn.interop.importing import import_model

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

key, file, out = sys.argv[1:]
settings = {"layer": "fc6"} if key == "generator" else {}
before, start = peak(), time.perf_counter()
import_model(**{key: file}, **settings, out=out)
seconds = time.perf_counter() - start
size = Path(file).stat().st_size
print(json.dumps({"file": key, "MB": size / 1e6, "seconds": seconds, "memory / size": (peak() - before) / size}))
"""


def measured(folder: Path, key: str, file: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURE, key, str(file), str(folder / f"{key}.safetensors")]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def differences(folder: Path) -> dict[str, float]:
    """The largest difference from OpenCV's outputs, of their root mean square; nothing where OpenCV 4 is missing."""
    try:
        import cv2
    except ImportError:
        return {}
    if cv2.__version__ >= "5":
        return {}
    import torch

    from ppgn.interop.importing import load_generator, load_network

    def difference(ours: torch.Tensor, theirs: Any) -> float:
        expected = torch.from_numpy(theirs.copy())
        return ((ours - expected).abs().max() / expected.square().mean().sqrt()).item()

    found = {}
    (folder / "g.prototxt").write_text(written.generator_list(256, 4096))
    net = cv2.dnn.readNetFromCaffe(str(folder / "g.prototxt"), str(folder / "generator.caffemodel"))
    made = load_generator(folder / "generator.caffemodel", "fc6", 256)
    code = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)).relu()
    net.setInput(code.numpy())
    found["image"] = difference(made(code).flip(1) * 255 - made.mean, net.forward("deconv0"))
    (folder / "c.prototxt").write_text(written.caffenet_list(WIDTHS, 1000))
    net = cv2.dnn.readNetFromCaffe(str(folder / "c.prototxt"), str(folder / "network.caffemodel"))
    network = load_network(folder / "network.caffemodel")
    x = torch.rand(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    for layer, name in {"conv5": "relu5", "fc6": "relu6", "fc8": "fc8"}.items():
        net.setInput(network.preprocessing(x).numpy())
        found[layer] = difference(network.features(x, [layer])[layer], net.forward(name))
    return found


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            "generator": written.caffemodel(folder / "generator.caffemodel", written.generator(256, 4096)),
            "network": written.caffemodel(folder / "network.caffemodel", written.caffenet(WIDTHS, 1000), "V1"),
        }
        rows = [measured(folder, key, file) for key, file in files.items()]
        exact = differences(folder)
    if "--json" in sys.argv:
        print(json.dumps({"imports": rows, "differences": exact}))
        return
    for row in rows:
        size = f"{row['MB']:6.1f} MB  {row['seconds']:5.2f} s"
        print(f"{row['file']:10} {size}  {row['memory / size']:.2f} times its size in memory")
    for layer, value in exact.items():
        print(f"{layer:10} differs by {value:.1e} of the root mean square")


if __name__ == "__main__":
    main()
