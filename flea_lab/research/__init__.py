"""Questions about a strategy before it may trade."""
