"""Frozen messages: what the layers say to each other. No IO, no pandas, no numba."""
