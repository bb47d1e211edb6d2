"""The links φ = (h')⁻¹ of the separable regularizers, by number: kernels cannot be told by name."""

CLIP, CAPPED_EXP, SIGMOID = range(3)
