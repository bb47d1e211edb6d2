"""Where scaled utilities u/t end."""

# A utility of +∞ is this much more than all finite ones of its row together, which is what two vertices may differ by
# elsewhere: exp(−1000) is zero beside one in every format. Their sum is taken for a little more, because of rounding.
SURE = 1e3
A_LITTLE_MORE = 1 + 2.0**-40

# Colder than this is as cold as this: no two different utilities are so near that it would make a difference.
COLDEST = 1e-100
LARGEST = 1e300

# Beyond this, differences of scaled utilities on a spanning tree are taken logarithmically, FAR (1 + log(gap / FAR)).
# They have lost the digits after their point already; what must stay is their order, up to LARGEST.
FAR = 1e12
