"""A finished conversion planned again, by what its files say of the choices that were made, and made again."""
