"""The slow, independent truth that signals, combination and sizing are held against."""
