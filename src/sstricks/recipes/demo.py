"""`sst demo`: graph layout with latent trees, beside independent edges, which know nothing of trees."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from sstricks.recipes.harness.commands import print_results, say
from sstricks.recipes.harness.files import refuse_foreign_files
from sstricks.recipes.nri import GraphLayout

_COMPARED = ("spanning-tree", "independent")


@dataclass(frozen=True)
class Demo:
    """Watch a model discover latent spanning trees, beside one that knows nothing of trees (Sec. 8.1): minutes.

    Both see points that move as a graph layout algorithm pulls at hidden edges, and learn to predict them. What was
    interrupted is continued, and what is finished is only shown again.
    """

    out: Path = Path("runs/demo")
    """Folder of the two runs and of the pictures that compare them."""
    seed: int = 0
    """Random seed of both runs."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.drawing import draw_curves
        from sstricks.recipes.harness.processes import keep_freed_memory, run_tasks
        from sstricks.recipes.harness.run import read_result

        keep_freed_memory()
        if not any((self.out / edges / "config.json").exists() for edges in _COMPARED):
            refuse_foreign_files(self.out, _COMPARED, "demo")
        say(console, f"Training {' and '.join(_COMPARED)} in {self.out} …")
        tasks = [(GraphLayout(edges=edges, seed=self.seed).with_preset(), self.out / edges) for edges in _COMPARED]
        for _ in run_tasks(_train, tasks, jobs=torch.get_num_threads()):
            pass
        print_results(console, GraphLayout, [read_result(folder) for _, folder in tasks])
        panels = {
            "Validation ELBO per node (nats, higher is better)": {"valid/elbo": ""},
            "Edge precision in validation": {"valid/edge_precision": ""},
        }
        curves = draw_curves({edges: self.out / edges for edges in _COMPARED}, panels, self.out / "curves.png")
        pictures = [*(folder / "graphs.png" for _, folder in tasks), curves]
        console.print("Pictures:", *map(str, pictures), sep="\n  ", soft_wrap=True, highlight=False)


def _train(task: tuple[GraphLayout, Path]) -> None:
    from sstricks.recipes.harness.run import train

    train(*task, resume=True, verbose=True)
