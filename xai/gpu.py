"""Which GPU a chapter computes on, and how much of its memory it takes: `make book GPU=n` lets n chapters at a time use them.

Several chapters on one GPU are worth it where a network's steps are short: while one process compiles or reads, another computes. JAX
takes most of a GPU's memory at its start, so each process is told its part, and chapters that need no GPU are kept off it. On a
cluster the scheduler hands out GPUs, and nothing here has anything to do.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

from xai.paths import StudyError

AT_A_TIME = "XAI_GPU"  # the environment variable that `make` sets
MEMORY = 0.9  # of a GPU, for all its chapters together
LOOK_AGAIN = 1.0  # seconds between two looks for a free place


def gpus() -> list[str]:
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES takes them; empty where there is none."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", listed, re.MULTILINE)


def check_gpu(at_a_time: str) -> None:
    """That JAX finds a GPU, before anything is computed.

    Parameters
    ----------
    at_a_time : str
        What the user gave as ``GPU``: how many chapters may use the GPUs at a time.

    Raises
    ------
    StudyError
        If it is no positive whole number, or JAX finds no GPU.
    """
    if not re.fullmatch(r"[1-9]\d*", at_a_time):
        raise StudyError(f"GPU is {at_a_time!r}, expected how many chapters may use the GPU at a time: a whole number, 1 to begin with.")
    looked = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices('gpu')"], capture_output=True, text=True, env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    )  # fmt: skip
    if looked.returncode:
        said = looked.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise StudyError(
            f"GPU={at_a_time} was asked for, but JAX finds no GPU ({said[0].split(': ', 1)[-1].split('. ')[0].rstrip('.')[:200]}), and nvidia-smi lists {len(gpus())}; "
            "install NVIDIA's driver, 525 or later, or leave GPU out and compute on the processor."
        )


@contextmanager
def share(wanted: bool) -> Iterator[None]:
    """For a chapter: wait for a place on a GPU, and name it in the environment of the kernel that will start.

    Parameters
    ----------
    wanted : bool
        Whether the chapter computes with networks; others are kept off the GPUs.
    """
    places = int(os.environ.get(AT_A_TIME) or 0)
    if not places:
        yield
        return
    if not wanted:
        os.environ["JAX_PLATFORMS"] = "cpu"
        yield
        return
    devices = gpus() or ["0"]
    place, lock = _free_place(places)
    with lock:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{MEMORY / math.ceil(places / len(devices)):.3f}"
        yield


def _free_place(places: int) -> tuple[int, IO]:
    """The first place that no other process of this user holds; the system lifts the lock of a killed one."""
    while True:
        for place in range(places):
            lock = (Path(tempfile.gettempdir()) / f"xai-gpu-{os.getuid()}-{place}.lock").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return place, lock
            except BlockingIOError:
                lock.close()
        time.sleep(LOOK_AGAIN)
