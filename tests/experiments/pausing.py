"""The command `sst` whose training stands still at its 60th step: whoever means to kill it under way is never late."""

import signal
import sys

from sstricks import cli
from sstricks.experiments.runs.noise import StatelessNoise

begin = StatelessNoise.on_train_batch_start


def stand_still(self, trainer, module, batch, batch_idx):
    while trainer.global_step == 60:
        signal.pause()
    begin(self, trainer, module, batch, batch_idx)


if __name__ == "__main__":
    StatelessNoise.on_train_batch_start = stand_still
    sys.exit(cli.main())
