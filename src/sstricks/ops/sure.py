"""A utility of +∞ stands this far above the largest finite one: exp(−1000) is zero beside one in every format."""

SURE = 1e3
