"""The work done straightforwardly, as the paper describes it: baselines to compare with, not to use."""
