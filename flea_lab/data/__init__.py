"""Market data: the canonical frame, its checks, the store, and what fills it: a file or a synthetic market."""
