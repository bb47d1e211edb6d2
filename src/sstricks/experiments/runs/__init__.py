"""What every experiment's training run needs: its folder, its metrics, its checkpoints, its trials."""
