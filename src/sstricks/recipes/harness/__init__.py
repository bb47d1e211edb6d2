"""What recipes share: the run folder, training, restarts, devices and the command line."""
