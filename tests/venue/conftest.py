"""Loops whose time a slow machine cannot make run away, for every test in this folder."""

from tests.steady import steady

__all__ = ["steady"]
