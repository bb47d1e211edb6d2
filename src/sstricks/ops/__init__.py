"""Torch operators: schema, fake kernel, CPU kernel (numba), pure-torch twin, autograd, vmap."""
