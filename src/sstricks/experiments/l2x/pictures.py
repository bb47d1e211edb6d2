from pathlib import Path

from sstricks.experiments.runs.pictures import Panel, draw_panels


def draw_curves(folder: Path, path: Path) -> Path:
    """Draw the error in training and validation, and how long the runs of selected words are, against steps.

    Args:
        folder: of the run.
        path: the PNG to write.

    Returns:
        The path.
    """
    errors = {"train/mse_x100": "training, relaxed subsets", "valid/mse_x100": "validation, hard subsets"}
    runs = {"valid/run_length": "most preferred subset", "valid/sampled_run_length": "drawn subset"}
    panels = (
        Panel("Mean squared error × 100", errors, shares=False),
        Panel("Mean length of runs of selected words", runs, shares=False),
    )
    return draw_panels(folder, panels, path)
