"""All benchmarks of speed and memory, one after the other, and the table of them in README.md.

    python benchmarks/speed.py DATA_DIR [--quick] [--table-only]

DATA_DIR holds cifar10.npz. Runs views.py, step.py, train_throughput.py, embed.py, memory.py and
parallel.py, each in a process of its own, and rewrites the part of benchmarks/README.md between its
two marks from the JSON files that they wrote; --table-only does only the latter. With --quick
there are fewer images and repetitions, the JSON files end in _quick, and the table is only printed.

The peers come with `pip install -e ".[bench]"`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from common import RESULTS, quoted

HERE = Path(__file__).parent
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
VERSIONS = ("torch", "torchvision", "lightly", "kornia")
# Script: whether it takes DATA_DIR, the unit of its numbers, and the options of a quick run.
SCRIPTS = {
    "views": (True, "images/s", "--repetitions 3 --batches 2 --seconds 0.2 --step-repetitions 2"),
    "step": (False, "s", "--repetitions 5"),
    "train_throughput": (True, "images/s", "--repetitions 2 --n-images 2560 512"),
    "embed": (True, "images/s", "--repetitions 3 --n-images 2048 256 256"),
    "memory": (False, "MB", "--repetitions 2 --n-images 10000 --megabytes 400"),
    "parallel": (True, "s", "--repetitions 2 --n-images 1000"),
}
OTHER_UNITS = {"resnet18 step, 32 px": "s"}
# What, where it is in the results, whether it is at least or at most, the goal, its unit.
GOALS = [
    *(
        (f"two views, {side} px: ours / {peer}", ("views", f"{side} px", f"ours / {peer}"), *goal)
        for side, peer, *goal in [
            (32, "lightly", "at least", 8, "x"),
            (32, "kornia", "at least", 2, "x"),
            (96, "lightly", "at least", 2.5, "x"),
            (96, "kornia", "at least", 2, "x"),
            (160, "lightly", "at least", 2, "x"),
            (160, "kornia", "at least", 2, "x"),
        ]
    ),
    (
        "seconds of two views / of a ResNet-18's step",
        ("views", "resnet18 step, 32 px", "views / step"),
        *("at most", 3, "%"),
    ),
    ("seconds of a step: fit / floor", ("step", "fit / floor"), "at most", 1.08, "x"),
    *(
        (f"training, {name}: ours / lightly", ("train_throughput", name, "ours / lightly"), *goal)
        for name, *goal in [
            ("small_convnet", "at least", 1.5, "x"),
            ("resnet18", "at least", 1.15, "x"),
        ]
    ),
    *(
        (f"embedding, {name}: {ratio}", ("embed", name, ratio), *goal)
        for name in ("small_convnet-32", "resnet18-32", "resnet18-160")
        for ratio, *goal in [
            ("transform / plain", "at least", 1.25, "x"),
            ("folded / transform", "at most", 1.05, "x"),
        ]
    ),
    ("peak memory of fit beyond X and network", ("memory", "fit"), "at most", 600, "MB"),
    (
        "peak memory of transform: a file / a quarter of it",
        ("memory", "transform / transform, quarter"),
        *("at most", 1.1, "x"),
    ),
]


def flat(results, place=()):
    """Give the place and the value of each number, spread and list of numbers in results."""
    for name, value in results.items():
        if isinstance(value, dict) and "median" not in value:
            yield from flat(value, (*place, name))
        else:
            yield (*place, name), value


def table(files):
    """Return the tables of goals and of all other numbers, and where they come from."""
    found = {}
    for script, file in files.items():
        found |= {(script, *place): value for place, value in flat(file["results"])}
    lines = ["| what | goal | measured |", "|---|---|---|"]
    for what, place, bound, goal, unit in GOALS:
        measured = "not measured"
        if place in found:
            value = found[place]
            middle = value["median"] if isinstance(value, dict) else value
            middle *= 100 if unit == "%" else 1
            met = middle >= goal if bound == "at least" else middle <= goal
            text = quoted(value if isinstance(value, dict) else middle)
            measured = f"{text} {unit}, {'met' if met else 'not met'}"
        lines.append(f"| {what} | {bound} {goal:g} {unit} | {measured} |")
    if found:
        lines += ["", "| script | what | measured |", "|---|---|---|"]
    for place, value in found.items():
        if place not in [goal[1] for goal in GOALS]:
            unit = OTHER_UNITS.get(place[1], SCRIPTS[place[0]][1])
            unit = f" {unit}" if isinstance(value, dict) else ""  # others are ratios
            lines.append(f"| {place[0]} | {': '.join(place[1:])} | {quoted(value)}{unit} |")
    for script, file in files.items():
        about = file["machine"]
        versions = [f"{name} {about[name]}" for name in VERSIONS if name in about]
        machine = f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"
        lines += ["", f"`{script}`: {about['date']}, {machine}, {', '.join(versions)}."]
    return "\n".join(lines) + "\n"


def main():
    """Run the benchmarks, and bring their numbers together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="a rough estimate; README.md is not changed"
    )
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()

    files = {}
    for script, (takes_data, _, quick) in SCRIPTS.items():
        name = f"{script}_quick" if options.quick else script
        command = [sys.executable, HERE / f"{script}.py", *([options.data] if takes_data else [])]
        command += ["--name", name, *(quick.split() if options.quick else [])]
        if not options.table_only:
            print(f"\n{script}", flush=True)
            subprocess.run(command, check=True)
        path = RESULTS / f"{name}.json"
        if path.exists():
            files[script] = json.loads(path.read_text())
    if options.quick:
        print(f"\n{table(files)}")
        return
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table(files)}\n{END}{after}")
    print("written:", readme.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
