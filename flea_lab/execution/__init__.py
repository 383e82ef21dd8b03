"""Approved intents into commands, and every open order accounted for."""
