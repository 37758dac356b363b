"""`kdsweep quantize --qat`: a network trained further, with the rounding of int8.

- spec: the run that does it
- train: trains it, next to the run that it starts from
"""
