"""Closed candles in, order intents out. Knows signals; never the exchange."""
