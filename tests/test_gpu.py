"""Places on GPUs: who computes where, who waits, and what is said where there is none. No GPU is needed."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
import threading
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, one_sentence
from test_chapter import notebook, printed, start

from xai import gpu
from xai.paths import StudyError
from xai.preflight import main as preflight

VARIABLES = ("XAI_GPU", "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION", "JAX_PLATFORMS")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of so many GPUs, by an `nvidia-smi` that lists them; its locks lie in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="xai-") as locks:  # sockets of kernels lie there too, whose paths must be short

        def of(count: int) -> None:
            lists = tmp_path / "nvidia-smi"
            lists.write_text("#!/bin/sh\n" + "".join(f"echo 'GPU {n}: NVIDIA H200 (UUID: GPU-{n})'\n" for n in range(count)))
            lists.chmod(lists.stat().st_mode | stat.S_IEXEC)
            monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        monkeypatch.setenv("TMPDIR", locks)
        monkeypatch.setattr(tempfile, "tempdir", None)
        for name in VARIABLES:
            monkeypatch.setenv(name, "")  # so that what `share` sets is undone
            monkeypatch.delenv(name)
        yield of
    tempfile.tempdir = None


def test_gpus_are_those_of_the_machine_or_those_allowed(machine, monkeypatch):
    machine(3)
    assert gpu.gpus() == ["0", "1", "2"]
    for allowed, names in {"2,0": ["2", "0"], "": [], "-1": [], "GPU-8a,MIG-1": ["GPU-8a", "MIG-1"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
        assert gpu.gpus() == names
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert gpu.gpus() == []


@pytest.mark.parametrize(("count", "places", "named", "part"), [(1, 1, ["0"], 0.9), (1, 3, ["0", "0", "0"], 0.3), (2, 2, ["0", "1"], 0.9), (2, 3, ["0", "1", "0"], 0.45)])
def test_chapters_spread_over_gpus_and_share_their_memory(machine, monkeypatch, count, places, named, part):
    machine(count)
    monkeypatch.setenv("XAI_GPU", str(places))
    shares, found = [], []
    for _ in range(places):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # another process
        shares.append(gpu.share(True))
        shares[-1].__enter__()
        found.append(os.environ["CUDA_VISIBLE_DEVICES"])
        assert float(os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == pytest.approx(part)
    assert found == named

    class Waits(Exception):
        pass

    def nap(seconds):
        raise Waits

    monkeypatch.setattr(gpu, "time", SimpleNamespace(sleep=nap))  # subprocesses sleep, too
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(Waits), gpu.share(True):
        pass
    shares[0].__exit__(None, None, None)
    with gpu.share(True):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == named[0]
    for held in shares[1:]:
        held.__exit__(None, None, None)


def test_who_waits_goes_on_when_a_place_is_free(machine, monkeypatch):
    machine(1)
    monkeypatch.setenv("XAI_GPU", "1")
    monkeypatch.setattr(gpu, "LOOK_AGAIN", 0.01)
    order = []

    def second():
        with gpu.share(True):
            order.append("second")

    with gpu.share(True):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"] and not waiting.is_alive()


def test_without_the_wish_nothing_is_set(machine):
    machine(1)
    for wanted in (True, False):
        with gpu.share(wanted):
            assert not set(VARIABLES) & set(os.environ)


def test_kernels_of_chapters_compute_where_they_were_told(machine, tmp_path, monkeypatch):
    """Three at once with two GPUs for two, and one that needs none."""
    machine(2)
    monkeypatch.setenv("XAI_GPU", "2")
    source = notebook(tmp_path / "say.md", "import os, time\ntime.sleep(3)\nprint(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('JAX_PLATFORMS'))")
    runs = [start(source, tmp_path / f"{number}.ipynb", *(["--gpu"] if number else [])) for number in range(4)]
    for run in runs:
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors
    said = [printed(tmp_path / f"{number}.ipynb").split() for number in range(4)]
    assert said[0] == ["None", "cpu"]
    assert {device for device, _ in said[1:]} == {"0", "1"} and {platform for _, platform in said[1:]} == {"None"}


@pytest.mark.parametrize("asked", ["0", "yes", "-1", "1.5"])
def test_how_many_is_a_whole_number(asked):
    with pytest.raises(StudyError) as error:
        gpu.check_gpu(asked)
    assert repr(asked) in one_sentence(str(error.value))


def test_no_gpu_is_said_before_anything_is_written(machine, tmp_path, monkeypatch, capsys):
    """JAX of the tests' environment has no part for GPUs, whatever the machine."""
    pytest.importorskip("jax")
    machine(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    arguments = ["--profile", str(REPOSITORY / "profiles" / "smoke.yaml"), "--study", str(tmp_path / "study"), "--gpu", "2"]
    assert preflight(arguments) == 2
    said = one_sentence(capsys.readouterr().err.strip())
    assert said.startswith("error: GPU=2 was asked for, but JAX finds no GPU") and "leave GPU out" in said
    assert not (tmp_path / "study").exists()


def test_rules_that_ask_for_a_gpu_are_those_that_say_so_to_the_chapter():
    rules = re.split(r"(?m)^rule ", (REPOSITORY / "Snakefile").read_text())[1:]
    asking = {rule.split(":")[0] for rule in rules if "gpu=1" in rule}
    assert asking == {rule.split(":")[0] for rule in rules if "WITH_NETWORKS" in rule}
    assert asking == {"training", "leakage", "learning_curve", "ablation", "second_head", "saliency", "shuffled_labels"}


def test_make_book_on_a_gpu_runs_so_many_chapters_at_a_time():
    def says(*variables: str) -> str:
        # As if the environment were there: what it is made by is not at issue.
        command = ["make", "--dry-run", "--old-file=.venv/ready", "--assume-new=requirements-gpu.lock", "book", *variables]
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    with_gpu, without = says("GPU=2"), says()
    assert "--resources gpu=2" in with_gpu and '--gpu "2"' in with_gpu and "requirements-gpu.lock" in with_gpu
    assert "--resources" not in without and '--gpu ""' in without and "requirements-gpu.lock" not in without


def pinned(name: str) -> dict[str, set[str]]:
    """Package -> versions of a lock, each with a hash."""
    packages: dict[str, set[str]] = {}
    for block in re.findall(r"(?m)^[a-z0-9].*(?:\n    .*)*", (REPOSITORY / name).read_text()):
        package, version = re.match(r"([\w.\-]+)==(\S+)", block).groups()
        assert "--hash=sha256:" in block, package
        packages.setdefault(package, set()).add(version)
    return packages


def test_the_lock_for_gpus_adds_to_the_other_and_fits_it():
    main, added = pinned("requirements.lock"), pinned("requirements-gpu.lock")
    assert not set(main) & set(added)
    plugins = [name for name in added if re.fullmatch(r"jax-cuda\d+-(plugin|pjrt)", name)]
    assert len(plugins) == 2 and all(added[name] == main["jax"] for name in plugins)
    assert "://" not in (REPOSITORY / "requirements-gpu.lock").read_text()
