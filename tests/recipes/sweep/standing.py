"""The command `sst` whose trials stand still where a file says: whoever means to kill them under way is never late."""

import os
import sys
import time
from pathlib import Path

import sstricks_cli as cli
from sstricks.recipes import sweep
from sstricks.recipes.harness.training import Training

FOLDER = "STANDING_IN"  # names the variable with the folder of that file, and of the sweep
training_step, train = Training.training_step, sweep._train


def stand_at(folder, step):
    """From now on, once a trial is finished, the others wait before this step."""
    (folder / "new").write_text(str(step))
    (folder / "new").replace(folder / "step")


def stand_still(self, batch, batch_idx):
    folder = Path(os.environ[FOLDER])
    while self.global_step >= int((folder / "step").read_text()) and any(folder.glob("out/trial-*/result.json")):
        time.sleep(0.01)
    return training_step(self, batch, batch_idx)


def train_standing(config, *, trials, threads):
    # Ray's processes import this module to find this function, and so have the other one as well.
    train(config, trials=trials, threads=threads)


if FOLDER in os.environ:  # as it is not where the tests themselves run
    Training.training_step = stand_still

if __name__ == "__main__":
    # Under this name Ray would send the functions themselves, with the memory of what they replace.
    from recipes.sweep import standing

    sweep._train = standing.train_standing
    sys.exit(cli.main())
