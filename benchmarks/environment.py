"""What a measurement depends on besides the code: the machine, its load and the versions."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("sstricks", "torch", "numpy", "numba", "scipy", "networkx", "rustworkx", "entmax", "torch-struct", "jax")


@dataclass(frozen=True)
class Environment:
    """The circumstances of a run; `versions` holds None for a package that is not installed."""

    time: str
    cpu: str
    cores: int
    torch_threads: int
    load_average: tuple[float, float, float]
    system: str
    python: str
    commit: str
    versions: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def capture(cls) -> "Environment":
        """Describe this process and machine now."""
        return cls(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            torch_threads=torch.get_num_threads(),
            load_average=os.getloadavg(),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            commit=_commit(),
            versions={package: _version(package) for package in PACKAGES},
        )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
