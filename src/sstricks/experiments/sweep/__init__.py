"""Random search over hyperparameters: its ranges, its trials, their folders, and the machines that train them."""
