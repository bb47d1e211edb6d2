"""A cold start: read-only installations, several processes at once, kernels that were compiled before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import sstricks as sst
from sstricks import warmup
from sstricks.ops.kernels import compiled as compiling
from sstricks.ops.kernels import kernel as kernels

PACKAGE = Path(sst.__file__).parent
NOWHERE = "/dev/null/nowhere"  # not even root can write there
# The cheapest kernel, for each dtype; prints how many kernels were compiled, and how many warnings there were.
CODE = """
import sys, warnings, torch, sstricks as sst
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for dtype in sys.argv[1:]:
        u = torch.tensor([[0.25, -1.0, 3.0]], dtype=getattr(torch, dtype))
        assert sst.Subset(3).softmax(u, 1.0, sst.Euclidean()).tolist() == [[0.25, 0.0, 1.0]]
from sstricks.ops.kernels.scaled import scaled
print(sum(scaled.stats.cache_misses.values()), len(caught), *{str(warning.message) for warning in caught})
"""


def start(code: str, *dtypes: str, package: Path = PACKAGE, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *dtypes],
        stdout=subprocess.PIPE,
        text=True,
        env=inherited | {"PYTHONPATH": str(package.parent)} | environment,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, int, str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    compiled, warned, *message = out.split(maxsplit=2)
    return int(compiled), int(warned), "".join(message)


def run_warmup(*names: str, cache: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sstricks.warmup", *names],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "NUMBA_CACHE_DIR": str(cache)},
    )


def test_read_only_installation_without_a_home_warns_once(tmp_path: Path):
    package = tmp_path / "sstricks"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "recipes"))
    (package / "ops" / "kernels" / "__pycache__").touch()  # a file, in which there is no place
    process = start(CODE, "float32", "float64", package=package, HOME=NOWHERE, XDG_CACHE_HOME=NOWHERE)
    compiled, warned, message = finish(process)
    assert (compiled, warned) == (2, 1)
    assert "Set the environment variable NUMBA_CACHE_DIR to a directory that can be written" in message


def test_cache_that_cannot_be_written_is_read(tmp_path: Path):
    assert finish(start(CODE, "float32", NUMBA_CACHE_DIR=str(tmp_path)))[:2] == (1, 0)
    read_only = "import tempfile\ndef fail(**kwargs): raise OSError\ntempfile.TemporaryFile = fail\n"
    assert finish(start(read_only + CODE, "float32", NUMBA_CACHE_DIR=str(tmp_path)))[:2] == (0, 0)
    assert finish(start(read_only + CODE, "float64", NUMBA_CACHE_DIR=str(tmp_path)))[:2] == (1, 1)


def test_processes_that_start_cold_at_once_leave_a_cache_for_the_next(tmp_path: Path):
    at_once = [start(CODE, dtype, NUMBA_CACHE_DIR=str(tmp_path)) for dtype in ("float32", "float64", "float32")]
    assert [finish(process)[:2] for process in at_once] == [(1, 0)] * 3
    assert finish(start(CODE, "float32", "float64", NUMBA_CACHE_DIR=str(tmp_path)))[:2] == (0, 0)
    assert all(file.suffix == ".nbc" for file in tmp_path.rglob("*") if file.is_file())


def test_nothing_is_compiled_after_warmup(tmp_path: Path):
    done = run_warmup("Subset", cache=tmp_path)
    assert done.returncode == 0
    *calls, last = done.stdout.splitlines()
    assert all(call.split()[1] == "s" and float(call.split()[0]) >= 0.0 for call in calls)
    assert any("Subset(4), torch.float64: softmax, Euclidean" in call for call in calls)
    assert str(tmp_path) in last
    assert finish(start(CODE, "float32", "float64", NUMBA_CACHE_DIR=str(tmp_path)))[:2] == (0, 0)


@pytest.mark.parametrize(
    ("names", "cache", "message"),
    [((), NOWHERE, "Set the environment variable NUMBA_CACHE_DIR"), (("Trees",), None, "names: found 'Trees'")],
)
def test_warmup_refuses(names: tuple[str, ...], cache: str | None, message: str, tmp_path: Path):
    done = run_warmup(*names, cache=cache or tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_warmup_knows_all_structures_and_regularizers():
    pairs = [pair for pair in sst.registered_pairs() if all(kind.__module__.startswith("sstricks.") for kind in pair)]
    assert {structure for structure, _ in pairs} == set(warmup._examples())
    assert {f for _, f in pairs} - {sst.SeparableRegularizer} == set(warmup._REGULARIZERS)


def double(x):
    for i in range(x.size):
        x[i] *= 2.0


@pytest.mark.parametrize("separate", [False, True])
def test_numbas_own_compiler_serves_versions_that_are_not_known(separate: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiling, "_BEYOND", (0, 61))
    kernel = compiling.compiled(double, separate=separate)
    assert not isinstance(kernel, kernels.Kernel)
    x = np.ones(3)
    kernel(x)
    assert x.tolist() == [2.0] * 3


@pytest.mark.parametrize("damage", ["none", "stamp", "file"])
def test_only_sound_files_of_the_same_sources_are_loaded(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kernels, "writable_directory", kernels.writable_directory.__wrapped__)
    compiling.compiled(double)(np.ones(3))
    (file,) = tmp_path.rglob("*.nbc")
    again = compiling.compiled(double)
    if damage == "stamp":
        again._cache._stamp = b"of other sources"
    if damage == "file":
        file.write_bytes(file.read_bytes()[:-1])
    x = np.ones(3)
    again(x)
    assert x.tolist() == [2.0] * 3
    assert sum(again.stats.cache_misses.values()) == (damage != "none")
