"""Signals as compiled steps. Numbers only: no messages, no money."""
