"""The plan: all that a conversion will do, made from headers alone, as frozen data."""
