"""Schedules: commands at planned times, a run ledger that is the only truth, and an alert for everything that is late,
failed or absent."""
