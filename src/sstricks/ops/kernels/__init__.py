"""Numba kernels for the CPU. Imported by an operator at its first call, so that ``import sstricks`` stays light."""
