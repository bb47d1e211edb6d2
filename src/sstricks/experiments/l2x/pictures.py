from sstricks.experiments.runs.pictures import LearningCurves, Panel

draw_curves = LearningCurves(
    (
        Panel(
            "Mean squared error × 100",
            {"train/mse_x100": "training, relaxed subsets", "valid/mse_x100": "validation, hard subsets"},
            shares=False,
        ),
        Panel(
            "Mean length of runs of selected words",
            {"valid/run_length": "most preferred subset", "valid/sampled_run_length": "drawn subset"},
            shares=False,
        ),
    )
)
"""Draws the error in training and validation, and how long the runs of selected words are, against steps."""
