"""Differences of scaled utilities beyond this are taken logarithmically: FAR (1 + log(gap / FAR)).

They have lost their digits after the point already; what must stay is their order, up to the 10³⁰⁸ that float64 holds
(a user's mask of −1e30, a temperature of 1e-30).
"""

FAR = 1e12
