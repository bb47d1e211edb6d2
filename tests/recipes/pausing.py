"""The command `sst` whose training stands still at its 60th step: whoever means to kill it under way is never late."""

import signal
import sys

import sstricks_cli as cli
from sstricks.recipes.harness.training import Training

training_step = Training.training_step


def stand_still(self, batch, batch_idx):
    while self.global_step == 60:
        signal.pause()
    return training_step(self, batch, batch_idx)


if __name__ == "__main__":
    Training.training_step = stand_still
    sys.exit(cli.main())
