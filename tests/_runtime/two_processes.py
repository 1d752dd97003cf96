"""Runs code in two processes that torchrun starts on this machine, without a GPU."""

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

from common import ONE_THREAD

TESTS = Path(__file__).parents[1]
FRAME = """
import os, pickle, sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, {tests!r})
found = {{}}
rank = int(os.environ.get("RANK", 0))
try:
{code}
finally:
    with open({folder!r} + f"/found{{rank}}", "wb") as file:
        pickle.dump(found, file)
"""


def run_in(n_processes, code, folder, ends_well=True):
    """Run code in processes; return what each put into the dict ``found``, and what was printed.

    The code knows its ``rank``.
    """
    script = Path(folder) / "script.py"
    code = textwrap.indent(textwrap.dedent(code), "    ")
    script.write_text(FRAME.format(tests=str(TESTS), folder=str(folder), code=code))
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    start = start if n_processes > 1 else []
    done = subprocess.run(
        [sys.executable, *start, str(script)],
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode == 0) == ends_well, done.stdout + done.stderr
    files = [Path(folder) / f"found{rank}" for rank in range(n_processes)]
    found = [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]
    return found, done.stdout, done.stderr
