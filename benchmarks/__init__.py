"""Speed and accuracy of sstricks beside its peers: `python -m benchmarks --help`."""
