"""The last gate before an order: five ordered guards, a kill switch, latches."""
