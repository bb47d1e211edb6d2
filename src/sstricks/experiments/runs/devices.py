import os
from dataclasses import dataclass
from typing import Self

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from sstricks.experiments.runs.errors import RunError

_NAMES = "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"


@dataclass(frozen=True)
class Devices:
    """The processes that train one model together, a device each, and how they find each other.

    Attributes:
        per_machine: processes of each machine.
        machines: how many machines.
        machine: which of the machines this is, from 0.
        address: of the first machine.
        port: of the first machine; 0 for any that is free there.
    """

    per_machine: int = 1
    machines: int = 1
    machine: int = 0
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.per_machine * self.machines

    @classmethod
    def here(cls, per_machine: int, machines: int, batch_size: int) -> Self:
        """Those of a command, as this machine sees them; with several machines, the environment says which it is.

        Args:
            per_machine: GPUs of each machine, or processes if it has none.
            machines: how many machines.
            batch_size: examples a step, which they share.

        Returns:
            The devices.

        Raises:
            RunError: if there are none, more than there are GPUs or examples, or if the environment does not say.
        """
        for name, found in (("--devices", per_machine), ("--num-nodes", machines)):
            if found < 1:
                raise RunError(f"{name} is {found}, expected at least 1: pass a larger number, or leave it out.")
        count = per_machine * machines
        if count > batch_size:
            raise RunError(
                f"--devices {per_machine} on --num-nodes {machines} are {count} devices, expected at most the "
                f"{batch_size} examples of a step, which they share: use fewer devices or a larger --batch-size."
            )
        if torch.cuda.is_available() and per_machine > torch.cuda.device_count():
            raise RunError(
                f"--devices is {per_machine}, expected at most {torch.cuda.device_count()}, the GPUs of this machine: "
                "use fewer, or hide them (CUDA_VISIBLE_DEVICES=) to train on the processor."
            )
        if machines == 1:
            return cls(per_machine)
        missing = [name for name in _NAMES if not os.environ.get(name)]
        if missing:
            raise RunError(
                f"--num-nodes is {machines} and {', '.join(missing)} missing in the environment; expected NODE_RANK, "
                "which machine this is, from 0, and MASTER_ADDR and MASTER_PORT, the address of machine 0 and a free "
                "port there: set them on every machine."
            )
        machine, port = (_number(name) for name in ("NODE_RANK", "MASTER_PORT"))
        if machine >= machines:
            raise RunError(f"NODE_RANK is {machine}, expected less than --num-nodes {machines}: count machines from 0.")
        return cls(per_machine, machines, machine, os.environ["MASTER_ADDR"], port)


class OneOf(LightningEnvironment):
    """One of the processes, as Lightning wants to be told; whatever the environment says of a cluster is not asked.

    Args:
        devices: all of them.
        local_rank: which of this machine's it is, from 0.
    """

    def __init__(self, devices: Devices, local_rank: int) -> None:
        super().__init__()
        self.devices = devices
        self._local_rank = local_rank
        self.set_global_rank(devices.machine * devices.per_machine + local_rank)

    @property
    def creates_processes_externally(self) -> bool:
        """Whether the processes are there already: yes."""
        return True

    @property
    def main_address(self) -> str:
        """Where the first process is."""
        return self.devices.address

    @property
    def main_port(self) -> int:
        """Where it listens."""
        return self.devices.port

    def local_rank(self) -> int:
        """Which of this machine's processes this is.

        Returns:
            A number from 0.
        """
        return self._local_rank

    def node_rank(self) -> int:
        """Which machine this is.

        Returns:
            A number from 0.
        """
        return self.devices.machine


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise RunError(f"{name} is {text!r} in the environment, expected a number of at least 0: set it to one.")
    return int(text)
