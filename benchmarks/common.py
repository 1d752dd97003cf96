"""What every benchmark says about itself: machine, versions, repetitions, and a JSON file."""

import json
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def machine():
    """Describe the machine and the versions that a result depends on."""
    described = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        described["processor"] = names[0] if names else described["processor"]
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    for package in ("torch", "torchvision", "scikit-learn", "skorch", "numpy"):
        described[package] = version(package)
    return described


def spread(values):
    """Return the median of repeated measurements, their quartiles and their number."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "quartiles": [low, high], "repetitions": len(values)}


def write(name, settings, results):
    """Print the machine and write results as JSON beside those of other benchmarks."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": about, "settings": settings, "results": results}, indent=1) + "\n"
    )
    print("written:", path.relative_to(Path(__file__).parent.parent))
