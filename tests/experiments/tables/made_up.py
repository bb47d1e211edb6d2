"""Run folders and results as `sst train` leaves them, without any training."""

import json

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.listops.presets import preset_config as listops_preset
from sstricks.experiments.nri.presets import preset_config as nri_preset


def nri_config(**changes):
    return {**nri_preset("cpu", "spanning-tree").to_json(), **changes}


def nri_result(valid=-1000.0, *, test=-990.0, precision=0.5, recall=0.25, seconds=1.0, **changes):
    config = nri_config(**changes)
    return _result(
        config,
        {
            "valid/elbo": valid,
            "test/elbo": test,
            "test/edge_precision": precision,
            "test/edge_recall": recall,
            "chance/edge_recall": 0.2,
        },
        {"steps": config["steps"], "seconds": seconds},
    )


def listops_result(valid=0.9, *, test=0.9, precision=0.5, recall=0.5, **changes):
    config = {**listops_preset("cpu", "gnn", "arborescence", "gumbel").to_json(), **changes}
    metrics = {"valid/accuracy": valid, "test/accuracy": test}
    return _result(config, {**metrics, "test/edge_precision": precision, "test/edge_recall": recall}, {})


def l2x_result(valid=0.5, *, mse=0.02, precision=0.5, **changes):
    config = L2XConfig("/reviews", "digest", "hotels", "service", "corr-top-k", 10, "simple", "cpu").to_json() | changes
    metrics = {"valid/explained_variance": valid, "test/mse": mse, "test/subset_precision": precision}
    return _result(config, metrics, {"train_reviews": 30_000, "valid_reviews": 2_500, "test_reviews": 748})


def run_folder(path, result, *, finished=True, config=None):
    path.mkdir(parents=True)
    content = {name: value for name, value in result.items() if "/" not in name} if config is None else config
    (path / "config.json").write_text(json.dumps(content))
    if finished:
        (path / "result.json").write_text(json.dumps(result))
    return path


def _result(config, metrics, more):
    left_out = ("valid_every", "trial_steps", "trial_factor", "trial_temperatures", "data")
    return {**metrics, **{name: value for name, value in config.items() if name not in left_out}, **more}
