from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from sstricks.experiments.nri.config import Edges
from sstricks.experiments.nri.presets import preset_config
from sstricks.experiments.nri.report import print_results
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.memory import keep_freed_memory
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import Result, train
from sstricks.experiments.runs.watch import watching
from sstricks.experiments.runs.workers import run_tasks

_COMPARED: tuple[Edges, ...] = ("spanning-tree", "independent")


@dataclass(frozen=True)
class DemoTask:
    """One of the two runs."""

    run: GraphLayoutRun
    path: Path


@dataclass(frozen=True)
class Demo:
    """Watch a model discover latent spanning trees, beside one that knows nothing of trees (8.1): minutes.

    Both see points that move as a graph layout algorithm pulls at hidden edges, and learn to predict them. What was
    interrupted is continued, and what is finished is only shown again.
    """

    out: Path = Path("runs/demo")
    """Folder of the two runs and of the pictures that compare them."""
    seed: int = 0
    """Of both runs."""

    def run(self, console: Console) -> None:
        """Train what is not trained yet, print the table, draw the pictures.

        Args:
            console: where to print.

        Raises:
            RunError: if the folder holds something else, or a demo with another seed.
        """
        keep_freed_memory()
        self._refuse_foreign_files()
        tasks = [DemoTask(GraphLayoutRun(preset_config("quick", e, seed=self.seed)), self.out / e) for e in _COMPARED]
        unfinished = [task for task in tasks if not RunFolder(task.path).result_file.exists()]
        if unfinished:
            console.print(f"Training {' and '.join(task.run.title for task in unfinished)} in {self.out} …")
            with watching(console, {task.path: task.run for task in unfinished}):
                for _ in run_tasks(_train, unfinished, jobs=torch.get_num_threads()):
                    pass
        else:
            console.print(f"{self.out}: both runs are finished; nothing was trained.", soft_wrap=True, highlight=False)
        print_results(console, [_train(task) for task in tasks])
        self._draw(console)

    def _refuse_foreign_files(self) -> None:
        if any(RunFolder(self.out / edges).config_file.exists() for edges in _COMPARED):
            return
        found = sorted(path.name for path in self.out.iterdir()) if self.out.is_dir() else []
        foreign = [name for name in found if name not in _COMPARED]
        if foreign:
            raise RunError(
                f"--out {self.out}: the folder is not empty ({', '.join(foreign[:3])}) and holds no demo. "
                "Choose a new or an empty folder."
            )

    def _draw(self, console: Console) -> None:
        from sstricks.experiments.nri.pictures import draw_comparison  # matplotlib takes a second to load

        curves = draw_comparison({edges: self.out / edges for edges in _COMPARED}, self.out / "curves.png")
        pictures = [self.out / edges / "graphs.png" for edges in _COMPARED]
        console.print("Pictures:", *map(str, (*pictures, curves)), sep="\n  ", soft_wrap=True, highlight=False)


def _train(task: DemoTask) -> Result:
    return train(task.run, task.path, resume=True, jobs=1, display=Silence())
