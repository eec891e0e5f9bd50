"""Arbitrary conditioning: any part of a datum may be given, the rest is explained, with the exact answer beside it."""
