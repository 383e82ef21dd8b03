"""The research drivers: a compiled sweep, and the core replayed over recorded events."""
