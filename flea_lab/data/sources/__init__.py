"""What turns somebody's file, or no file at all, into the canonical form."""
