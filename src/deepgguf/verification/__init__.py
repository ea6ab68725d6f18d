"""Proof that a file holds what its source makes.

It shares with what wrote the file the model's table of names, shapes and keys, and `Encoding.ranges`, which says where
a source tensor's bytes lie. What the bits mean and which rows went where is worked out again, without the kernels.
"""
