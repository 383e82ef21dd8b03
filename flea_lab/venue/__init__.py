"""Venues: where market data comes from and where orders go; two faces, because these need not be the same place."""
