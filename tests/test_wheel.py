"""The README's `pip install .`: what is built runs where the sources are not."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE = """
import torch, sstricks as sst
trees = sst.SpanningTree.complete(5)
trick = sst.StochasticSoftmaxTrick(trees, sst.Gumbel(torch.zeros(10)), 0.5, sst.ExponentialFamilyEntropy())
print(sst.__file__, float(trick.rsample().sum()), sst.__version__)
"""


def test_an_installed_wheel_runs_without_the_sources(tmp_path: Path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    assert {path.name for path in site.iterdir()} - {"bin", "__pycache__"} == {
        *("sstricks", "sstricks_cli.py", wheel.name.split("-py3")[0] + ".dist-info")
    }
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run(
        [sys.executable, "-c", SAMPLE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    file, total, version = found.stdout.split()
    assert Path(file).is_relative_to(site)
    assert abs(float(total) - 4) < 1e-5
    assert wheel.name.startswith(f"sstricks-{version}-")
