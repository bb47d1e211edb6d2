from dataclasses import replace

from sstricks.experiments.listops.config import Edges, ListOpsConfig, Model, Preset, Utility


def preset_config(
    preset: Preset, model: Model, edges: Edges | None, utility: Utility | None, seed: int = 0
) -> ListOpsConfig:
    """The configuration of a preset (App. D.5.3).

    The paper tuned learning rate, temperature and weight decay and does not print them. Here short runs decided: with
    arborescences and Gumbel utilities t = 1 learns the values faster than t = 0.3, and recovers as much structure; a
    learning rate of 4e-3 is worse than 2e-3. The `paper` preset keeps the paper's constant rate and exact products;
    `cpu` and `quick` lower the rate at the end, leave out messages of weight below 1e-4, and take hidden products in
    bfloat16; `cpu` is 9.6 of the paper's 50 epochs, over all training expressions.

    Args:
        preset: `paper` has the paper's sizes; `cpu` takes at most about an hour on two cores; `quick` takes minutes.
        model: what evaluates the expressions.
        edges: the distribution over graphs; none for the LSTM.
        utility: the law of the utilities; none where no edges are learnt.
        seed: of the run.

    Returns:
        The configuration.

    Raises:
        ValueError: if model, edges and utility do not fit together.

    Example:
        >>> preset_config("paper", "gnn", "arborescence", "gumbel").steps
        50400
    """
    paper = ListOpsConfig(model, edges, utility, "paper", seed)
    if preset == "paper":
        return paper
    cpu = replace(
        paper, preset="cpu", steps=9_600, valid_share=0.2, lr=2e-3, lr_decay=0.2, precision="bfloat16", negligible=1e-4
    )
    if preset == "cpu":
        return cpu
    return replace(cpu, preset="quick", steps=1_600, valid_every=200, train_share=0.2, valid_share=0.1)
