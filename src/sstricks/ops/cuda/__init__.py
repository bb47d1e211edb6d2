"""The operators' CUDA kernels, in Triton: one program for each problem, and no waiting for the device.

They are imported when the first CUDA tensor arrives. What they compute stands in the module of the operator.
"""
