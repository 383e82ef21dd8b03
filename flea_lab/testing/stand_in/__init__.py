"""Venues on this machine that behave as the published ones do, at their worst, with a count of their own."""
